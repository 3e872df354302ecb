"""The index of a search page: the vectors of the documents as codes, in files that a browser loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.ranking import cut, int8_codes

CODES_PER_FILE = 32  # documents whose codes for rescoring a browser loads together
MOST_INT8 = 50_000  # documents that a browser loads as int8; of more documents, it loads one bit per coordinate first
_ITERATIONS = 8


@dataclass(frozen=True)
class Shape:
    """How the page compares vectors.

    Attributes:
        dimension: Number of leading coordinates that are kept.
        unit: Whether cut vectors have norm 1.
    """

    dimension: int
    unit: bool


def chunks_of(documents: int) -> int:
    """Return the number of files with the codes of this number of ``documents`` for rescoring."""
    return -(-documents // CODES_PER_FILE) if documents > MOST_INT8 else 0


def neighbours_together(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return an order of the rows of n vectors, shape (n, d), in which similar vectors are near each other.

    The best documents for a query are similar, so a browser loads fewer files for them: of 16,000 docstrings, the 100
    best ones lie in 50 files of codes instead of 91, and the ten best ones in 6 files of texts instead of 10. The rows
    are split at the median of the direction in which they differ most, and so are the halves.
    """
    order = np.arange(len(vectors))
    parts = [order]
    while parts:
        part = parts.pop()  # a view of `order`
        if len(part) <= CODES_PER_FILE:
            part.sort()
            continue
        middle = -(-len(part) // (2 * CODES_PER_FILE)) * CODES_PER_FILE
        part[:] = part[np.argpartition(_along_first_direction(vectors[part]), middle - 1)]
        parts += [part[:middle], part[middle:]]
    return order


def _along_first_direction(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the place of each vector in the direction of the largest variance, nearly, by power iteration."""
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.argmax(np.linalg.norm(centred, axis=1))]
    for _ in range(_ITERATIONS):
        direction = centred.T @ (centred @ direction)
        direction /= max(np.linalg.norm(direction), np.finfo(np.float32).tiny)
    places: NDArray[np.float32] = centred @ direction
    return places


def write_index(folder: Path, mode: Mode, vectors: NDArray[np.float32], shape: Shape) -> dict[str, Any]:
    """Write the codes of n documents, shape (n, d), to ``vectors/`` in ``folder``.

    Returns:
        The entry of the manifest: the coding, the file to load first, the ranges of int8, and what a bit stands for.
    """
    vectors = cut(vectors, shape.dimension, shape.unit)
    codes, low, steps = int8_codes(vectors)
    place = Path("vectors", f"{mode}.int8")
    (folder / "vectors").mkdir(exist_ok=True)
    entry = {"coding": "int8", "file": place.as_posix(), "low": _numbers(low), "step": _numbers(steps)}
    if len(vectors) <= MOST_INT8:
        (folder / place).write_bytes(codes.tobytes())
        return entry
    bits, means = _bits(vectors)
    (folder / place.with_suffix(".bits")).write_bytes(bits.tobytes())
    _write_chunks(folder / "vectors" / mode, codes)
    below, above = map(_numbers, means)
    return {**entry, "coding": "binary", "file": f"vectors/{mode}.bits", "below": below, "above": above}


def _bits(vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return which coordinates of n vectors exceed their mean, eight to a byte, and what the bits 0 and 1 stand for.

    The mean, not zero, halves the values of each coordinate: the vectors of many models lie on one side of zero. A bit
    stands for the mean of its half, shape (2, d).
    """
    mean = vectors.mean(axis=0)
    is_above = vectors > mean
    count = is_above.sum(axis=0)
    above = np.where(is_above, vectors, 0).sum(axis=0) / np.maximum(count, 1)
    below = np.where(is_above, 0, vectors).sum(axis=0) / np.maximum(len(vectors) - count, 1)
    return np.packbits(is_above, axis=1), np.stack([below, above]).astype(np.float32)


def _write_chunks(folder: Path, codes: NDArray[np.int8]) -> None:
    folder.mkdir()
    for number, start in enumerate(range(0, len(codes), CODES_PER_FILE)):
        (folder / f"{number:05}.int8").write_bytes(codes[start : start + CODES_PER_FILE].tobytes())


def _numbers(values: NDArray[np.float32]) -> list[float]:
    """Return float32 values as the shortest decimals that a browser reads as the same values."""
    return [float(str(value)) for value in values]
