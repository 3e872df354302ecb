"""Whether a teacher gives different vectors for different texts; nothing can be learned from one that does not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError

_NOISE = 1e-6  # of the largest number: batches of other sizes round float32 numbers differently


def require_different(teacher: str, vectors: NDArray[np.floating[Any]], whole: bool) -> None:
    """Check that not all ``vectors`` of different texts are the same, except for rounding.

    Args:
        teacher: Name of the teacher, for the error.
        vectors: The vectors of n texts, shape (n, d). A single vector passes, and so do numbers that are not finite.
        whole: Whether these are all texts, or the first ones.

    Raises:
        InputError: If all vectors are the same.
    """
    if len(vectors) < 2 or not np.isfinite(vectors).all():  # which the store refuses
        return
    same = bool((np.ptp(vectors, axis=0) <= _NOISE * np.abs(vectors).max()).all())
    shown = f"all {'' if whole else 'of the first '}{len(vectors):,} texts"
    if not np.any(vectors):
        raise InputError(
            f"teacher {teacher}: expected vectors that differ, found zeros for {shown}, as models give them for texts "
            "without a known token: name other texts, such as texts in the languages of the teacher, or name "
            "another teacher"
        )
    if same:
        raise InputError(
            f"teacher {teacher}: expected vectors that differ, found the same vector for {shown}: "
            "check the teacher, such as the address of an API, the column of given vectors or the weights of a model, "
            "or name another teacher"
        )
