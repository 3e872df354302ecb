"""What retrieval keeps of its quality when vectors are stored in fewer bytes (paper 3.1 and 3.2, Figures 5 and 6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.coding import CODINGS, Coding, check_codings, code, cut, length_is_free
from leaf_st.evaluation.display import draw_curves, means
from leaf_st.evaluation.modes import ROLES, Mode
from leaf_st.evaluation.ranking import embed_set, exact_ndcg
from leaf_st.evaluation.rows import aligned
from leaf_st.models.identity import identify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NARROWEST = 24  # 384, 768 and 1,024 all come down to 24 or 32 by halves

_Point = tuple[Mode, int, Coding]


@dataclass(frozen=True)
class Compressed:
    """One measurement.

    Attributes:
        set: Name of the set.
        mode: Who embedded queries and documents.
        dimension: Coordinates kept, the first ones.
        precision: How each is stored, see `leaf_st.evaluation.coding`.
        bytes: Of one stored document vector.
        score: nDCG@10 in percent, 0 to 100, not rounded.
        model: Name of the model that was measured: the student, or the teacher in mode "teacher".
        teacher: Name of the teacher; None where none took part.
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
    teacher: SentenceTransformer | None,
    student: SentenceTransformer,
    modes: Sequence[Mode] = tuple(ROLES),
    dimensions: Sequence[int] | None = None,
    precisions: Sequence[Coding] = CODINGS,
    batch_size: int = 32,
) -> list[Compressed]:
    """Measure nDCG@10 of each mode, dimension and precision on the BEIR folder ``folder``.

    Texts are encoded once per model; all else is computed from these vectors. Cut vectors get norm 1 again, but where
    their length carries weight (see `leaf_st.evaluation.coding`, which also says how the query is treated).

    Args:
        folder: See `leaf_st.evaluation.beir`.
        teacher: The teacher; None if ``modes`` is "standard" alone.
        student: The student.
        modes: What to measure, in this order.
        dimensions: Coordinates to keep; by default all of them, and halves of that down to 24 or 32.
        precisions: How to store them.
        batch_size: Texts that a model encodes at a time.

    Raises:
        InputError: If the folder, the modes, the dimensions, the precisions or the models' vectors cannot be used.
    """
    check_codings(precisions)
    dimensions = _dimensions(dimensions, [model for model in (teacher, student) if model is not None])
    beir = load_beir(folder)
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=modes, batch_size=batch_size)
    names = {role: identify(model).name for role, model in embedder.models.items()}
    rows = []
    for mode in modes:
        model = embedder.document_model(mode)
        unit = length_is_free(model, *vectors[mode])
        for dimension in dimensions:
            queries, documents = (cut(side, dimension, unit) for side in vectors[mode])
            for precision in precisions:
                coded = code(queries, documents, precision)
                rows.append(
                    Compressed(
                        set=beir.name,
                        mode=mode,
                        dimension=dimension,
                        precision=precision,
                        bytes=coded[1][0].nbytes,
                        score=exact_ndcg(beir, *coded, model),
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


def _dimensions(wanted: Sequence[int] | None, models: Sequence[SentenceTransformer]) -> Sequence[int]:
    width = min(model.get_embedding_dimension() or 0 for model in models)
    for dimension in wanted or ():
        if not 1 <= dimension <= width:
            raise InputError(f"dimension {dimension}: expected 1 to {width}, which is what the models give")
    return wanted or halves(width)


def format_compression(rows: Sequence[Compressed]) -> str:
    """Return `compression_lines` as an aligned table.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    return aligned(compression_lines(rows))


def compression_lines(rows: Sequence[Compressed]) -> list[list[str]]:
    """Return mean nDCG@10 over the sets as cells, a line for each dimension and precision, largest first.

    "kept" is what is left of a mode's own score with all dimensions in float32, in percent.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    scores = _scores(rows)
    sizes = {(row.dimension, row.precision): row.bytes for row in rows}
    modes = [mode for mode in ROLES if any(mode == of for of, *_ in scores)]
    whole: tuple[int, Coding] = max(dimension for dimension, _ in sizes), "float32"
    lines = [["dimension", "precision", "bytes", *modes, *(f"{mode} kept" for mode in modes)]]
    for (dimension, precision), size in sizes.items():
        found = [scores.get((mode, dimension, precision)) for mode in modes]
        full = [scores.get((mode, *whole)) for mode in modes]
        kept = [f"{100 * part / all_:.1f}%" if part and all_ else "-" for part, all_ in zip(found, full, strict=True)]
        cells = [f"{score:.2f}" if score is not None else "-" for score in found]
        lines.append([str(dimension), precision, f"{size:,}", *cells, *kept])
    return lines


def draw_compression(axes: "Axes", rows: Sequence[Compressed]) -> None:
    """Draw mean nDCG@10 over the sets against the bytes of a document vector, a curve per mode and precision.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    sizes = {(row.dimension, row.precision): row.bytes for row in rows}
    points: dict[tuple[Mode, str, int], float] = {
        (mode, precision, sizes[dimension, precision]): score
        for (mode, dimension, precision), score in _scores(rows).items()
    }
    draw_curves(axes, points)
    axes.set(xlabel="bytes per document vector (log scale)", ylabel="nDCG@10 (%), mean of the sets")


def _scores(rows: Iterable[Compressed]) -> dict[_Point, float]:
    return means(rows, lambda row: (row.mode, row.dimension, row.precision), lambda row: row.score)
