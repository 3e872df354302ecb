"""The model card of a run or of a published model."""
