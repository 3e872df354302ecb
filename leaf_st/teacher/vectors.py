"""A teacher whose vectors exist already: a table of texts and vectors, such as the export of a vector database.

The model that made the vectors is never loaded, so only texts of the table can be embedded. A text is found with its
prompt; the index keeps 16 bytes a text. Rows without a usable vector are left out and counted.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from leaf_st.errors import FieldError, InputError
from leaf_st.models.identity import Identity, with_owner
from leaf_st.recipe import KINDS, TeacherSpec, TextsSpec
from leaf_st.teacher.protocol import GIVEN, Fingerprint, NoVectorError
from leaf_st.teacher.remote import RemoteTeacher
from leaf_st.teacher.vector_files import FIELD, Cursor, Raw, VectorFiles, blocks, open_vectors
from leaf_st.teacher.vector_index import ABSENT, CONFLICT, TextIndex
from leaf_st.texts import Text
from leaf_st.texts.columnar import BATCH_ROWS
from leaf_st.texts.files import table_files

_SAMPLES, _SAMPLE_BYTES = 1024, 4096  # of each file, for its hash; a file of up to 4 MiB is hashed completely
_UNIT = 1e-2  # vectors within this distance of norm 1 count as normalised: float16 and bfloat16 round norms
_PRECISE = 1e-4  # vectors outside this distance are normalised again
_RECENT = 2 * BATCH_ROWS  # vectors that are kept after they were checked: a block of a store spans two blocks here
_FLAWS = (
    "",
    "without a vector",
    "vector of another width",
    "vector with NaN or infinite numbers",
    "zero vector",
    "vector of a norm other than 1",
    "repeated text with different vectors",
)
_OK, _NONE, _WIDTH, _NOT_FINITE, _ZERO, _NORM, _REPEATED = range(len(_FLAWS))


class _Recent(NamedTuple):
    """Vectors that were checked.

    Attributes:
        places: Row in ``vectors`` by text, with its prompt.
        vectors: The vectors, shape (at least as many as texts, d).
    """

    places: dict[str, int]
    vectors: NDArray[np.float32]


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
        self._table, self._files = _open(spec)
        width, normalized = _measure(self._files)
        self._cursor = Cursor(self._files, width)
        self._recent: deque[_Recent] = deque()
        prompts: dict[str, str] = {kind: spec.prompts.get(kind, "") for kind in KINDS}
        self.fingerprint = Fingerprint(
            teacher=spec.model,
            revision=_revision(self._table, self._files),
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
                skipped[reasons.setdefault(number, f"{_FLAWS[number]} (first: {block[place].text[:60]!r})")] += 1
            usable = np.flatnonzero(flaws == _OK).tolist()
            self._remember(_Recent({names[place]: place for place in usable}, vectors))
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

    def token_vectors(self, count: int) -> Tensor:
        """Raise an `InputError`, because the table has no vectors of tokens."""
        raise InputError(f"{self._table.source} holds vectors of texts, not of tokens: set student.backbone")

    def _look_up(self, texts: Sequence[str], prompt: str, kind: str) -> NDArray[np.float32]:
        names = [prompt + text.strip() for text in texts]
        vectors = np.empty((len(names), self.dimension), dtype=np.float32)
        missing = np.ones(len(names), dtype=bool)
        for recent in self._recent:
            places = np.array([recent.places.get(name, -1) for name in names], dtype=np.int64)
            if (places >= 0).all():
                return np.take(recent.vectors, places, axis=0)
            hits = missing & (places >= 0)
            vectors[hits] = recent.vectors[places[hits]]
            missing &= ~hits
        if missing.any():
            others = np.flatnonzero(missing)
            vectors[others] = self._require([names[place] for place in others.tolist()], kind)
        return vectors

    def _require(self, names: Sequence[str], kind: str) -> NDArray[np.float32]:
        """Return the vectors of n texts with their prompts, which may be zero but must be finite."""
        vectors, flaws = self._fetch(names, kind)
        bad = np.flatnonzero((flaws != _OK) & (flaws != _ZERO))
        if bad.size:
            raise NoVectorError(
                f"{self._table.source}: expected one vector of the {kind} {names[bad[0]][:60]!r}, found "
                f"{_FLAWS[flaws[bad[0]]]}",
                "repair the table, or choose standard mode (`evaluate --modes standard`)",
            )
        return vectors

    def _fetch(self, names: Sequence[str], kind: str) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Return the vectors of n texts with their prompts, and the flaw of each, `_OK` if usable.

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
        flaws = self._flaws(rows, vectors, widths)
        if self.fingerprint.normalized:
            vectors = _normalized(vectors, flaws == _OK)
        return vectors, flaws

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

    def _flaws(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], widths: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        norms = _norms(vectors)
        flaws = np.zeros(len(rows), dtype=np.int8)
        if self.fingerprint.normalized:
            flaws[np.abs(norms - 1) > _UNIT] = _NORM
        flaws[norms == 0] = _ZERO
        flaws[~np.isfinite(norms)] = _NOT_FINITE
        flaws[widths != self.dimension] = _WIDTH
        flaws[widths == 0] = _NONE
        flaws[rows == CONFLICT] = _REPEATED
        return flaws

    def _remember(self, checked: _Recent) -> None:
        """Keep checked vectors, which are embedded next."""
        self._recent.append(checked)
        while sum(len(recent.places) for recent in self._recent) - len(self._recent[0].places) >= _RECENT:
            self._recent.popleft()

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


def given_revision(spec: TeacherSpec) -> str:
    """Return the revision in the fingerprint of the given vectors of ``spec``, without reading all of them.

    The hash covers the size of each file and 1,024 blocks of 4 KiB at even distances.

    Raises:
        InputError: If the table is missing.
    """
    table, files = _open(spec)
    return _revision(table, files)


def _open(spec: TeacherSpec) -> tuple[TextsSpec, VectorFiles]:
    if spec.vector_column is None or spec.table is None:
        raise FieldError(
            "teacher",
            "table",
            f"expected the table that contains the vectors {spec.vector_column!r}, found None: set the table, or use a "
            "recipe, whose texts are the table",
        )
    return spec.table, open_vectors(spec.table, spec.vector_column)


def _measure(files: VectorFiles) -> tuple[int, bool]:
    """Return the width of the first 1,024 rows' vectors, and whether they have norm 1."""
    raw = next(files.read(0), None)
    widths = Counter(raw.widths[raw.widths > 0].tolist()) if raw is not None else Counter[int]()
    if not widths:
        raise FieldError(
            *FIELD,
            f"expected vectors in the first {BATCH_ROWS:,} rows of {files.paths[0]}, found none: name a column of "
            "lists of numbers, of float32 numbers in binary or base64, or of texts such as [0.1, 0.2]",
        )
    width = widths.most_common(1)[0][0]
    vectors, _ = Cursor(files, width).fetch(np.arange(len(cast(Raw, raw).widths)))
    norms = _norms(vectors)
    norms = norms[np.isfinite(norms) & (norms > 0)]
    # The median, because some rows may be damaged.
    return width, bool(norms.size and np.median(np.abs(norms - 1)) <= _UNIT)


def _revision(table: TextsSpec, files: VectorFiles) -> str:
    digest = hashlib.sha256()
    for path in dict.fromkeys([*table_files(Path(table.source)), *files.paths]):
        size = path.stat().st_size
        digest.update(f"{size}\0".encode())
        places = np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES).astype(int).tolist()
        with path.open("rb") as handle:
            for place in places if size > _SAMPLES * _SAMPLE_BYTES else range(0, size, _SAMPLE_BYTES):
                handle.seek(place)
                digest.update(handle.read(_SAMPLE_BYTES))
    return f"{GIVEN}{digest.hexdigest()[:16]}"


def _norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the norms of n vectors, shape (n,); not finite if a number of a vector is not."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return norms


def _normalized(vectors: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return ``vectors``, the ``usable`` ones of rounded numbers with norm 1 in float32."""
    norms = _norms(vectors)
    off = usable & (np.abs(norms - 1) > _PRECISE)
    norms[~off] = 1
    return vectors / norms[:, None] if off.any() else vectors
