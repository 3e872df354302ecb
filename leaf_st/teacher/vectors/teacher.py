"""The teacher that looks vectors up in a table.

The model that made the vectors is never loaded, so only texts of the table can be embedded. A text is found with its
prompt; the index keeps 16 bytes a text. Rows without a usable vector are left out and counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import FieldError, InputError
from leaf_st.models.identity import Identity, with_owner
from leaf_st.recipe import KINDS, TeacherSpec
from leaf_st.teacher.protocol import Fingerprint, NoVectorError
from leaf_st.teacher.remote import RemoteTeacher
from leaf_st.teacher.vectors.blocks import blocks
from leaf_st.teacher.vectors.cursor import Cursor
from leaf_st.teacher.vectors.flaws import FLAWS, OK, REPEATED, ZERO, find_flaws, normalize, norms_of
from leaf_st.teacher.vectors.index import ABSENT, CONFLICT, TextIndex
from leaf_st.teacher.vectors.raw import FIELD
from leaf_st.teacher.vectors.recent import RecentVectors
from leaf_st.teacher.vectors.table import measure, open_table, revision_of
from leaf_st.texts import Text
from leaf_st.texts.columnar import BATCH_ROWS

if TYPE_CHECKING:
    from torch import Tensor


class GivenVectors(RemoteTeacher):
    """A `Teacher` that looks texts up in a table.

    The width d, and whether the vectors have norm 1, are measured on the first 1,024 rows; a row that differs is left
    out. The similarity function is the cosine.

    Args:
        spec: The teacher, with ``vector_column`` and ``table``.

    Raises:
        InputError: If the table is missing or damaged, or its first rows have no vectors.
    """

    def __init__(self, spec: TeacherSpec) -> None:
        self._table, self._files = open_table(spec)
        width, normalized = measure(self._files)
        self._cursor = Cursor(self._files, width)
        self._recent = RecentVectors()
        prompts: dict[str, str] = {kind: spec.prompts.get(kind, "") for kind in KINDS}
        self.fingerprint = Fingerprint(
            teacher=spec.model,
            revision=revision_of(self._table, self._files),
            prompts=prompts,
            max_length=spec.max_length,
            pooling="unknown",
            precision="float32",
            normalized=normalized,
            dimension=width,
            similarity_fn_name="cosine",
        )

    @property
    def identity(self) -> Identity:
        """Name and revision under which results are kept."""
        return Identity(with_owner(self.fingerprint.teacher), self.fingerprint.revision)

    @property
    def batch_size(self) -> int:
        """Number of texts that are looked up at a time."""
        return BATCH_ROWS

    def usable(self, texts: Iterable[Text], skipped: Counter[str]) -> Iterator[Text]:
        """Yield the texts of the table that have a usable vector, in order.

        Args:
            texts: Texts of the table.
            skipped: Counts the other texts by reason; a reason names its first text.
        """
        reasons: dict[int, str] = {}
        for block in blocks(texts):
            names = [self.prompts[row.kind] + row.text for row in block]
            vectors, flaws = self._fetch(names, "text")
            for place in np.flatnonzero(flaws).tolist():
                number = int(flaws[place])
                skipped[reasons.setdefault(number, f"{FLAWS[number]} (first: {block[place].text[:60]!r})")] += 1
            usable = np.flatnonzero(flaws == OK).tolist()
            self._recent.add({names[place]: place for place in usable}, vectors)
            yield from (block[place] for place in usable)

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n queries, shape (n, d), row i for text i."""
        return self._look_up(texts, self.prompts["query"], "query")

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n documents, shape (n, d), row i for text i."""
        return self._look_up(texts, self.prompts["document"], "document")

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Return the vectors of n texts that the table holds with ``prompt``, shape (n, d), row i for text i."""
        return self._look_up(texts, prompt or "", "text")

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return 1 for each text: a look-up takes the same time for short and long texts."""
        return np.ones(len(texts), dtype=np.int64)

    def token_vectors(self, count: int) -> "Tensor":
        """Raise an `InputError`, because the table has no vectors of tokens."""
        raise InputError(f"{self._table.source} holds vectors of texts, not of tokens: set student.backbone")

    def _look_up(self, texts: Sequence[str], prompt: str, kind: str) -> NDArray[np.float32]:
        names = [prompt + text.strip() for text in texts]
        vectors, missing = self._recent.find(names, self.dimension)
        if missing.size:
            vectors[missing] = self._require([names[place] for place in missing.tolist()], kind)
        return vectors

    def _require(self, names: Sequence[str], kind: str) -> NDArray[np.float32]:
        """Return the vectors of n texts with their prompts, which may be zero but must be finite."""
        vectors, flaws = self._fetch(names, kind)
        bad = np.flatnonzero((flaws != OK) & (flaws != ZERO))
        if bad.size:
            raise NoVectorError(
                f"{self._table.source}: expected one vector of the {kind} {names[bad[0]][:60]!r}, found "
                f"{FLAWS[flaws[bad[0]]]}",
                "repair the table, or choose standard mode (`evaluate --modes standard`)",
            )
        return vectors

    def _fetch(self, names: Sequence[str], kind: str) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Return the vectors of n texts with their prompts, and the flaw of each, `OK` if usable.

        The vectors have norm 1 if the teacher's have.
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
        vectors, widths = self._read(rows)
        norms, normalized = norms_of(vectors), self.fingerprint.normalized
        flaws = find_flaws(norms, widths, self.dimension, normalized)
        flaws[rows == CONFLICT] = REPEATED
        return normalize(vectors, norms, flaws == OK) if normalized else vectors, flaws

    def _read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of n rows and their widths; NaN for `CONFLICT`."""
        order = np.argsort(rows, kind="stable")
        order = order[rows[order] != CONFLICT]
        if len(order) == len(rows) and (order[1:] > order[:-1]).all():  # in the order of the table
            return self._cursor.fetch(rows)
        vectors = np.full((len(rows), self.dimension), np.nan, dtype=np.float32)
        widths = np.full(len(rows), self.dimension)
        vectors[order], widths[order] = self._cursor.fetch(rows[order])
        return vectors, widths

    @cached_property
    def _index(self) -> TextIndex:
        """The rows by text, read at the first look-up."""
        index = TextIndex(self._table, self.prompts)
        if self._files.rows not in (None, index.count):
            raise FieldError(
                *FIELD,
                f"expected {index.count:,} vectors, one for each row of {self._table.source}, found "
                f"{self._files.rows:,}: name the vectors of this table",
                self._files.paths[0],
            )
        index.merge_repeated(self._cursor)
        return index
