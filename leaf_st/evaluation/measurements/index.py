"""The measurement ``index``: search in an HNSW index of the teacher's document vectors.

An index is a graph of the documents. A search walks the graph and keeps the ``expansion`` nearest documents that it
met. The graph is built from the teacher's vectors, and the student's queries are only near the teacher's queries. The
measurement shows how much wider a search must be for the student's queries.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leaf_st.errors import InputError
from leaf_st.evaluation.display import draw_curves, means, on_axes, over_sets_text, set_names
from leaf_st.evaluation.measurements.measurement import (
    MODEL_ARGUMENT,
    TEACHER_ARGUMENT,
    Figure,
    Measurement,
    Section,
    Table,
    data_argument,
)
from leaf_st.evaluation.measurements.over_sets import measure_named_sets
from leaf_st.evaluation.modes import CODES, CODINGS, ROLES, Coding, Mode
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from leaf_st.evaluation.embedder import QueriesAndDocuments
    from leaf_st.teacher.protocol import Teacher

INDEX_MODES: tuple[Mode, ...] = ("teacher", "asymmetric")  # the modes in which the teacher embeds the documents
EXPANSIONS = (10, 20, 40, 80, 160, 320)
# Half of usearch's default: with 16 and a few thousand documents, even the narrowest search finds nearly everything.
CONNECTIVITY = 8


@dataclass(frozen=True)
class IndexRow:
    """Search with one expansion on one set.

    Attributes:
        set: Name of the set.
        mode: "teacher" or "asymmetric": the model of the queries.
        precision: Storage of a coordinate, see `leaf_st.evaluation.ranking`.
        expansion: Candidates that a search keeps; None for exact search.
        recall: Share of the ten documents of exact search in the same precision that were found, in percent.
        score: nDCG@10 in percent, 0 to 100, not rounded.
        comparisons: Documents that a query was compared with, mean over the queries.
        connectivity: Neighbours of a document in the graph.
        expansion_add: Candidates that were kept while the graph was built.
        model: Name of the model of the queries.
        teacher: Name of the teacher.
        queries: Number of queries.
        documents: Number of documents.
    """

    set: str
    mode: Mode
    precision: Coding
    expansion: int | None
    recall: float
    score: float
    comparisons: float
    connectivity: int
    expansion_add: int
    model: str
    teacher: str
    queries: int
    documents: int


def measure_index(
    folder: Path,
    *,
    teacher: "Teacher",
    student: "SentenceTransformer",
    precisions: Sequence[Coding] = CODINGS,
    expansions: Sequence[int] = EXPANSIONS,
    connectivity: int = CONNECTIVITY,
    batch_size: int = 32,
) -> list[IndexRow]:
    """Search the BEIR folder ``folder`` exactly and through an index, with the queries of teacher and student.

    nDCG@10 ranks the documents that were found by their exact similarity. The similarities of all queries to all
    documents must fit into memory.

    Args:
        folder: Retrieval set, see `leaf_st.evaluation.beir`.
        teacher: The teacher, which embeds the documents.
        student: The student.
        precisions: Ways to store a coordinate, in the index and for exact search.
        expansions: Candidates that a search keeps; a search keeps at least 10.
        connectivity: Neighbours of a document in the graph.
        batch_size: Texts per batch.

    Raises:
        InputError: If usearch is not installed, or the folder, a number or the models' vectors cannot be used.
    """
    from leaf_st.evaluation.beir import load_beir
    from leaf_st.evaluation.embedder import embed_set
    from leaf_st.evaluation.measurements.hnsw import EXPANSION_ADD, build, index_class, metric_of, search_index
    from leaf_st.evaluation.ranking import check_codings, length_is_free

    check_codings(precisions)
    for name, least, values in (("expansion", 1, expansions), ("connectivity", 2, [connectivity])):
        if bad := [value for value in values if value < least]:
            raise InputError(f"{name} {bad[0]}: expected at least {least}: use a larger number")
    new_index, metric = index_class(), metric_of(teacher)
    beir = load_beir(folder)
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=INDEX_MODES, batch_size=batch_size)
    unit = length_is_free(teacher, *(side for mode in INDEX_MODES for side in vectors[mode]))
    names = {role: identity.name for role, identity in embedder.identities().items()}
    rows = []
    for precision in precisions:
        coded = {mode: _code(vectors[mode], precision, unit) for mode in INDEX_MODES}
        index = build(new_index, coded["teacher"][1], metric, connectivity)
        rows += [
            IndexRow(
                beir.name,
                mode,
                precision,
                *found,
                connectivity=connectivity,
                expansion_add=EXPANSION_ADD,
                model=names[ROLES[mode]["query"]],
                teacher=names["teacher"],
                queries=len(beir.queries),
                documents=len(beir.corpus),
            )
            for mode in INDEX_MODES
            for found in search_index(index, beir, *coded[mode], teacher, expansions)
        ]
    return rows


def _code(vectors: "QueriesAndDocuments", precision: Coding, unit: bool) -> "tuple[NDArray[Any], NDArray[Any]]":
    from leaf_st.evaluation.ranking import code, cut

    queries, documents = (cut(side, side.shape[1], unit) for side in vectors)
    return code(queries, documents, precision)


def _measure(options: argparse.Namespace) -> list[IndexRow]:
    return measure_named_sets("index", IndexRow, measure_index, options, [CODES])


def index_lines(rows: Sequence[IndexRow]) -> list[list[str]]:
    """Return the means over the sets as cells, a line per precision and expansion.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    values = [means(rows, _key, value) for value in (_recall, _score, lambda row: row.comparisons)]
    modes = [mode for mode in INDEX_MODES if any(row.mode == mode for row in rows)]
    names = {"teacher": "teacher's", "asymmetric": "student's"}
    columns = [f"{value}, {names[mode]}" for value in ("recall@10", "nDCG@10", "comparisons") for mode in modes]
    lines = [["precision", "expansion", *columns]]
    for precision, expansion in dict.fromkeys((row.precision, row.expansion) for row in rows):
        cells = []
        for value, digits in zip(values, (1, 2, 0), strict=True):
            found = [value.get((mode, precision, expansion)) for mode in modes]
            cells += ["-" if number is None else f"{number:,.{digits}f}" for number in found]
        lines.append([precision, "exact" if expansion is None else str(expansion), *cells])
    return lines


