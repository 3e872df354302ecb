"""The table and the figure of `leaf-st sweep`: what the students of a family cost, and what they keep."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from leaf_st.evaluation.display import COLOURS
from leaf_st.evaluation.measurements.measurement import Figure
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.results import retention_text
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_HEADER = (
    *("student", "form", "parameters", "MB", "ms a query", "nDCG@10 kept, standard", "asymmetric"),
    *("agreement@10, standard", "asymmetric", "mean L2", "Pareto"),
)


_NEAR = (0.2, 0.08)  # shares of the width and height of the axes within which two names would overlap
_MARKERS: dict[Mode, str] = {"standard": "o", "asymmetric": "D"}


@dataclass(frozen=True)
class SweepRow:
    """A student of a sweep.

    Attributes:
        name: Name of the student and of its run folder.
        form: Name of the form that MB and ms are of: the recommended exported form, or torch for a static student.
        parameters: Number of weights.
        megabytes: Size of the file of the form, in units of 1e6 bytes.
        milliseconds: Time from a query to its vector on one core, median.
        retention: nDCG@10 in percent of the teacher's by mode; empty if no retrieval set was evaluated.
        agreement: Share of the teacher's ten nearest documents that the student finds, in percent, by mode.
        l2: Mean distance to the teacher's vectors on held-out texts.
        sets: Names of the sets of ``retention``.
        processor: The system's name of the processor.
    """

    name: str
    form: str
    parameters: int
    megabytes: float
    milliseconds: float
    retention: Mapping[Mode, float]
    agreement: Mapping[Mode, float | None]
    l2: float
    sets: Sequence[str]
    processor: str

    def kept(self, mode: Mode) -> float:
        """Return the retention in ``mode`` or, where it was not measured, the agreement@10."""
        return self.retention.get(mode, self.agreement.get(mode) or 0.0)


def best(rows: Sequence[SweepRow], max_mb: float | None, max_ms: float | None) -> SweepRow | None:
    """Return the student that keeps the most in asymmetric mode within the limits, of which None is no limit."""
    within = [
        row
        for row in rows
        if (max_mb is None or row.megabytes <= max_mb) and (max_ms is None or row.milliseconds <= max_ms)
    ]
    return max(within, key=lambda row: row.kept("asymmetric"), default=None)


def on_front(row: SweepRow, rows: Sequence[SweepRow]) -> bool:
    """Return whether no other student is as small, as fast and as good as ``row``, and better in one of the three."""

    def values(of: SweepRow) -> tuple[float, float, float]:
        return of.megabytes, of.milliseconds, -of.kept("asymmetric")

    mine = values(row)
    return not any(
        values(other) != mine and all(theirs <= own for theirs, own in zip(values(other), mine, strict=True))
        for other in rows
    )


def format_sweep(rows: Sequence[SweepRow], chosen: SweepRow | None = None) -> str:
    """Return the table, with a star at the student ``chosen``, and notes on its columns."""
    notes = [f"MB and ms a query: the file of the form, one query at a time on one core of {rows[0].processor}."]
    if sets := rows[0].sets:
        notes.append(f"nDCG@10 kept: share of the teacher's nDCG@10 on {', '.join(sets)}.")
    else:
        notes.append("nDCG@10 kept: no retrieval set was evaluated; name one with --tasks.")
    notes.append(
        "agreement@10: share of the teacher's ten nearest documents that the student finds, held-out texts. Pareto: no "
        "other student is as small, as fast and keeps as much (asymmetric)."
    )
    lines = [_line(row, rows) for row in rows]
    if chosen is not None:
        lines[list(rows).index(chosen)][0] += " *"
        notes.append("*: keeps the most (asymmetric) of the students within the limits.")
    return "\n".join([aligned([_HEADER, *lines], left=2), *notes])


def _line(row: SweepRow, rows: Sequence[SweepRow]) -> list[str]:
    kept = [retention_text(values.get(mode)) for values in (row.retention, row.agreement) for mode in STUDENT_MODES]
    costs = [f"{row.parameters / 1e6:.2f}M", digits(row.megabytes), digits(row.milliseconds)]
    return [row.name, row.form, *costs, *kept, f"{row.l2:.3f}", "yes" if on_front(row, rows) else "-"]


def digits(value: float) -> str:
    """Return ``value`` with three digits, or all digits of a larger whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(rows: Sequence[SweepRow]) -> Figure:
    """Return the figure: what each student keeps over its size and over its time for a query."""
    return Figure("What the students keep, by size and speed", partial(_draw, rows=rows), "", (8.0, 3.6))


def _draw(canvas: "Canvas", rows: Sequence[SweepRow]) -> None:
    left, right = canvas.subplots(1, 2, sharey=True)
    _draw_cost(left, rows, lambda row: row.megabytes)
    _draw_cost(right, rows, lambda row: row.milliseconds)
    left.set(xlabel="MB on disk", ylabel=f"{'nDCG@10 kept' if rows[0].retention else 'agreement@10'} (%)")
    right.set(xlabel="ms a query on one core")
    canvas.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def _draw_cost(axes: "Axes", rows: Sequence[SweepRow], cost: Callable[[SweepRow], float]) -> None:
    """Draw the students of each mode, and the line through those that no cheaper student equals."""
    from matplotlib.ticker import LogLocator

    ordered = sorted(rows, key=lambda row: (cost(row), -row.kept("asymmetric")))
    for mode in STUDENT_MODES:
        front: list[SweepRow] = []
        for row in ordered:
            if not front or row.kept(mode) > front[-1].kept(mode):
                front.append(row)
        axes.plot([cost(row) for row in front], [row.kept(mode) for row in front], color=COLOURS[mode], linewidth=1)
        points = [(cost(row), row.kept(mode)) for row in ordered]
        axes.plot(*zip(*points, strict=True), _MARKERS[mode], color=COLOURS[mode], label=mode, markersize=5)
    _label(axes, ordered, cost)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(0.12, 0.16)


def _label(axes: "Axes", rows: Sequence[SweepRow], cost: Callable[[SweepRow], float]) -> None:
    """Join the two modes of each student by a line, with its name above, or above the names near to it."""
    modes = [[row.kept(mode) for mode in STUDENT_MODES] for row in rows]
    wide = math.log(cost(rows[-1]) / cost(rows[0])) or 1.0
    high = max(map(max, modes)) - min(map(min, modes)) or 1.0
    placed: list[tuple[float, float]] = []
    for row, kept in zip(rows, modes, strict=True):
        x, y = math.log(cost(row)) / wide, max(kept) / high
        above = sum(abs(x - left) < _NEAR[0] and abs(y - below) < _NEAR[1] for left, below in placed)
        placed.append((x, y))
        axes.vlines(cost(row), min(kept), max(kept), color="gray", linewidth=0.6)
        offset, place = (0, 6 + 9 * above), (cost(row), max(kept))
        axes.annotate(row.name, place, xytext=offset, textcoords="offset points", ha="center", fontsize=8)
