"""Vectors by text, each with its flaw."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import FieldError
from leaf_st.recipe import TextsSpec
from leaf_st.teacher.protocol import Fingerprint, NoVectorError
from leaf_st.teacher.vectors.cursor import Cursor
from leaf_st.teacher.vectors.files import VectorFiles
from leaf_st.teacher.vectors.flaws import OK, REPEATED, find_flaws, normalize, norms_of
from leaf_st.teacher.vectors.index import ABSENT, CONFLICT, TextIndex
from leaf_st.teacher.vectors.raw import FIELD
from leaf_st.texts.check import in_words


class Lookup:
    """Finds vectors by text; reads the texts of the table at the first look-up.

    Args:
        table: The table.
        files: The vectors of the table.
        fingerprint: The teacher's prompts, and the width and norm of its vectors.
    """

    def __init__(self, table: TextsSpec, files: VectorFiles, fingerprint: Fingerprint) -> None:
        self._table, self._files, self._prompts = table, files, fingerprint.prompts
        self._normalized = fingerprint.normalized
        self._width = fingerprint.dimension
        # By kind, and by whether the rows are later ones of repeated texts, so that each cursor only moves on. A store
        # asks for a shard after its vectors were checked, first for the queries: a single cursor would go back, and
        # read a jsonl file from its start, for each shard.
        self._cursors = defaultdict[tuple[str, bool], Cursor](lambda: Cursor(files, self._width))

    def fetch(self, names: Sequence[str], kind: str) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Return the vectors of n texts with their prompts, and the flaw of each, `OK` if usable.

        The vectors have norm 1 if the teacher's have.

        Raises:
            InputError: If the table has no row of a text.
        """
        rows = self._index.rows(names)
        absent = np.flatnonzero(rows == ABSENT)
        if absent.size:
            raise NoVectorError(
                f"{self._table.source} has no vector of the {kind} {names[absent[0]][:60]!r}",
                "standard mode needs no vectors, asymmetric mode the documents' vectors, teacher mode and `measure` "
                "commands the queries' vectors too; add vectors to the table, choose a mode (`evaluate --modes`), or "
                "name a teacher that can be loaded (--teacher)",
            )
        vectors, widths = self._read(rows, kind)
        norms, normalized = norms_of(vectors), self._normalized
        flaws = find_flaws(norms, widths, self._width, normalized)
        flaws[rows == CONFLICT] = REPEATED
        return normalize(vectors, norms, flaws == OK) if normalized else vectors, flaws

    def _read(self, rows: NDArray[np.int64], kind: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of n rows and their widths; NaN for `CONFLICT`."""
        is_later = self._index.is_later(rows)
        order = np.argsort(rows, kind="stable")
        order = order[rows[order] != CONFLICT]
        if len(order) == len(rows) and (order[1:] > order[:-1]).all() and not is_later.any():  # in the table's order
            return self._cursors[kind, False].fetch(rows)
        vectors = np.full((len(rows), self._width), np.nan, dtype=np.float32)
        widths = np.full(len(rows), self._width)
        for later in (False, True):
            places = order[is_later[order] == later]
            vectors[places], widths[places] = self._cursors[kind, later].fetch(rows[places])
        return vectors, widths

    @cached_property
    def _index(self) -> TextIndex:
        """The rows by text, read at the first look-up."""
        index = TextIndex(self._table, self._prompts)
        if self._files.rows not in (None, index.count):
            left_out, remedy = "", "name the vectors of this table"
            if index.skipped:
                left_out = f" (left out: {in_words(index.skipped)})"
                remedy = f"correct what is left out, or {remedy}"
            raise FieldError(
                *FIELD,
                f"expected {index.count:,} vectors, one for each row of {self._table.source}{left_out}, found "
                f"{self._files.rows:,}: {remedy}",
                self._files.paths[0],
            )
        index.merge_repeated(Cursor(self._files, self._width), self._normalized)
        return index
