"""The interface of a teacher, a black box that turns texts into vectors (paper section 2)."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.models.end_token import require_end_tokens
from leaf_st.models.identity import Identity
from leaf_st.models.tokens import known_length
from leaf_st.texts import Text

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from leaf_st.teacher.api.usage import Report

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
Vectors: TypeAlias = "NDArray[Any] | Tensor"

# Values that version 0.1 did not record. An unknown value matches any value.
_LATER = ("similarity_fn_name", "task_prompts")
_NAMES = ("teacher", "revision", "first_revision", "earlier_revision")  # compared by `has_files_of`
_IF_KNOWN = ("task_prompts", "earlier_revision")  # recorded if known, so that values and hashes of most teachers stay
GIVEN = "given-"  # begins the revision of a teacher whose vectors exist already, and whose files are unknown


class Revisions(NamedTuple):
    """The hashes of a teacher's files that all versions of this package compute (see `Fingerprint`)."""

    revision: str
    first_revision: str | None = None
    earlier_revision: str | None = None


class NoVectorError(InputError):
    """A teacher that cannot embed new texts has no vector of a text.

    Attributes:
        problem: The table and the text.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}: {remedy}")


@dataclass(frozen=True)
class Fingerprint:
    """Everything that shapes a vector (docs/architecture.md, contract 2): equal fingerprints, equal vectors.

    Attributes:
        teacher: Hub id or folder of the teacher.
        revision: Hash of the teacher's files, or its version.
        prompts: Prompt by kind.
        max_length: Tokens read of a text; None if the teacher has no limit or the limit is unknown.
        pooling: The teacher's pooling; "unknown" for a black box.
        precision: Precision of the weights while embedding.
        normalized: Whether the vectors have norm 1.
        dimension: Width d of the vectors.
        similarity_fn_name: The teacher's similarity function; None in a fingerprint of version 0.1.
        first_revision: Hash of the teacher's files as version 0.1 computed it, without some of the files. Stores and
            records of that version hold only this hash.
        task_prompts: Prompts for texts that are neither queries nor documents, by name of a task or of a type of tasks,
            such as "STS". They shape no target, but the student keeps them. None if there are none, or if unknown.
    """

    teacher: str
    revision: str
    prompts: Mapping[str, str]
    max_length: int | None
    pooling: str
    precision: str
    normalized: bool
    dimension: int
    similarity_fn_name: Similarity | None = None
    first_revision: str | None = None
    task_prompts: Mapping[str, str] | None = None
    earlier_revision: str | None = None

    def __post_init__(self) -> None:
        """Replace a length that means no limit, which version 0.1 wrote for static teachers, by None."""
        object.__setattr__(self, "max_length", known_length(self.max_length))

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint as JSON values, without `task_prompts` and `earlier_revision` if they are None."""
        return {key: value for key, value in asdict(self).items() if value is not None or key not in _IF_KNOWN}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Fingerprint":
        """Return the fingerprint of a `to_dict` value of this or an earlier version.

        Raises:
            InputError: If a value is missing.
        """
        names = {part.name for part in fields(cls)}
        try:
            return cls(**{name: known for name, known in value.items() if name in names})
        except TypeError as error:
            raise InputError(f"fingerprint is damaged ({error}): delete the store and embed again") from error

    def has_files_of(self, other: "Fingerprint") -> bool:
        """Return whether the teacher of ``other`` has the same files, whichever version hashed them."""
        ours, theirs = ((one.revision, one.first_revision, one.earlier_revision) for one in (self, other))
        return self.revision in theirs or other.revision in ours

    def require_same(self, found: Mapping[str, Any], where: str) -> None:
        """Check that ``found``, the `to_dict` value of another fingerprint, equals this one; names may differ.

        Raises:
            InputError: If a value differs. The error names both values of the first difference.
        """
        other = Fingerprint.from_dict(found)
        if not self.has_files_of(other):
            require_end_tokens(other.revision, self.revision, where)
            expected, actual = (f"{teacher.teacher} ({teacher.revision})" for teacher in (self, other))
            raise other_teacher(where, "revision", expected, actual, (self.teacher, other.teacher))
        values, others = self.to_dict(), other.to_dict()
        for key, value in values.items():
            unknown = key in _LATER and None in (value, others.get(key))
            if value != others.get(key) and not unknown and key not in _NAMES:
                raise other_teacher(where, key, value, others[key])


def other_teacher(
    where: str, key: str, expected: object, found: object, names: tuple[str, str] | None = None
) -> InputError:
    """Return the error for ``where``, such as a store, that another teacher made; ``names`` may be one folder."""
    remedy = "name another output folder, or delete this one to embed again"
    if names is not None and names[0] == names[1] and Path(names[0]).is_dir():
        remedy = f"restore the teacher's earlier files (each changed file counts), {remedy}"
    if key == "precision":  # another machine may have resolved "auto" to it
        remedy = "run the same command again if teacher.precision is auto, or else set it to the precision found"
    return InputError(f"{where} was made by another teacher: expected {key} {expected}, found {found}; {remedy}")


