"""Search of one query over a few documents in every mode, to compare with the teacher (paper appendix D, Table 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import Embedder
from leaf_st.evaluation.modes import ROLES, Mode, role_of
from leaf_st.tables import aligned
from leaf_st.teacher.protocol import Teacher

_GAP = 2  # blanks between columns
_NARROWEST = 24


@dataclass(frozen=True)
class Hit:
    """A document that a query found.

    Attributes:
        rank: Position in the list, from 1.
        score: Similarity to the query, by the function of the model that embedded the documents.
        row: Index of the document.
        text: Text of the document.
    """

    rank: int
    score: float
    row: int
    text: str


def search(
    query: str,
    documents: Sequence[str],
    *,
    student: SentenceTransformer,
    teacher: Teacher | None,
    k: int = 10,
) -> dict[Mode, list[Hit]]:
    """Return the ``k`` best documents for ``query`` in each mode; without a teacher, only in standard mode.

    Raises:
        InputError: If there are no documents, or the models' vectors cannot be used.
    """
    if not documents:
        raise InputError("search: expected documents, found none: name a file with texts")
    modes: list[Mode] = ["standard"] if teacher is None else list(ROLES)
    embedder = Embedder(teacher=teacher, student=student, modes=modes)
    return {mode: _search(query, documents, embedder, mode, k) for mode in modes}


def format_hits(hits: Mapping[Mode, Sequence[Hit]], width: int) -> str:
    """Return the lists side by side, each headed by the number of documents that the teacher finds too.

    Args:
        hits: Result of `search`.
        width: Characters per line; longer texts are cut.
    """
    teacher = {hit.row for hit in hits.get("teacher", ())}
    column = max((width - _GAP * (len(hits) - 1)) // len(hits), _NARROWEST)
    titles = []
    for mode, found in hits.items():
        shared = len(teacher & {hit.row for hit in found})
        titles.append(f"{mode}: {shared} of {len(teacher)} shared" if teacher and mode != "teacher" else str(mode))
    rows = [[_format_hit(hit, column) for hit in found] for found in hits.values()]
    lines = [titles, *zip(*rows, strict=True)]
    return aligned(lines, left=len(hits))


def _search(query: str, documents: Sequence[str], embedder: Embedder, mode: Mode, k: int) -> list[Hit]:
    asked = embedder.embed(mode, "query", [query])
    if not asked.any():
        raise InputError(
            f"search: expected a query with a token that the {role_of(mode, 'query')} knows, found {query!r}, whose "
            "vector is zero: rephrase the query, or name another model"
        )
    stored = embedder.embed(mode, "document", documents)
    scores = embedder.document_model(mode).similarity(asked, stored)[0]
    best = scores.topk(min(k, len(documents)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [Hit(rank, score, row, documents[row]) for rank, (score, row) in enumerate(pairs, start=1)]


def _format_hit(hit: Hit, width: int) -> str:
    line = f"{hit.rank:>2} {hit.score:.3f} {' '.join(hit.text.split())}"
    return line if len(line) <= width else line[: width - 3] + "..."
