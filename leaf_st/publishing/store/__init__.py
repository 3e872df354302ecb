"""Publishing a store of texts and vectors, on the hub or in object storage: summary, card, push and pull."""
