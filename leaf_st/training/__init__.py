"""Fourth stage: training, from a store and an untrained student to a model in its folder."""
