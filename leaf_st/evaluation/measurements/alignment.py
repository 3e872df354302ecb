"""The measurement ``alignment``: distance between the vectors of student and teacher on texts held out of training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.measurements.measurement import RUN_ARGUMENT, Figure, Measurement, Section, Table
from leaf_st.evaluation.rows import write_rows
from leaf_st.recipe import Recipe
from leaf_st.run_folder import GENERAL, MODEL, RESULTS, STORE, read_run, require_trained, run_of
from leaf_st.tables import aligned

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from leaf_st.teacher.store import EmbeddingStore

_BINS = 40

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Histogram:
    """Distribution of values over bins of equal width.

    Attributes:
        low: Lower end of the first bin.
        high: Upper end of the last bin.
        counts: Number of values in each bin.
    """

    low: float
    high: float
    counts: Sequence[int]


@dataclass(frozen=True)
class Alignment:
    """Distance to the teacher's vectors on one set of texts.

    Attributes:
        set: Name of the texts.
        rows: Number of texts.
        l2: Mean Euclidean distance.
        cosine: Mean cosine.
        l2_histogram: Distribution of the distances; None in results of earlier versions.
        cosine_histogram: Distribution of the cosines; None in results of earlier versions.
    """

    set: str
    rows: int
    l2: float
    cosine: float
    l2_histogram: Histogram | None = None
    cosine_histogram: Histogram | None = None


def alignment_lines(rows: Sequence[Alignment]) -> list[list[str]]:
    """Return the means as cells, a line per set of texts."""
    lines = [[row.set, f"{row.rows:,}", f"{row.l2:.4f}", f"{row.cosine:.4f}"] for row in rows]
    return [["texts", "number", "mean L2", "mean cosine"], *lines]


def _section(rows: Sequence[Alignment]) -> Section:
    header, *lines = alignment_lines(rows)
    text = "Distance to the teacher's vectors on texts that training never saw. Lower L2 and higher cosine are better."
    known = [row for row in rows if row.l2_histogram and row.cosine_histogram]
    figure = Figure(
        "Distance to the teacher",
        partial(_draw, rows=known),
        "Distribution of the distance and the cosine between the two vectors of a text; the dashed line is the mean.",
        (4.8, 3.8),
    )
    return Section(
        [text],
        [figure] if known else [],
        [Table("alignment", header, lines)],
        incomplete=() if known else ("The distribution of the distances was not measured.",),
    )


def _draw(canvas: "Canvas", rows: Sequence[Alignment]) -> None:
    above, below = canvas.subplots(2)
    for number, row in enumerate(rows, 1):
        assert row.l2_histogram is not None
        assert row.cosine_histogram is not None
        _stairs(above, row.l2_histogram, row.l2, f"C{number}", f"{row.rows:,} {row.set}")
        _stairs(below, row.cosine_histogram, row.cosine, f"C{number}", "")
    above.set(xlabel="L2 distance", ylabel="texts (%)")
    below.set(xlabel="cosine", ylabel="texts (%)")
    above.legend()


def _stairs(axes: "Axes", histogram: Histogram, mean: float, colour: str, label: str) -> None:
    import numpy as np

    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    shares = 100 * np.array(histogram.counts) / max(sum(histogram.counts), 1)
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(shares, edges, color=colour, label=label or None)
    axes.axvline(mean, color=colour, linestyle="--", linewidth=1)


def measure_alignment(run: Path, results: Path | None = None) -> list[Alignment]:
    """Measure the distance of a run's student to the targets of the held-out rows (paper Eq. 2).

    If the recipe names general texts, they are measured too. The rows are logged and written to ``alignment.json``.

    Args:
        run: Folder of a run with a trained student.
        results: Results folder; by default ``results/`` of the run.

    Returns:
        The row of the held-out texts, then the row of the general texts if there are any.

    Raises:
        InputError: If the folder is not a run folder, its store or student is missing, or a shard is damaged.
    """
    rows = _measure_run(run, results)
    for row in rows:
        _logger.info("%s %s: mean L2 %.4f, mean cosine %.4f", f"{row.rows:,}", row.set, row.l2, row.cosine)
    return rows


def _measure_run(run: Path, results: Path | None) -> list[Alignment]:
    from leaf_st.evaluation.sizes import require_same_sizes
    from leaf_st.models.identity import identify
    from leaf_st.models.load import load_model  # loads torch
    from leaf_st.teacher.store import intact_store
    from leaf_st.training.trainer import held_out_rows

    run = run_of(run) or run
    results = results or run / RESULTS
    recipe = Recipe.from_dict(read_run(run)["resolved"])
    require_trained(run)
    store = intact_store(run / STORE)
    student = load_model(str(run / MODEL))
    require_same_sizes(results, {"student": (identify(student), student)})
    # Cut texts as in training: the target of a long text may cover only the beginning of the text.
    if recipe.training.max_length is not None:
        student.max_seq_length = recipe.training.max_length
    rows = [_measure_texts("held-out texts", store, held_out_rows(store, recipe.training).tolist(), student)]
    if recipe.general is not None:
        general = intact_store(run / GENERAL, store.fingerprint)
        rows.append(_measure_texts("general texts", general, range(len(general)), student))
    write_rows(results / ALIGNMENT.file, rows)
    return rows


def _measure_texts(
    name: str, store: "EmbeddingStore", rows: Sequence[int], student: "SentenceTransformer"
) -> Alignment:
    from leaf_st.evaluation.alignment import AlignmentEvaluator

    evaluator = AlignmentEvaluator(store.prompted(rows), store.embeddings(rows))
    return alignment_row(name, *evaluator.compare(student))


def alignment_row(name: str, distances: "NDArray[np.float32]", cosines: "NDArray[np.float32]") -> Alignment:
    """Return the row of the texts ``name``, from the distance and the cosine of each text, both of shape (n,)."""
    means = float(distances.mean()), float(cosines.mean())
    return Alignment(name, len(distances), *means, _histogram(distances), _histogram(cosines))


def _histogram(values: "NDArray[np.float32]") -> Histogram:
    import numpy as np

    # Nearly equal float32 numbers have fewer numbers between them than there are bins.
    counts, edges = np.histogram(values.astype(np.float64), _BINS)
    return Histogram(float(edges[0]), float(edges[-1]), counts.tolist())


ALIGNMENT = Measurement(
    name="alignment",
    row=Alignment,
    title="Distance to the teacher",
    help="measure the distance of student and teacher on the held-out texts of a run: mean L2 and mean cosine",
    command=("measure", "alignment"),
    arguments=(RUN_ARGUMENT,),
    measure=lambda options: _measure_run(Path(options.model), options.output),  # the command prints the table
    table=lambda rows: aligned(alignment_lines(rows)),
    section=_section,
    on_card=False,
)
