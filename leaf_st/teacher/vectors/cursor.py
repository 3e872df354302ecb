"""Vectors by row number."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import FieldError
from leaf_st.teacher.blocks import read_ahead
from leaf_st.teacher.vectors.files import VectorFiles
from leaf_st.teacher.vectors.raw import FIELD, Raw


class Cursor:
    """Fetches vectors by row number; rows in ascending order are read once, in bounded memory.

    Args:
        files: The vectors.
        width: Width that a vector must have.
    """

    def __init__(self, files: VectorFiles, width: int) -> None:
        self._files, self.width = files, width
        self._blocks: Iterator[Raw] = iter(())
        self._first, self._end = 0, 0  # rows of the current block
        self._vectors, self._widths = np.empty((0, width), dtype=np.float32), np.empty(0, dtype=np.int64)

    def fetch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of n rows in ascending order, shape (n, d), and their widths, 0 without a vector.

        A vector of another width is replaced by NaN. The arrays may be views of a file.
        """
        if len(rows):
            self._advance(int(rows[0]))
            first = int(rows[0]) - self._first
            if rows[-1] < self._end and (np.diff(rows) == 1).all():
                return self._vectors[first : first + len(rows)], self._widths[first : first + len(rows)]
        vectors, widths = np.empty((len(rows), self.width), dtype=np.float32), np.empty(len(rows), dtype=np.int64)
        done = 0
        while done < len(rows):
            self._advance(int(rows[done]))
            end = int(np.searchsorted(rows, self._end))
            places = rows[done:end] - self._first
            vectors[done:end], widths[done:end] = self._vectors[places], self._widths[places]
            done = end
        return vectors, widths

    def _advance(self, row: int) -> None:
        """Make the block with ``row`` the current block."""
        start = self._files.start_of(row)
        if row < self._first or start > self._end or self._end == 0:
            self._blocks, self._first, self._end = read_ahead(self._files.read(start)), start, start
        while row >= self._end:
            raw = next(self._blocks, None)
            if raw is None:
                raise FieldError(
                    *FIELD,
                    f"expected a vector for row {row} (counted from 0), found {self._end} rows: give each row of the "
                    "table a vector",
                    self._files.paths[0],
                )
            self._vectors, self._widths = _matrix(raw, self.width), raw.widths
            self._first, self._end = self._end, self._end + len(raw.widths)


def _matrix(raw: Raw, width: int) -> NDArray[np.float32]:
    right = raw.widths == width
    if right.all():
        return raw.values.reshape(-1, width)
    vectors = np.full((len(right), width), np.nan, dtype=np.float32)
    vectors[right] = raw.values[np.repeat(right, raw.widths)].reshape(-1, width)
    return vectors
