"""Vectors of consecutive rows as one array of numbers, whatever form they had in a file."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIELD = ("teacher", "vector_column")  # part and field of the recipe that name the vectors, for errors


class Raw(NamedTuple):
    """The vectors of n consecutive rows, which may differ in width.

    Attributes:
        widths: Width of each row's vector, shape (n,); 0 if the row has no readable vector.
        values: The numbers of all rows, one row after another.
    """

    widths: NDArray[np.int64]
    values: NDArray[np.float32]


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``values`` in float32, without a copy if they have that type."""
    with np.errstate(over="ignore"):  # becomes infinite, which is counted
        return values.astype(np.float32, copy=False)
