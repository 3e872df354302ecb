"""The line through the checkpoints of a run, and the robustness margin that it leaves (paper 3.3, Figures 7 and 11).

It says at which error the student would be as good as its teacher. Where that is above 0, errors from there down to 0
are the margin: there retrieval does not tell the two apart.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leaf_st.errors import InputError
from leaf_st.evaluation.margin import TEACHER, MarginRow
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import STUDENT_MODES
from leaf_st.evaluation.rows import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Trend:
    """The line through the points of one mode, by least squares.

    Attributes:
        slope: nDCG@10 in percent for an L2 of 1.
        intercept: nDCG@10 in percent at an L2 of 0.
        r: Pearson's correlation of the two.
        teacher: The teacher's nDCG@10 in percent.
        margin: L2 at which the line meets the teacher's; None where it does so nowhere above 0.
    """

    slope: float
    intercept: float
    r: float
    teacher: float
    margin: float | None


def trend(rows: Sequence[MarginRow], mode: Mode = "standard") -> Trend:
    """Return the line through the checkpoints, and where it meets the teacher's score.

    Raises:
        InputError: If all checkpoints have one L2.
    """
    errors, scores, teacher = _errors(rows), _scores(rows, mode), _scores(rows, TEACHER)[0]
    if len(set(errors)) < 2:
        raise InputError("margin: expected checkpoints of different L2, found one: train with a learning rate above 0")
    slope, intercept = statistics.linear_regression(errors, scores)
    return Trend(
        slope=slope,
        intercept=intercept,
        r=statistics.correlation(errors, scores) if len(set(scores)) > 1 else 0.0,
        teacher=teacher,
        margin=(teacher - intercept) / slope if slope < 0 and intercept > teacher else None,
    )


def format_margin(rows: Sequence[MarginRow]) -> str:
    """Return the points as an aligned table, and the line through those of each mode."""
    return "\n".join([aligned(margin_lines(rows)), *trend_lines(rows)])


def margin_lines(rows: Sequence[MarginRow]) -> list[list[str]]:
    """Return the points as cells, a line for each checkpoint, the teacher last."""
    header = ["checkpoint", "mean L2", *(f"nDCG@10, {mode}" for mode in STUDENT_MODES)]
    names = list(_by_checkpoint(rows, STUDENT_MODES[0]))
    columns = [_errors(rows), *(_scores(rows, mode) for mode in STUDENT_MODES)]
    lines = [
        [name, f"{error:.4f}", *(f"{score:.2f}" for score in scores)]
        for name, error, *scores in zip(names, *columns, strict=True)
    ]
    taught = f"{_scores(rows, TEACHER)[0]:.2f}"
    return [header, *lines, [TEACHER, "0", *[taught] * len(STUDENT_MODES)]]


def trend_lines(rows: Sequence[MarginRow]) -> list[str]:
    """Return what the line through the points of each mode says."""
    return [_said(trend(rows, mode), mode) for mode in STUDENT_MODES]


def _said(line: Trend, mode: Mode) -> str:
    met = f"meets the teacher's at L2 {line.margin:.3f}" if line.margin else "does not meet the teacher's above L2 0"
    sign = "-" if line.slope < 0 else "+"
    return f"{mode}: nDCG@10 = {line.intercept:.2f} {sign} {abs(line.slope):.2f} L2, r = {line.r:.3f}; it {met}"


def draw_margin(axes: "Axes", rows: Sequence[MarginRow], mode: Mode = "standard") -> None:
    """Draw the checkpoints, their trend, the teacher's line and the robustness margin (paper Figure 7)."""
    errors, line = _errors(rows), trend(rows, mode)
    ends = np.array([0, max(errors)])
    axes.plot(errors, _scores(rows, mode), "o", label=f"checkpoints, {mode}")
    axes.plot(ends, line.intercept + line.slope * ends, "--", color="C0", label=f"trend, r = {line.r:.2f}")
    axes.axhline(line.teacher, color="black", label=TEACHER)
    if line.margin is not None:
        axes.axvspan(0, line.margin, color="C2", alpha=0.2, label=f"robustness margin, L2 below {line.margin:.2f}")
    sets = len({row.set for row in rows})
    axes.set_xlabel(f"mean L2, {rows[0].held_out:,} held-out texts")
    axes.set_ylabel(f"nDCG@10 (%), mean of {sets} sets" if sets > 1 else "nDCG@10 (%)")
    axes.legend()


def _by_checkpoint(rows: Sequence[MarginRow], mode: Mode) -> dict[str, list[MarginRow]]:
    """Return the rows of ``mode`` by checkpoint, in their order."""
    found: dict[str, list[MarginRow]] = {}
    for row in rows:
        if row.mode == mode:
            found.setdefault(row.checkpoint, []).append(row)
    return found


def _errors(rows: Sequence[MarginRow]) -> list[float]:
    return [of_point[0].l2 for of_point in _by_checkpoint(rows, STUDENT_MODES[0]).values()]


def _scores(rows: Sequence[MarginRow], mode: Mode) -> list[float]:
    """Return the mean over the sets of each checkpoint."""
    points = _by_checkpoint(rows, mode).values()
    return [statistics.fmean(row.score for row in of_point) for of_point in points]
