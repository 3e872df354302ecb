"""The vectors in a response of an embedding API, and what is wrong with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError


def placed(data: Sequence[Any], texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of a response in the order of ``texts``, shape (n, d).

    A missing index is 0: Gemini leaves out zeros. Without any index, the vectors are in the order of the texts.

    Raises:
        ValueError: If vectors are missing, repeated, or of several widths.
        InputError: If the response has null or an empty list in place of a vector.
    """
    indices = [row.index or 0 for row in data]
    if all(row.index is None for row in data):
        indices = list(range(len(data)))
    if sorted(indices) != list(range(len(texts))):
        raise ValueError(f"expected the indices 0 to {len(texts) - 1}, found {len(data)} vectors")
    ordered = [row for _, row in sorted(zip(indices, data, strict=True), key=lambda pair: pair[0])]
    if without := [text for row, text in zip(ordered, texts, strict=True) if row.embedding in (None, [])]:
        raise InputError(
            f"the API gives no vector for {len(without)} of {len(texts)} texts, such as {without[0][:60]!r}: leave the "
            "text out, or check the server"
        )
    return np.array([row.embedding for row in ordered], dtype=np.float32).reshape(len(texts), -1)


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
