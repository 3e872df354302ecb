"""Tasks of mteb: finding by name, local data sets, the encoder wrapper and the runner."""
