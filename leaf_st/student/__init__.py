"""Third stage: the student, a model to be: backbone, mean pooling, projection into the teacher's space."""
