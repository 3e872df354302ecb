"""The measurement ``alignment``: distance between the vectors of student and teacher on texts held out of training."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.measurements.measurement import RUN, Figure, Measurement, Section, Table
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


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


def _measure(options: argparse.Namespace) -> list[Alignment]:
    from leaf_st.evaluation.alignment import measure_alignment

    return measure_alignment(Path(options.model), options.output)


ALIGNMENT = Measurement(
    name="alignment",
    row=Alignment,
    title="Distance to the teacher",
    help="distance to the teacher's vectors on the held-out texts of a run, as after training",
    command=("measure", "alignment"),
    arguments=(RUN,),
    measure=_measure,
    table=lambda rows: aligned(alignment_lines(rows)),
    section=_section,
    words=lambda rows: [],
    on_card=False,
)
