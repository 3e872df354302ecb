"""The measurement ``samples``: the ten nearest documents of some queries in every mode (paper appendix D, Table 6)."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.display import first_words, set_names
from leaf_st.evaluation.measurements.measurement import (
    MODEL_ARGUMENT,
    TEACHER_ARGUMENT,
    Measurement,
    Section,
    Table,
    data_argument,
)
from leaf_st.evaluation.measurements.over_sets import load_pair, measure_over_sets, require_sets
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES, Mode

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from leaf_st.evaluation.beir import BeirSet
    from leaf_st.teacher.protocol import Teacher

QUERIES = 5
_WIDTH = 150  # characters of a line in the terminal
_RELEVANT = "✓ "

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampled:
    """A document that a query found.

    Attributes:
        set: Name of the set.
        query: Id of the query.
        asked: Text of the query.
        mode: The mode, which determines the models of queries and documents.
        rank: Position in the list, from 1.
        score: Similarity, by the function of the model that embedded the documents.
        document: Id of the document.
        text: First words of the document, with its title in front.
        grade: Judged grade of the document for the query; 0 is not relevant, or not judged.
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
    teacher: "Teacher",
    student: "SentenceTransformer",
    queries: int = QUERIES,
    batch_size: int = 32,
) -> list[Sampled]:
    """Search the BEIR folder ``folder`` with some of its queries, drawn at random with a fixed seed.

    Args:
        folder: Retrieval set, see `leaf_st.evaluation.beir`.
        teacher: The teacher.
        student: The student.
        queries: Number of queries.
        batch_size: Texts per batch.

    Returns:
        Ten documents per query and mode, the nearest first.

    Raises:
        InputError: If the folder or the models' vectors cannot be used.
    """
    import numpy as np

    from leaf_st.evaluation.beir import document_text, load_beir
    from leaf_st.evaluation.embedder import embed_set

    beir = load_beir(folder)
    drawn = np.random.default_rng(0).permutation(len(beir.queries))[:queries]
    beir = replace(beir, queries=[beir.queries[row] for row in drawn])
    modes = list(ROLES)
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=modes, batch_size=batch_size)
    names = {role: identity.name for role, identity in embedder.identities().items()}
    nearest = {mode: _nearest(embedder.document_model(mode).similarity(*vectors[mode]), beir) for mode in modes}
    return [
        Sampled(
            set=beir.name,
            query=query["id"],
            asked=query["text"],
            mode=mode,
            rank=rank,
            score=score,
            document=beir.corpus[row]["id"],
            text=first_words(document_text(beir.corpus[row])),
            grade=beir.qrels[query["id"]].get(beir.corpus[row]["id"], 0),
            model=names[ROLES[mode]["query"]],
            teacher=names["teacher"],
        )
        for place, query in enumerate(beir.queries)
        for mode in modes
        for rank, (score, row) in enumerate(nearest[mode][place], 1)
    ]


def _nearest(scores: "Tensor", beir: "BeirSet") -> list[list[tuple[float, int]]]:
    """Return score and place of the ten nearest documents of each query, from similarities of shape (q, n)."""
    import numpy as np

    from leaf_st.evaluation.ranking import K, without_own

    without_own(scores.numpy(), beir.own_places)  # a view
    best = scores.topk(min(K, scores.shape[1]))
    pairs = (zip(*query, strict=True) for query in zip(best.values.tolist(), best.indices.tolist(), strict=True))
    return [[(score, row) for score, row in query if score > -np.inf] for query in pairs]


def _measure(options: argparse.Namespace) -> list[Sampled]:
    sets = require_sets(options.model, options.data)
    if not options.data and len(sets) > 1:
        _logger.info("samples of %s; --data names others of the model's %d sets", sets[0].name, len(sets))
        sets = sets[:1]
    models = load_pair(options.model, options.teacher)
    return measure_over_sets("samples", Sampled, measure_samples, models, sets, options.output)


def by_query(rows: Sequence[Sampled]) -> dict[tuple[str, str], dict[Mode, list[Sampled]]]:
    """Return the documents of each query by mode; the key of a query is its set and its id."""
    found: dict[tuple[str, str], dict[Mode, list[Sampled]]] = {}
    for row in rows:
        found.setdefault((row.set, row.query), {}).setdefault(row.mode, []).append(row)
    return found


def format_samples(rows: Sequence[Sampled]) -> str:
    """Return the lists of each query side by side."""
    from leaf_st.evaluation.search import Hit, format_hits

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


def _section(rows: Sequence[Sampled]) -> Section:
    text = (
        "The queries were drawn at random. Each column shows the ten nearest documents of a mode by similarity, cut to "
        f"their first words; {_RELEVANT.strip()} marks documents that are judged relevant."
    )
    return Section([text], folded=[_table(number, *item) for number, item in enumerate(by_query(rows).items(), 1)])


def _table(number: int, named: tuple[str, str], modes: Mapping[Mode, Sequence[Sampled]]) -> Table:
    teacher = {row.document for row in modes.get("teacher", ())}
    shared = [
        f"{mode} {len(teacher & {row.document for row in modes[mode]})}" for mode in STUDENT_MODES if mode in modes
    ]
    ranks = sorted({row.rank for of_mode in modes.values() for row in of_mode})
    cells = {(mode, row.rank): _cell(row) for mode, of_mode in modes.items() for row in of_mode}
    asked = next(row.asked for of_mode in modes.values() for row in of_mode)
    return Table(
        f"sample-{number}",
        ["", *modes],
        [[str(rank), *(cells.get((mode, rank), "-") for mode in modes)] for rank in ranks],
        left=1 + len(modes),
        caption=f"“{asked}” ({named[0]}). Shared with the teacher's {len(teacher)} documents: {', '.join(shared)}.",
    )


def _cell(row: Sampled) -> str:
    return f"{row.score:.3f} {_RELEVANT if row.grade > 0 else ''}{row.text or row.document}"


SAMPLES = Measurement(
    name="samples",
    row=Sampled,
    title="Ten nearest documents, side by side",
    help="show the ten nearest documents of five queries, side by side (paper Table 6)",
    command=("measure", "samples"),
    arguments=(MODEL_ARGUMENT, data_argument("the first set of the recipe that exists"), TEACHER_ARGUMENT),
    measure=_measure,
    table=format_samples,
    section=_section,
    words=lambda rows: ["--data", *set_names(rows)],
    on_card=False,
    shareable=False,
)
