"""Estimate how many texts a source contains while the source is read, for the total of a progress bar.

A separate counting pass would read and deduplicate all texts twice. The footer of a parquet file states its number of
rows. For other files, the estimate is the size of the file divided by the mean size of the rows read so far. Unusable
rows, duplicates and sentences make the number of texts differ from the number of rows, so the estimate is the expected
rows times the texts of each kind per row so far, up to the limit of the kind. Once all rows are read, the estimate is
exact.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class PartProgress:
    """How far one file has been read.

    Attributes:
        size: Size of the file, in bytes or another unit.
        done: How much of ``size`` has been read.
        rows: Rows read.
        total: Rows of the file; None while unknown.
    """

    size: int
    done: int = 0
    rows: int = 0
    total: int | None = None

    @property
    def expected_rows(self) -> float | None:
        """Rows of the file, stated or estimated; None before the first row was read."""
        if self.total is not None:
            return self.total
        return self.rows * self.size / self.done if self.rows and self.done else None


class ReadProgress:
    """How far a source has been read, and how many texts to expect in total.

    Attributes:
        limit: Largest number of texts that the reader returns.
        limits: Largest number of texts of each kind.
        selected: Number of texts of each kind that the reader has returned.
    """

    def __init__(self) -> None:
        self.limit = math.inf
        self.limits: Mapping[str, float] = {}
        self.selected: Counter[str] = Counter()
        self._parts: list[PartProgress] = []

    def add(self, size: int, total: int | None = None) -> PartProgress:
        """Add a file of ``size``, with ``total`` rows where the file states them; the reader updates the result."""
        part = PartProgress(size, total=total)
        self._parts.append(part)
        return part

    def expected_texts(self, texts: int) -> int | None:
        """Return the expected number of all texts, given that ``texts`` have been read; None if unknown."""
        expected = [part.expected_rows for part in self._parts]
        known = [rows for rows in expected if rows is not None]
        if not known or len(known) < len(expected):
            return None
        read, rows = sum(part.rows for part in self._parts), sum(known)
        if not read or not texts:
            return max(texts, round(min(self.limit, rows)))
        # A kind whose limit is reached has no further texts, although its rows are read.
        by_kind = (min(self.limits.get(kind, math.inf), count * rows / read) for kind, count in self.selected.items())
        return max(texts, round(min(self.limit, sum(by_kind))))
