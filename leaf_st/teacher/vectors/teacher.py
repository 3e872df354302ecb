"""The teacher that looks vectors up in a table.

The model that made the vectors is never loaded, so only texts of the table can be embedded. A text is found with its
prompt; the index keeps 16 bytes a text. Rows without a usable vector are left out and counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import FieldError, InputError
from leaf_st.models.identity import Identity, with_owner
from leaf_st.recipe import KINDS, TeacherSpec
from leaf_st.teacher.blocks import blocks
from leaf_st.teacher.protocol import Fingerprint, NoVectorError
from leaf_st.teacher.remote import RemoteTeacher
from leaf_st.teacher.vectors.flaws import FLAWS, OK, ZERO
from leaf_st.teacher.vectors.lookup import Lookup
from leaf_st.teacher.vectors.recent import RecentVectors
from leaf_st.teacher.vectors.table import measure, open_table, revision_of
from leaf_st.texts import Text
from leaf_st.texts.columnar import BATCH_ROWS
from leaf_st.zoo import WIDTHS, can_give

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
        self._spec = spec
        self._table, files = open_table(spec)
        width, normalized = measure(files)
        self._recent = RecentVectors()
        prompts: dict[str, str] = {kind: spec.prompts.get(kind, "") for kind in KINDS}
        self.fingerprint = Fingerprint(
            teacher=spec.model,
            revision=revision_of(self._table, files),
            prompts=prompts,
            max_length=spec.max_length,
            pooling="unknown",
            precision="float32",
            normalized=normalized,
            dimension=width,
            similarity_fn_name="cosine",
        )
        self._lookup = Lookup(self._table, files, self.fingerprint)

    def __reduce__(self) -> tuple[type["GivenVectors"], tuple[TeacherSpec]]:
        # Another process opens the table: the index has Python's hashes, which differ between processes.
        return GivenVectors, (self._spec,)

    def require_known_width(self) -> None:
        """Check that the named model can have made the vectors: cards take base model and licence from its name.

        Raises:
            InputError: If the model is known to give vectors of another width.
        """
        name, width = self.fingerprint.teacher, self.dimension
        if not can_give(name, width):
            raise FieldError(
                "teacher",
                "model",
                f"expected the name of the model that made the vectors of {width:,} dimensions, found {name}, which "
                f"gives {max(WIDTHS[name]):,}: set teacher.model to the model that made the vectors, or to a name of "
                "your own if the vectors were changed afterwards",
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
        for block in blocks(texts, BATCH_ROWS):
            names = [self.prompts[row.kind] + row.text for row in block]
            vectors, flaws = self._lookup.fetch(names, "text")
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
        vectors, flaws = self._lookup.fetch(names, kind)
        bad = np.flatnonzero((flaws != OK) & (flaws != ZERO))
        if bad.size:
            raise NoVectorError(
                f"{self._table.source}: expected one vector of the {kind} {names[bad[0]][:60]!r}, found "
                f"{FLAWS[flaws[bad[0]]]}",
                "repair the table, or choose standard mode (`evaluate --modes standard`)",
            )
        return vectors
