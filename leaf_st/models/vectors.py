"""Norms and cosines of vectors; the zero vector, of a text without a known token, stays zero and has the cosine 0."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", bound=np.floating[Any])


def normalized(vectors: NDArray[Float]) -> NDArray[Float]:
    """Return n vectors, shape (n, d), divided by their norms; zero vectors stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=vectors.dtype)


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of row i of ``one`` and row i of ``other``, both of shape (n, d), as shape (n,).

    The cosine of a zero vector is 0. NaN stays NaN.
    """
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.where(norms == 0, 1, norms), dtype=np.float32)


def have_norm_1(vectors: NDArray[np.floating[Any]], tolerance: float) -> bool:
    """Return whether n vectors, shape (n, d), have norm 1, except zero vectors; False if all are zero."""
    norms = np.linalg.norm(vectors, axis=1)
    norms = norms[norms != 0]
    return bool(norms.size and np.abs(norms - 1).max() < tolerance)