def draw_index(axes: "Axes", rows: Sequence[IndexRow], value: Literal["recall", "score"] = "recall") -> None:
    """Draw mean recall@10 or nDCG@10 over the sets against the expansion, a curve per mode and precision.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    found = means(rows, _key, _recall if value == "recall" else _score)
    points: dict[tuple[Mode, str, int], float] = {
        (mode, precision, x): y for (mode, precision, x), y in found.items() if x is not None
    }
    draw_curves(axes, points)
    label = "recall@10" if value == "recall" else "nDCG@10"
    axes.set(xlabel="expansion: candidates that a search keeps (log scale)", ylabel=f"{label} (%), mean of the sets")


def _key(row: IndexRow) -> tuple[Mode, Coding, int | None]:
    return row.mode, row.precision, row.expansion


def _recall(row: IndexRow) -> float:
    return row.recall


def _score(row: IndexRow) -> float:
    return row.score


def _section(rows: Sequence[IndexRow]) -> Section:
    header, *lines = index_lines(rows)
    text = (
        f"The teacher's documents in an HNSW index, {over_sets_text(rows)}, searched with the queries of the teacher "
        "and of the student. Expansion: candidates that a search keeps. Comparisons: documents that a query was "
        "compared with."
    )
    recall, score = (on_axes(partial(draw_index, rows=rows, value=value)) for value in ("recall", "score"))
    figures = [
        Figure("Recall in the index", recall, "Share of the ten documents of exact search, as the search gets wider."),
        Figure("nDCG@10 in the index", score, "nDCG@10 of the documents that the search found."),
    ]
    return Section([text], figures, [Table("index", header, lines)])


INDEX = Measurement(
    name="index",
    row=IndexRow,
    title="Search in an index",
    help="measure recall and nDCG@10 of search in an HNSW index of the teacher's documents",
    command=("measure", "index"),
    arguments=(MODEL_ARGUMENT, data_argument(), TEACHER_ARGUMENT),
    measure=_measure,
    table=lambda rows: aligned(index_lines(rows)),
    section=_section,
    words=lambda rows: ["--data", *set_names(rows)],
    needs="The measurement needs usearch: pip install 'leaf-st[index]'.",
)
