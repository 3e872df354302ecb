"""The vectors in a response of an embedding API, and what is wrong with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError


def placed(data: Sequence[Any], count: int) -> NDArray[np.float32]:
    """Return the vectors of a response in the order of their indices, shape (count, d).

    Raises:
        ValueError: If vectors are missing, repeated, or of several widths.
    """
    places = sorted(range(len(data)), key=lambda place: data[place].index)
    if [data[place].index for place in places] != list(range(count)):
        raise ValueError(f"expected the indices 0 to {count - 1}, found {len(data)} vectors")
    return np.array([data[place].embedding for place in places], dtype=np.float32).reshape(count, -1)


def require_usable(vectors: NDArray[np.float32], texts: Sequence[str], width: int | None) -> None:
    """Check the vectors of a response.

    Args:
        vectors: The vectors, shape (n, d).
        texts: The n texts.
        width: The expected d; None if it is unknown.

    Raises:
        InputError: If the width is another one, or a vector is zero or not finite.
    """
    if width not in (None, vectors.shape[1]):
        raise InputError(
            f"the API gives vectors of {vectors.shape[1]} dimensions: expected {width}; check "
            "teacher.api.model and teacher.api.dimensions"
        )
    for wrong, name, expected in (
        (~np.isfinite(vectors).all(axis=1), "NaN or infinite numbers", "finite values"),
        (~vectors.any(axis=1), "the zero vector", "a direction, which a student can learn"),
    ):
        if wrong.any():
            text = texts[int(np.argmax(wrong))]
            raise InputError(
                f"the API gives {name} for {int(wrong.sum())} of {len(texts)} texts, such as {text[:60]!r}: "
                f"expected {expected}; leave the text out, or check the server"
            )
