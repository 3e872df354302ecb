"""Published figures of the paper's own models, and their cards."""
