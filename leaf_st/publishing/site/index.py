"""The index of a search page: the vectors of the documents as codes, in files that a browser loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.ranking import code, cut, int8_codes

CHUNK = 128  # documents whose texts, or codes for rescoring, a browser loads together
MOST_INT8 = 50_000  # documents that a browser loads as int8; of more documents, it loads the signs first

Coding = Literal["int8", "binary"]


@dataclass(frozen=True)
class Shape:
    """How the page compares vectors.

    Attributes:
        dimension: Number of leading coordinates that are kept.
        unit: Whether cut vectors have norm 1.
    """

    dimension: int
    unit: bool


def write_index(folder: Path, mode: Mode, vectors: NDArray[np.float32], shape: Shape) -> dict[str, Any]:
    """Write the codes of n documents, shape (n, d), to ``vectors/`` in ``folder``.

    Returns:
        The entry of the manifest: the coding, the file to load first, and the ranges of int8.
    """
    vectors = cut(vectors, shape.dimension, shape.unit)
    codes, low, steps = int8_codes(vectors)
    place = Path("vectors", f"{mode}.int8")
    (folder / "vectors").mkdir(exist_ok=True)
    coding: Coding = "int8" if len(vectors) <= MOST_INT8 else "binary"
    if coding == "int8":
        (folder / place).write_bytes(codes.tobytes())
    else:
        place = place.with_suffix(".bits")
        (folder / place).write_bytes(code(vectors[:0], vectors, "binary")[1].tobytes())
        (folder / "vectors" / mode).mkdir()
        for number, start in enumerate(range(0, len(codes), CHUNK)):
            path = folder / "vectors" / mode / f"{number:05}.int8"
            path.write_bytes(codes[start : start + CHUNK].tobytes())
    return {"coding": coding, "file": place.as_posix(), "low": _numbers(low), "step": _numbers(steps)}


def _numbers(values: NDArray[np.float32]) -> list[float]:
    """Return float32 values as the shortest decimals that a browser reads as the same values."""
    return [float(str(value)) for value in values]
