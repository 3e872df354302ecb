"""Fourth stage: training, from the store and a new student to the model in its folder."""
