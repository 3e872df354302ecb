"""Vectors in fewer bytes: cut to their first coordinates (MRL), as float32, int8 or bits (paper 3.1, Figures 5 and 6).

The paper does not say how it codes. Here queries are coded as documents are, as in the examples on the cards of its
models, and nothing is scored a second time with the float32 query. What codes depend on comes from the documents alone:

- float32: the vectors.
- int8: round(127 x / r). There is one range r for all coordinates, the largest absolute value in any document, so that
  products of codes are those of vectors but for a constant, and any index can search them as they are. With a range
  for each coordinate, as in sentence-transformers' `quantize_embeddings`, codes that are not decoded first weigh the
  coordinates anew. A query beyond the range is clipped to it.
- binary: the signs, eight to a byte, as `quantize_embeddings` packs them; alike are codes with few different bits.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import Model

Coding = Literal["float32", "int8", "binary"]
CODINGS: tuple[Coding, ...] = get_args(Coding)
_LARGEST = 127
_TINY = 1e-12  # as torch's normalize has it


def check_codings(codings: Sequence[str]) -> None:
    """Raise an `InputError` if one of ``codings`` is unknown."""
    for coding in codings:
        if coding not in CODINGS:
            raise InputError(f"precision {coding!r} is unknown: expected some of {', '.join(CODINGS)}")


def length_is_free(model: Model, *vectors: NDArray[np.float32]) -> bool:
    """Say whether the length of vectors says nothing, so that cut ones get norm 1 (again).

    That is so if ``model`` compares by cosine, even where it does not normalise, or if all ``vectors``, each of shape
    (n, d), have norm 1. What is left are products of vectors whose length carries weight.
    """
    if model.similarity_fn_name == "cosine":
        return True
    return all(bool(np.abs(np.linalg.norm(side, axis=1) - 1).max() < 1e-3) for side in vectors)


def cut(vectors: NDArray[np.float32], dimension: int, unit: bool) -> NDArray[np.float32]:
    """Return the first ``dimension`` coordinates of n vectors, of norm 1 if ``unit``; shape (n, dimension)."""
    head = vectors[:, :dimension]
    return head / np.maximum(np.linalg.norm(head, axis=1, keepdims=True), _TINY) if unit else head


def code(
    queries: NDArray[np.float32], documents: NDArray[np.float32], coding: Coding
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the codes of queries and documents, of shapes (q, d) and (n, d).

    Returns:
        Codes of the same shapes as float32 or int8, or uint8 of shapes (q, ceil(d / 8)) and (n, ceil(d / 8)).
    """
    if coding == "float32":
        return queries, documents
    if coding == "binary":
        return np.packbits(queries > 0, axis=1), np.packbits(documents > 0, axis=1)
    scale = _LARGEST / max(float(np.abs(documents).max()), _TINY)
    rounded = (np.clip(np.rint(side * scale), -_LARGEST, _LARGEST) for side in (queries, documents))
    first, second = (side.astype(np.int8) for side in rounded)
    return first, second


def compare(queries: NDArray[Any], documents: NDArray[Any], model: Model) -> NDArray[np.float32]:
    """Return how alike coded queries and documents are, shape (q, n): more is better.

    Bits by the number of equal ones less that of different ones, all else by the function of ``model``, the one that
    embedded the documents. Sums of bits are exact: what is equally near has one score.
    """
    if queries.dtype == np.uint8:
        return _signs(queries) @ _signs(documents).T
    alike: NDArray[np.float32] = model.similarity(queries.astype(np.float32), documents.astype(np.float32)).numpy()
    return alike


def _signs(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    return 2 * np.unpackbits(bits, axis=1).astype(np.float32) - 1
