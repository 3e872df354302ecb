"""The rows of a table by text: sorted hashes and row numbers, 16 bytes a text."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leaf_st.recipe import TextsSpec
from leaf_st.teacher.vectors.cursor import Cursor
from leaf_st.teacher.vectors.flaws import OK, find_flaws, norms_of
from leaf_st.texts.check import flaw, stripped_texts
from leaf_st.texts.columnar import BATCH_ROWS
from leaf_st.texts.files import Rows, read_file

# In place of a row: the text has no row, or several rows with different vectors.
ABSENT, CONFLICT = -1, -2
# An API gives a repeated text vectors that differ in their last digits, by less than this share of the norm.
_NOISE = 0.02
_SKETCH = 16  # numbers that are kept of the vector of a repeated text, to compare it with the other vectors of the text


class TextIndex:
    """Finds the row of a text with its prompt.

    The hash is Python's, which differs between processes but is ten times as fast as the hash of a store.

    Args:
        table: The table; its unusable rows are left out.
        prompts: Prompt by kind.

    Attributes:
        count: Number of rows of the table.
        skipped: Number of lines and files of the table that are not read as rows, by reason.
    """

    def __init__(self, table: TextsSpec, prompts: Mapping[str, str]) -> None:
        hashes, rows = array("q"), array("q")
        self.count = 0
        self.skipped = Counter[str]()
        for block in read_file(table, self.skipped):
            names = _names(block, prompts)
            hashes.extend(hash(name) for name in names if name is not None)
            rows.extend(row for row, name in enumerate(names, start=self.count) if name is not None)
            self.count += len(names)
        found = np.frombuffer(hashes, dtype=np.int64)
        order = np.argsort(found, kind="stable")
        self._hashes, self._rows = found[order], np.frombuffer(rows, dtype=np.int64)[order]
        self._later = np.empty(0, dtype=np.int64)  # chosen rows that are not the first ones of their texts, ascending

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each of n texts with their prompts, `ABSENT` or `CONFLICT`."""
        if not len(self._hashes):
            return np.full(len(names), ABSENT)
        hashes = np.fromiter(map(hash, names), dtype=np.int64, count=len(names))
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.where(self._hashes[places] == hashes, self._rows[places], ABSENT)

    def is_later(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each of n rows is a later row of its text, because the first one has no usable vector."""
        return np.searchsorted(self._later, rows, side="right") > np.searchsorted(self._later, rows)

    def merge_repeated(self, cursor: Cursor, normalized: bool) -> None:
        """Keep the first row with a usable vector of each repeated text, or `CONFLICT` if its usable vectors differ.

        A text without a usable vector keeps its first row, whose flaw is then the reason to leave the text out.

        Args:
            cursor: The vectors.
            normalized: Whether a usable vector must have norm 1.
        """
        is_first = np.ones(len(self._hashes), dtype=bool)
        np.not_equal(self._hashes[1:], self._hashes[:-1], out=is_first[1:])
        if is_first.all():
            return
        first, number = np.flatnonzero(is_first), np.cumsum(is_first) - 1
        repeated = np.flatnonzero(np.bincount(number)[number] > 1)
        sketches, usable = self._sketches(repeated, cursor, normalized)
        self._choose(repeated[usable], first[number[repeated[usable]]], sketches[usable])
        self._hashes, self._rows = self._hashes[first], self._rows[first]

    def _choose(self, entries: NDArray[np.int64], first: NDArray[np.int64], sketches: NDArray[np.float32]) -> None:
        """Set the row in the first entry of each repeated text that has a usable vector.

        Args:
            entries: The entries with a usable vector, ascending.
            first: The first entry of the text of each of them.
            sketches: The projections of their vectors.
        """
        texts, places = np.unique(first, return_index=True)
        chosen = self._rows[entries[places]]
        self._later = np.sort(chosen[chosen != self._rows[texts]])
        self._rows[texts] = chosen
        reference = sketches[places[np.searchsorted(texts, first)]]
        allowed = _NOISE * np.linalg.norm(reference, axis=1)
        same = np.linalg.norm(sketches - reference, axis=1) <= allowed
        self._rows[first[~same]] = CONFLICT

    def _sketches(
        self, entries: NDArray[np.int64], cursor: Cursor, normalized: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return random projections of the vectors of n entries, and which of the vectors are usable.

        The projections, shape (n, 16), keep distances approximately.
        """
        sketches, usable = np.empty((len(entries), _SKETCH), dtype=np.float32), np.empty(len(entries), dtype=bool)
        projection = np.random.default_rng(0).normal(size=(cursor.width, _SKETCH)).astype(np.float32)
        order = np.argsort(self._rows[entries], kind="stable")
        for start in range(0, len(order), BATCH_ROWS):
            places = order[start : start + BATCH_ROWS]
            vectors, widths = cursor.fetch(self._rows[entries[places]])
            usable[places] = find_flaws(norms_of(vectors), widths, cursor.width, normalized) == OK
            with np.errstate(invalid="ignore", over="ignore"):
                sketches[places] = vectors @ projection
        return sketches, usable


def _names(block: Rows, prompts: Mapping[str, str]) -> Sequence[str | None]:
    """Return the text of each row with its prompt; None if the row is unusable."""
    texts = stripped_texts(block.texts, block.kinds)
    if texts is not None:
        return [prompts[str(kind)] + text for kind, text in zip(block.kinds, texts, strict=True)]
    rows = zip(block.kinds, block.texts, strict=True)
    return [None if flaw(text, kind) else prompts[str(kind)] + str(text).strip() for kind, text in rows]
