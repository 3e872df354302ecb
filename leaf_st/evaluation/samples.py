"""The ten nearest documents of some queries in every mode, to be read side by side (paper appendix D, Table 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.modes import ROLES, Mode
from leaf_st.evaluation.ranking import K, document_text, embed_set
from leaf_st.evaluation.search import Hit, format_hits
from leaf_st.models.identity import identify

QUERIES = 5
_CHARACTERS = 120  # of a document, which may be under a licence of its own
_WIDTH = 150  # of a line in the terminal


@dataclass(frozen=True)
class Sampled:
    """A document that a query found.

    Attributes:
        set: Name of the set.
        query: Id of the query.
        asked: Its text.
        mode: Who embedded queries and documents.
        rank: Place in the list, from 1.
        score: Similarity, by the function of the model that embedded the documents.
        document: Id of the document.
        text: Its first words, title in front.
        grade: As it was judged for the query; 0 is not relevant, or not judged.
        model: Name of the model of the queries.
        teacher: Name of the teacher.
    """

    set: str
    query: str
    asked: str
    mode: Mode
    rank: int
    score: float
    document: str
    text: str
    grade: int
    model: str
    teacher: str


def measure_samples(
    folder: Path,
    *,
    teacher: SentenceTransformer,
    student: SentenceTransformer,
    queries: int = QUERIES,
    batch_size: int = 32,
) -> list[Sampled]:
    """Search the BEIR folder ``folder`` for some of its queries, drawn at random but always the same.

    Args:
        folder: See `leaf_st.evaluation.beir`.
        teacher: The teacher.
        student: The student.
        queries: Number of queries.
        batch_size: Texts that a model encodes at a time.

    Returns:
        By query and mode, ten documents each, the nearest first.

    Raises:
        InputError: If the folder or the models' vectors cannot be used.
    """
    beir = load_beir(folder)
    drawn = np.random.default_rng(0).permutation(len(beir.queries))[:queries]
    beir = replace(beir, queries=[beir.queries[row] for row in drawn])
    modes = list(ROLES)
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=modes, batch_size=batch_size)
    names = {role: identify(model).name for role, model in embedder.models.items()}
    nearest = {
        mode: embedder.document_model(mode).similarity(*vectors[mode]).topk(min(K, len(beir.corpus))) for mode in modes
    }
    return [
        Sampled(
            set=beir.name,
            query=query["id"],
            asked=query["text"],
            mode=mode,
            rank=rank,
            score=score,
            document=beir.corpus[row]["id"],
            text=_head(document_text(beir.corpus[row])),
            grade=beir.qrels[query["id"]].get(beir.corpus[row]["id"], 0),
            model=names[ROLES[mode]["query"]],
            teacher=names["teacher"],
        )
        for place, query in enumerate(beir.queries)
        for mode in modes
        for rank, (score, row) in enumerate(zip(*(part[place].tolist() for part in nearest[mode]), strict=True), 1)
    ]


def by_query(rows: Sequence[Sampled]) -> dict[tuple[str, str], dict[Mode, list[Sampled]]]:
    """Return the documents of each query, given as set and id, by mode."""
    found: dict[tuple[str, str], dict[Mode, list[Sampled]]] = {}
    for row in rows:
        found.setdefault((row.set, row.query), {}).setdefault(row.mode, []).append(row)
    return found


def format_samples(rows: Sequence[Sampled]) -> str:
    """Return the lists of each query side by side."""
    parts = []
    for modes in by_query(rows).values():
        names = dict.fromkeys(row.document for of_mode in modes.values() for row in of_mode)
        ids = {name: place for place, name in enumerate(names)}
        hits = {
            mode: [Hit(row.rank, row.score, ids[row.document], row.text) for row in of_mode]
            for mode, of_mode in modes.items()
        }
        parts.append(f"{modes['teacher'][0].asked}\n{format_hits(hits, _WIDTH)}")
    return "\n\n".join(parts)


def _head(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1].rstrip()}…"
