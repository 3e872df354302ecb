"""Second stage: the teacher, and a store of its vectors of the texts."""
