"""The measurement ``margin``: how much approximation error retrieval tolerates (paper 3.3, Figures 7 and 11).

A line through the checkpoints of a run shows at which error the student would score as high as its teacher. If this
error is above 0, all smaller errors are within the robustness margin: there the student retrieves as well as its
teacher. `leaf_st.evaluation.measurements.checkpoints` measures the checkpoints.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.display import on_axes, set_names
from leaf_st.evaluation.measurements.measurement import RUN_ARGUMENT, Figure, Measurement, Section, Table, data_argument
from leaf_st.evaluation.measurements.trend import (
    FEWEST,
    TEACHER_ROW,
    MarginRow,
    Trend,
    l2_of_checkpoints,
    mean_scores,
    rows_by_checkpoint,
    trend,
)
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.rows import write_rows
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def format_margin(rows: Sequence[MarginRow]) -> str:
    """Return the points as an aligned table, followed by the line of each mode."""
    return "\n".join([aligned(margin_lines(rows)), *trend_lines(rows)])


def margin_lines(rows: Sequence[MarginRow]) -> list[list[str]]:
    """Return the points as cells, a line per checkpoint, with the teacher last."""
    header = ["checkpoint", "mean L2", *(f"nDCG@10, {mode}" for mode in STUDENT_MODES)]
    names = list(rows_by_checkpoint(rows, STUDENT_MODES[0]))
    columns = [l2_of_checkpoints(rows), *(mean_scores(rows, mode) for mode in STUDENT_MODES)]
    lines = [
        [name, f"{error:.4f}", *(f"{score:.2f}" for score in scores)]
        for name, error, *scores in zip(names, *columns, strict=True)
    ]
    teacher = f"{mean_scores(rows, TEACHER_ROW)[0]:.2f}"
    return [header, *lines, [TEACHER_ROW, "0", *[teacher] * len(STUDENT_MODES)]]


def trend_lines(rows: Sequence[MarginRow]) -> list[str]:
    """Return a sentence on the line of each mode."""
    return [_describe(trend(rows, mode), mode) for mode in STUDENT_MODES]


def _describe(line: Trend, mode: Mode) -> str:
    met = "does not reach the teacher's score above L2 0"
    if line.margin:
        met = f"reaches the teacher's score at L2 {line.margin:.3f}"
    sign = "-" if line.slope < 0 else "+"
    return f"{mode}: nDCG@10 = {line.intercept:.2f} {sign} {abs(line.slope):.2f} L2, r = {line.r:.3f}; the line {met}"


def draw_margin(axes: "Axes", rows: Sequence[MarginRow], mode: Mode = "standard") -> None:
    """Draw the checkpoints, their trend, the teacher's score and the robustness margin (paper Figure 7)."""
    import numpy as np

    errors, line = l2_of_checkpoints(rows), trend(rows, mode)
    ends = np.array([0, max(errors)])
    axes.plot(errors, mean_scores(rows, mode), "o", label=f"checkpoints, {mode}")
    axes.plot(ends, line.intercept + line.slope * ends, "--", color="C0", label=f"trend, r = {line.r:.2f}")
    axes.axhline(line.teacher, color="black", label=TEACHER_ROW)
    if line.margin is not None:
        axes.axvspan(0, line.margin, color="C2", alpha=0.2, label=f"robustness margin, L2 below {line.margin:.2f}")
    sets = len({row.set for row in rows})
    axes.set_xlabel(f"mean L2, {rows[0].held_out:,} held-out texts")
    axes.set_ylabel(f"nDCG@10 (%), mean of {sets} sets" if sets > 1 else "nDCG@10 (%)")
    axes.legend()


def _section(rows: Sequence[MarginRow]) -> Section:
    header, *lines = margin_lines(rows)
    text = [
        "How much approximation error retrieval tolerates (paper 3.3). Each point is a checkpoint. If the line through "
        "the checkpoints reaches the teacher's score at an error above 0, smaller errors do not lower the score.",
        *(f"{line[0].upper()}{line[1:]}." for line in trend_lines(rows)),
    ]
    figures = [
        Figure(
            f"Robustness margin, {mode}",
            on_axes(partial(draw_margin, rows=rows, mode=mode)),
            f"Error and nDCG@10 of each checkpoint in {mode} mode.",
        )
        for mode in STUDENT_MODES
    ]
    return Section(text, figures, [Table("margin", header, lines, strong=frozenset({len(lines) - 1}))])


def _measure(options: argparse.Namespace) -> list[MarginRow]:
    from leaf_st.evaluation.measurements.checkpoints import measure_margin

    rows = measure_margin(Path(options.model), options.data, options.output)
    write_rows(options.output / MARGIN.file, rows)
    return rows


MARGIN = Measurement(
    name="margin",
    row=MarginRow,
    title="Robustness margin",
    help="measure error and nDCG@10 of the checkpoints of a run (paper Figures 7 and 11)",
    command=("measure", "margin"),
    arguments=(RUN_ARGUMENT, data_argument()),
    measure=_measure,
    table=format_margin,
    section=_section,
    words=lambda rows: ["--data", *set_names(rows)],
    needs=f"The measurement needs at least {FEWEST} checkpoints. If the run kept fewer, train again with another "
    "--output: `leaf-st run RECIPE.py --set save_total_limit=10 --set save_steps=0.1 --set eval_steps=0.1 "
    "--output FOLDER`",
)
