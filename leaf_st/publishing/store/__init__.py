"""Publishing a store of texts and vectors as a data set on the hub: its card, push and pull."""
