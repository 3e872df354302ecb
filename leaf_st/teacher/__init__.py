"""Second stage: the teacher's vectors of the texts, in a store."""
