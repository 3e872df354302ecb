"""What can be wrong with a given vector."""

import numpy as np
from numpy.typing import NDArray

UNIT = 1e-2  # vectors within this distance of norm 1 count as normalised: float16 and bfloat16 round norms
_PRECISE = 1e-4  # vectors outside this distance are normalised again
FLAWS = (
    "",
    "without a vector",
    "vector of another width",
    "vector with NaN, infinite or too large numbers",
    "zero vector",
    "vector of a norm other than 1",
    "repeated text with different vectors",
)
OK, NONE, WIDTH, NOT_FINITE, ZERO, NORM, REPEATED = range(len(FLAWS))


def find_flaws(norms: NDArray[np.float32], widths: NDArray[np.int64], width: int, normalized: bool) -> NDArray[np.int8]:
    """Return the flaw of each of n vectors, `OK` if the vector is usable.

    Args:
        norms: Their norms, see `norms_of`.
        widths: Their widths, shape (n,); 0 if a row has no vector.
        width: Width that a vector must have.
        normalized: Whether a vector must have norm 1.
    """
    flaws = np.zeros(len(norms), dtype=np.int8)
    if normalized:
        flaws[np.abs(norms - 1) > UNIT] = NORM
    flaws[norms == 0] = ZERO
    flaws[~np.isfinite(norms)] = NOT_FINITE
    flaws[widths != width] = WIDTH
    flaws[widths == 0] = NONE
    return flaws


def norms_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the norms of n vectors, shape (n,); not finite if a number of a vector is not."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return norms


def normalize(
    vectors: NDArray[np.float32], norms: NDArray[np.float32], usable: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return ``vectors``, the ``usable`` ones of rounded numbers with norm 1 in float32."""
    off = usable & (np.abs(norms - 1) > _PRECISE)
    if not off.any():
        return vectors
    scales = norms.copy()
    scales[~off] = 1
    return vectors / scales[:, None]
