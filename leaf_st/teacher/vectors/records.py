"""Vectors in a column of a jsonl, csv or tsv file, which is read row by row."""

from collections.abc import Iterator
from pathlib import Path

from leaf_st.teacher.blocks import blocks
from leaf_st.teacher.vectors.parse import joined, parse
from leaf_st.teacher.vectors.raw import FIELD, Raw
from leaf_st.texts.columnar import BATCH_ROWS
from leaf_st.texts.files import read_values


class Records:
    """A column of a file that is read row by row."""

    def __init__(self, path: Path, column: str) -> None:
        self.paths, self._column = [path], column
        self.rows: int | None = None

    def start_of(self, row: int) -> int:
        """Return 0: the file is read from its beginning."""
        return 0

    def read(self, start: int) -> Iterator[Raw]:
        """Yield the vectors from row ``start`` on, in blocks."""
        for values in blocks(read_values(self.paths[0], self._column, *FIELD), BATCH_ROWS):
            yield joined([parse(value) for value in values])
