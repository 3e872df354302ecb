"""Vectors that were checked a moment ago, and that a store asks for next."""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaf_st.texts.columnar import BATCH_ROWS

_ROWS = 2 * BATCH_ROWS  # kept: a shard of 1,024 texts spans two blocks of the table; a larger shard is read again


class _Block(NamedTuple):
    """Vectors of a block of the table.

    Attributes:
        places: Row in ``vectors`` by text, with its prompt.
        vectors: The vectors, shape (at least as many as texts, d).
    """

    places: dict[str, int]
    vectors: NDArray[np.float32]


class RecentVectors:
    """The last vectors that were added, by text."""

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque()

    def add(self, places: dict[str, int], vectors: NDArray[np.float32]) -> None:
        """Keep the rows ``places`` of ``vectors``, and forget vectors that were added long ago."""
        self._blocks.append(_Block(places, vectors))
        while sum(len(block.places) for block in self._blocks) - len(self._blocks[0].places) >= _ROWS:
            self._blocks.popleft()

    def find(self, names: list[str], width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of n texts, shape (n, d), and the places of the texts that were not found.

        The array may be a view of vectors that were added.
        """
        found = np.zeros(len(names), dtype=bool)
        vectors: NDArray[np.float32] | None = None
        for block in self._blocks:
            rows = np.array([block.places.get(name, -1) for name in names], dtype=np.int64)
            if len(rows) and rows[0] >= 0 and (np.diff(rows) == 1).all():
                return block.vectors[rows[0] : rows[0] + len(rows)], np.empty(0, dtype=np.int64)
            hits = ~found & (rows >= 0)
            if hits.any():
                vectors = np.empty((len(names), width), dtype=np.float32) if vectors is None else vectors
                vectors[hits] = block.vectors[rows[hits]]
                found |= hits
        missing = np.flatnonzero(~found)
        return (np.empty((len(names), width), dtype=np.float32) if vectors is None else vectors), missing
