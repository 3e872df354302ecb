"""One query over a few documents in every mode, side by side with the teacher (paper appendix D, Table 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, Embedder, Mode

SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        rank: Place in the list, from 1.
        score: Similarity to the query, by the function of the model that embedded the documents.
        row: Index of the document.
        text: The document.
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
    teacher: SentenceTransformer | None,
    k: int = 10,
) -> dict[Mode, list[Hit]]:
    """Return the ``k`` best documents for ``query`` in each mode, "standard" alone without a teacher.

    Raises:
        InputError: If there are no documents, or the models' vectors cannot be used.
    """
    if not documents:
        raise InputError("search: expected documents, found none")
    modes: list[Mode] = ["standard"] if teacher is None else list(ROLES)
    embedder = Embedder(teacher=teacher, student=student, modes=modes)
    return {mode: _search(query, documents, embedder, mode, k) for mode in modes}


def format_hits(hits: Mapping[Mode, Sequence[Hit]]) -> str:
    """Return the lists one below the other, each with how many of its documents the teacher finds too."""
    theirs = {hit.row for hit in hits.get("teacher", ())}
    blocks = []
    for mode, found in hits.items():
        title = str(mode)
        if theirs and mode != "teacher":
            title += f" ({len(theirs & {hit.row for hit in found})} of {len(theirs)} in the teacher's)"
        blocks.append("\n".join([title, *map(_format_hit, found)]))
    return "\n\n".join(blocks)


def _search(query: str, documents: Sequence[str], embedder: Embedder, mode: Mode, k: int) -> list[Hit]:
    asked = embedder.embed(mode, "query", [query])
    stored = embedder.embed(mode, "document", documents)
    scores = embedder.document_model(mode).similarity(asked, stored)[0]
    best = scores.topk(min(k, len(documents)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [Hit(rank, score, row, documents[row]) for rank, (score, row) in enumerate(pairs, start=1)]


def _format_hit(hit: Hit) -> str:
    text = " ".join(hit.text.split())
    if len(text) > SHOWN_CHARACTERS:
        text = text[: SHOWN_CHARACTERS - 3] + "..."
    return f"{hit.rank:>4}  {hit.score:.4f}  {text}"
