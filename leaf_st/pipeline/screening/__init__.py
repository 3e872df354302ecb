"""Parts of `leaf-st screen`: figures of a teacher and an untrained student, and the prediction of the training."""
