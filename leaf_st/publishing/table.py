"""A table of the report: cells as they are read, the same in the page and in its CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

_LINE = 60  # characters


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of its CSV file, without the suffix.
        header: A name for each column.
        rows: Cells.
        left: Columns of words, which come first; those of numbers follow.
        strong: Rows that sum up others.
        caption: What it is.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    strong: frozenset[int] = field(default=frozenset())
    caption: str = ""

    def __post_init__(self) -> None:
        """Look whether each row has a cell for each column."""
        assert all(len(row) == len(self.header) for row in self.rows), self.name

    @property
    def form(self) -> str:
        """How it is laid out: "prose" where a cell holds more than a line, "even" if several columns do; else empty."""
        long = {column for row in self.rows for column, cell in enumerate(row) if len(cell) > _LINE}
        return "even" if len(long) > 1 else "prose" if long else ""

    @property
    def csv(self) -> str:
        """The table as a link that holds it."""
        text = io.StringIO()
        csv.writer(text).writerows([self.header, *self.rows])
        # A lone surrogate in somebody's text has no bytes.
        return f"data:text/csv;charset=utf-8,{quote(text.getvalue().encode(errors='replace'))}"
