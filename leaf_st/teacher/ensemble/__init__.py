"""Several teachers as one, whose vectors are concatenated."""
