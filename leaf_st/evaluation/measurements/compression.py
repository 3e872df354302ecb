"""The measurement ``compression``: nDCG@10 of vectors stored in fewer bytes (paper 3.1 and 3.2, Figures 5 and 6)."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
from leaf_st.evaluation.results import retention_percent
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sentence_transformers import SentenceTransformer

    from leaf_st.teacher.protocol import Teacher

_NARROWEST = 24  # halving 384, 768 or 1,024 dimensions ends at 24 or 32

_Point = tuple[Mode, int, Coding]


@dataclass(frozen=True)
class CompressionRow:
    """nDCG@10 on one set with vectors of one dimension and precision.

    Attributes:
        set: Name of the set.
        mode: The mode, which determines the models of queries and documents.
        dimension: Number of leading coordinates that are kept.
        precision: Storage of a coordinate, see `leaf_st.evaluation.ranking`.
        bytes: Size of a stored document vector.
        score: nDCG@10 in percent, 0 to 100, not rounded.
        model: Name of the measured model: the student, or the teacher in mode "teacher".
        teacher: Name of the teacher; None without a teacher.
        queries: Number of queries.
        documents: Number of documents.
    """

    set: str
    mode: Mode
    dimension: int
    precision: Coding
    bytes: int
    score: float
    model: str
    teacher: str | None
    queries: int
    documents: int


def measure_compression(
    folder: Path,
    *,
    teacher: "Teacher | None",
    student: "SentenceTransformer",
    modes: Sequence[Mode] = tuple(ROLES),
    dimensions: Sequence[int] | None = None,
    precisions: Sequence[Coding] = CODINGS,
    batch_size: int = 32,
) -> list[CompressionRow]:
    """Measure nDCG@10 of each mode, dimension and precision on the BEIR folder ``folder``.

    Each model encodes each text once; all rows are computed from these vectors. Cut vectors are normalised again,
    except where their length carries information (see `leaf_st.evaluation.ranking`, also for the codes).

    Args:
        folder: Retrieval set, see `leaf_st.evaluation.beir`.
        teacher: The teacher; None if ``modes`` is only "standard".
        student: The student.
        modes: Modes to measure, in the order of the rows.
        dimensions: Numbers of leading coordinates; by default the full width, and halves down to 24 or 32.
        precisions: Ways to store a coordinate.
        batch_size: Texts per batch.

    Raises:
        InputError: If the folder, the modes, the dimensions, the precisions or the models' vectors cannot be used.
    """
    from leaf_st.evaluation.beir import load_beir
    from leaf_st.evaluation.embedder import embed_set
    from leaf_st.evaluation.ranking import check_codings, code, code_bytes, cut, exact_ndcg, length_is_free

    check_codings(precisions)
    widths = [student.get_embedding_dimension() or 0, *([teacher.dimension] if teacher else [])]
    dimensions = _dimensions(dimensions, min(widths))
    beir = load_beir(folder)
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=modes, batch_size=batch_size)
    names = {role: identity.name for role, identity in embedder.identities().items()}
    rows = []
    for mode in modes:
        model = embedder.document_model(mode)
        unit = length_is_free(model, *vectors[mode])
        for dimension in dimensions:
            queries, documents = (cut(side, dimension, unit) for side in vectors[mode])
            for precision in precisions:
                rows.append(
                    CompressionRow(
                        set=beir.name,
                        mode=mode,
                        dimension=dimension,
                        precision=precision,
                        bytes=code_bytes(dimension, precision),
                        score=exact_ndcg(beir, *code(queries, documents, precision), model),
                        model=names[ROLES[mode]["query"]],
                        teacher=names.get("teacher"),
                        queries=len(beir.queries),
                        documents=len(beir.corpus),
                    )
                )
    return rows


def halves(width: int) -> list[int]:
    """Return ``width`` and its halves, quarters and so on, down to 24 or 32."""
    return [width, *(half for step in range(1, width.bit_length()) if (half := width >> step) >= _NARROWEST)]


def _dimensions(wanted: Sequence[int] | None, width: int) -> Sequence[int]:
    for dimension in wanted or ():
        if not 1 <= dimension <= width:
            raise InputError(
                f"dimension {dimension}: expected 1 to {width}, the width of the models' vectors: change the dimension"
            )
    return wanted or halves(width)


def _measure(options: argparse.Namespace) -> list[CompressionRow]:
    return measure_named_sets("compression", CompressionRow, measure_compression, options, [CODES])


def compression_lines(rows: Sequence[CompressionRow]) -> list[list[str]]:
    """Return mean nDCG@10 over the sets as cells, a line per dimension and precision, largest first.

    "kept" is a score divided by the same mode's score with all dimensions in float32, in percent.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    scores = _scores(rows)
    sizes = {(row.dimension, row.precision): row.bytes for row in rows}
    modes = [mode for mode in ROLES if any(mode == other for other, *_ in scores)]
    largest: tuple[int, Coding] = max(dimension for dimension, _ in sizes), "float32"
    lines = [["dimension", "precision", "bytes", *modes, *(f"{mode} kept" for mode in modes)]]
    for (dimension, precision), size in sizes.items():
        found = [scores.get((mode, dimension, precision)) for mode in modes]
        full = [scores.get((mode, *largest)) for mode in modes]
        kept = list(map(_kept, found, full))
        cells = [f"{score:.2f}" if score is not None else "-" for score in found]
        lines.append([str(dimension), precision, f"{size:,}", *cells, *kept])
    return lines


def _kept(part: float | None, full: float | None) -> str:
    share = None if part is None or full is None else retention_percent(part, full)
    return "-" if share is None else f"{share:.1f}%"


def draw_compression(axes: "Axes", rows: Sequence[CompressionRow]) -> None:
    """Draw mean nDCG@10 over the sets against the bytes of a document vector, a curve per mode and precision.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    sizes = {(row.dimension, row.precision): row.bytes for row in rows}
    points: dict[tuple[Mode, str, int], float] = {
        (mode, precision, sizes[dimension, precision]): score
        for (mode, dimension, precision), score in _scores(rows).items()
    }
    draw_curves(axes, points)
    axes.set(xlabel="bytes per document vector (log scale)", ylabel="nDCG@10 (%), mean of the sets")


def _scores(rows: Iterable[CompressionRow]) -> dict[_Point, float]:
    return means(rows, lambda row: (row.mode, row.dimension, row.precision), lambda row: row.score)


def _section(rows: Sequence[CompressionRow]) -> Section:
    header, *lines = compression_lines(rows)
    text = (
        f"nDCG@10 in percent, {over_sets_text(rows)}, when stored vectors keep only their first dimensions and each "
        "dimension is stored in 32, 8 or 1 bits. Kept: share of the same mode's score with all dimensions in float32."
    )
    figure = Figure(
        "Compression",
        on_axes(partial(draw_compression, rows=rows)),
        "nDCG@10 when stored document vectors are cut to fewer dimensions and coded in fewer bits.",
        (5.6, 3.5),
    )
    return Section([text], [figure], [Table("compression", header, lines, left=0)])


COMPRESSION = Measurement(
    name="compression",
    row=CompressionRow,
    title="Compression",
    help="measure nDCG@10 with fewer dimensions, int8 and binary vectors (paper Figures 5 and 6)",
    command=("measure", "compression"),
    arguments=(MODEL_ARGUMENT, data_argument(), TEACHER_ARGUMENT),
    measure=_measure,
    table=lambda rows: aligned(compression_lines(rows)),
    section=_section,
    words=lambda rows: ["--data", *set_names(rows)],
)
