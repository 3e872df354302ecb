"""Closed-form start: the projection's best linear fit before the first training step.

A random projection throws away what the backbone already knows and spends the first thousands of steps to
find it again; a ridge regression over a few thousand texts takes seconds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.student.projection import Projection

RIDGE = 1e-3  # relative to the mean variance of the pooled vectors; flat between 1e-4 and 1e-2


def fit_projection(student: SentenceTransformer, texts: Sequence[str], targets: NDArray[np.floating]) -> None:
    """Fit the student's projection to ``targets`` by ridge regression, in place.

    Args:
        student: From `build_student`: Transformer, Pooling, Projection.
        texts: n texts with their prompts already in front.
        targets: Teacher's vectors of ``texts``, shape (n, d).

    Raises:
        InputError: If the targets are not as wide as the projection.
    """
    projection = next(module for module in student if isinstance(module, Projection))
    if targets.shape[1] != projection.out_features:
        raise InputError(
            f"teacher gives {targets.shape[1]} dimensions, projection gives {projection.out_features}: "
            f"build the student with dimension={targets.shape[1]}"
        )
    pooled = SentenceTransformer(modules=[student[0], student[1]], device=str(student.device)).encode(
        list(texts), convert_to_tensor=True, show_progress_bar=False
    )
    projection.fit(pooled, torch.from_numpy(np.asarray(targets, dtype=np.float32)), RIDGE)
