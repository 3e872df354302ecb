"""First stage: the texts to train on, read from files or this machine's documentation, clean and unique."""