@runtime_checkable
class Targets(Protocol):
    """The part of a teacher that `precompute` uses."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Everything that shapes the vectors."""

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n queries with their prompt; returns shape (n, d), row i for text i."""

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n documents with their prompt; returns shape (n, d), row i for text i."""


@runtime_checkable
class Service(Protocol):
    """The part of a teacher that costs money and can change while it is used; `precompute` calls these methods."""

    def require_budget(self, rows: Sequence[Text]) -> None:
        """Check that the block ``rows`` may be embedded, before it is.

        Raises:
            InputError: If it may not.
        """

    def require_accepted(self, read: Callable[[], Iterable[Text]]) -> None:
        """Check that no text is refused for its length, before the first text is paid for.

        Args:
            read: Returns the texts. It is called only if the length is known from which texts are refused.

        Raises:
            InputError: If a text is.
        """

    def require_unchanged(self, folder: Path) -> None:
        """Check that the teacher still gives the vectors of the store at ``folder``, before and after embedding.

        Raises:
            InputError: If it does not.
        """

    def divide_limits(self, processes: int) -> None:
        """Keep to an equal part of the limits of the service, because as many ``processes`` use the service."""

    def report(self) -> "tuple[Report, ...]":
        """Return what this process asked since its last report, to be passed to `settle` in another process."""

    def reserve(self, rows: Sequence[Text]) -> tuple[int, ...]:
        """Reserve a part of the budget for ``rows``, which another process embeds; returns what `settle` needs.

        Raises:
            InputError: If the budget does not allow them.
        """

    def settle(self, reserved: Sequence[int], reports: "Sequence[Report] | None") -> None:
        """Count what another process asked in place of what was ``reserved``.

        Args:
            reserved: The result of `reserve`.
            reports: The reports of the process; None if the process was lost, so that all of the texts may be paid for.

        Raises:
            InputError: If that process uses another version of the service.
        """

    def seconds_at_limits(self, rows: Sequence[Text]) -> float | None:
        """Return the mean seconds for one of ``rows`` at the service's known limits; None if no limit is known."""

    def tokens_per_text(self, rows: Sequence[Text]) -> float:
        """Return the mean number of tokens of ``rows`` that the service is expected to count."""

    def price_per_text(self, rows: Sequence[Text]) -> float | None:
        """Return the mean price of ``rows`` in US dollars; None if it is unknown."""

    @property
    def address(self) -> str:
        """The address of the service, for messages."""

    @property
    def settings(self) -> str:
        """The part of the recipe that states limits and prices, for messages."""


@runtime_checkable
class Loaded(Protocol):
    """The part of a teacher that is one model on this machine."""

    @property
    def sentence_transformer(self) -> "SentenceTransformer":
        """The loaded model."""


@runtime_checkable
class Rounded(Protocol):
    """The part of a teacher that may run in a lower precision than float32."""

    def in_float32(self) -> Targets | None:
        """Return the same teacher in float32; None if it runs in float32, or if memory or money does not allow it."""


@runtime_checkable
class Table(Protocol):
    """The part of a teacher that has vectors of some texts only, and reads them in the order of its table."""

    def usable(self, texts: Iterable[Text], skipped: Counter[str]) -> Iterator[Text]:
        """Yield the ``texts`` that have a vector, in order; ``skipped`` counts the others by reason."""


@runtime_checkable
class Fitted(Protocol):
    """The part of a teacher that must learn from the first texts before it embeds (see `TeacherSpec.needs_fit`)."""

    @property
    def unfitted(self) -> "Teacher":
        """A teacher that embeds without the fit at about the same speed."""

    def fit(self, texts: Iterable[Text], path: Path) -> None:
        """Learn from the first of ``texts`` and write the result to ``path``.

        Raises:
            InputError: If there are too few texts, or a text cannot be embedded.
        """

    def use(self, path: Path) -> None:
        """Embed all texts with the fit in ``path`` from now on.

        Raises:
            InputError: If the file is missing or belongs to another teacher.
        """


class Teacher(Targets, Protocol):
    """A model whose vectors a student learns to reproduce."""

    @property
    def identity(self) -> Identity:
        """Name and revision under which results are kept."""

    @property
    def dimension(self) -> int:
        """Width d of the vectors."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """All prompts by name, "query" and "document" among them."""

    @property
    def similarity_fn_name(self) -> Similarity:
        """Name of the similarity function."""

    @property
    def parameters(self) -> int | None:
        """Number of weights; None if unknown."""

    @property
    def batch_size(self) -> int:
        """Number of texts that the teacher embeds at a time."""

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Embed n texts that are neither queries nor documents, such as sentences to classify; returns shape (n, d)."""

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens that the teacher reads of each text, shape (n,)."""

    def token_vectors(self, count: int) -> "Tensor":
        """Embed the first ``count`` tokens of the teacher's vocabulary, each as a text; returns shape (count, d).

        Raises:
            InputError: If the teacher cannot embed single tokens.
        """

    def similarity(self, queries: Vectors, documents: Vectors) -> "Tensor":
        """Return the similarity of each query to each document, shape (queries, documents)."""

    def similarity_pairwise(self, queries: Vectors, documents: Vectors) -> "Tensor":
        """Return the similarity of query i to document i, shape (n,)."""
