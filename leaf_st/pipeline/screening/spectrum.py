"""The effective dimension of vectors: how many directions their variance needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARE = 0.95  # of the variance


@dataclass(frozen=True)
class Spectrum:
    """The spread of vectors around their mean, and the number of directions with this spread.

    Attributes:
        dimension: Width of the vectors.
        spread: Root mean square of the distance to the mean. A student that always returns the mean has about this L2.
        participation: Participation ratio of the covariance spectrum: (sum of the eigenvalues)^2 / (sum of squares).
        axes: Number of principal axes with 95 % of the variance.
    """

    dimension: int
    spread: float
    participation: float
    axes: int


def spectrum(vectors: NDArray[np.floating[Any]]) -> Spectrum:
    """Return the spectrum of n different vectors, shape (n, d)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    count, dimension = centred.shape
    # Both products have the same eigenvalues except zeros, and the smaller product is faster.
    product = centred.T @ centred if dimension <= count else centred @ centred.T
    variances = np.maximum(np.linalg.eigvalsh(product)[::-1] / count, 0)
    total = float(variances.sum())
    axes = int(np.searchsorted(variances.cumsum(), _SHARE * total)) + 1
    return Spectrum(dimension, total**0.5, total**2 / float((variances**2).sum()), axes)
