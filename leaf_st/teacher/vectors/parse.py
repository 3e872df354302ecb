"""One vector of a row: a list of numbers, float32 numbers in binary or base64, or a text as pgvector writes it."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.teacher.vectors.raw import Raw, as_float32

_NONE = np.empty(0, dtype=np.float32)


def parse(value: object) -> NDArray[np.float32]:
    """Return the vector that ``value`` is or encodes, shape (d,); an empty array if it is no vector."""
    read = _PARSERS.get(type(value))
    if read is None:
        return _NONE
    try:
        vector = read(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _NONE
    return vector if vector.ndim == 1 else _NONE


def _parse_text(value: str) -> NDArray[np.float32]:
    text = value.strip()
    if text.startswith("["):
        return _parse_list(json.loads(text))
    return _parse_bytes(base64.b64decode(text, validate=True))


def _parse_list(value: Sequence[float]) -> NDArray[np.float32]:
    return as_float32(np.asarray(value, dtype=np.float64))


def _parse_bytes(value: bytes) -> NDArray[np.float32]:
    return np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False)


_PARSERS: dict[type, Callable[[Any], NDArray[np.float32]]] = {
    list: _parse_list,
    tuple: _parse_list,
    str: _parse_text,
    bytes: _parse_bytes,
}


def joined(vectors: Sequence[NDArray[np.float32]]) -> Raw:
    """Return n vectors as one array."""
    return Raw(np.array([len(vector) for vector in vectors], dtype=np.int64), np.concatenate([_NONE, *vectors]))
