"""First stage: the texts to train on, read from files or from this machine's documentation, cleaned and unique."""
