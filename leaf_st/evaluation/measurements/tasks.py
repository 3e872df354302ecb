"""The measurement ``tasks``: scores and retention on tasks of mteb and on local sets (paper Tables 2, 3, 7)."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.display import COLOURS
from leaf_st.evaluation.measurements.measurement import MODEL_ARGUMENT, Argument, Figure, Measurement, Section, Table
from leaf_st.evaluation.modes import ROLES, Mode
from leaf_st.evaluation.results import TASKS_FILE as FILE
from leaf_st.evaluation.results import Result, averages, by_type, retention
from leaf_st.evaluation.results_table import (
    HEADER,
    format_table,
    interval_note,
    mean_lines,
    one_sided_note,
    task_lines,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_METRIC_NAMES = {"ndcg_at_10": "nDCG@10"}
_MAX_LINES = 16  # lines of a readable figure; BEIR has 15 sets
_LONGEST_NAME = 26
_MARKERS: dict[Mode, str] = {"teacher": "|", "standard": "o", "asymmetric": "D"}


def _measure(options: argparse.Namespace) -> list[Result]:
    from leaf_st.evaluation.tasks.evaluate import evaluate

    return evaluate(options.model, options.tasks, teacher=options.teacher, modes=options.modes, output=options.output)


def _section(rows: Sequence[Result]) -> Section:
    text = [
        "Scores in percent, measured with mteb. Teacher: the teacher embeds both sides. Standard: the student embeds "
        "both sides. Asymmetric: the student embeds queries, the teacher embeds documents. Retention is the score of a "
        "mode divided by the teacher's score; the retention of a mean is the retention of the means.",
        interval_note(rows),
        one_sided_note(rows),
    ]
    absent = [mode for mode in ROLES if all(row.mode != mode for row in rows)]
    incomplete = [f"Not measured: {', '.join(absent)} mode."] if absent else []
    return Section([line for line in text if line], tables=_tables(rows), incomplete=incomplete)


def _tables(rows: Sequence[Result]) -> list[Table]:
    means = mean_lines(rows)
    each = [
        [name, _METRIC_NAMES.get(metric, metric.replace("_", " ")), *cells] for name, metric, *cells in task_lines(rows)
    ]
    if len(by_type(rows)) == 1:
        return [Table("tasks", HEADER, [*each, *means], left=2, strong=frozenset({len(each)}))]
    columns = ["type (tasks)", *HEADER[2:]]
    cells = [[line[0], *line[2:]] for line in means]
    summary = Table("types", columns, cells, strong=frozenset({len(cells) - 2, len(cells) - 1}))
    return [summary, Table("tasks", HEADER, each, left=2)]


def retention_figure(rows: Sequence[Result]) -> Figure:
    """Return each mode's retention, a line per task, or per type if there are many tasks.

    Without a teacher's scores, the figure shows the scores.
    """
    groups = {name: [row for row in rows if row.set == name] for name in dict.fromkeys(row.set for row in rows)}
    if len(groups) > _MAX_LINES and len(by_type(rows)) > 1:
        groups = by_type(rows)
    if len(groups) > 1:
        groups["mean"] = list(rows)
    size = 4.8, 1.0 + 0.25 * max(len(groups), 2)
    kept = {name: retention(of_group) for name, of_group in groups.items()}
    if any(kept.values()):
        caption = (
            "Share of the teacher's score that each mode keeps. Standard: the student embeds both sides. Asymmetric: "
            "the student embeds queries, the teacher embeds documents."
        )
        draw = partial(_draw, lines=kept, label="share of the teacher's score (%)")
        return Figure("Retention", draw, caption, size)
    scores = {name: averages(of_group) for name, of_group in groups.items()}
    return Figure("Scores", partial(_draw, lines=scores, label="score (%)"), "Main score of each task.", size)


def _draw(canvas: "Canvas", lines: Mapping[str, Mapping[Mode, float]], label: str) -> None:
    axes = canvas.subplots()
    places = range(len(lines) - 1, -1, -1)
    for mode in COLOURS:
        points = [
            (of_line[mode], place) for of_line, place in zip(lines.values(), places, strict=True) if mode in of_line
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, _MARKERS[mode], color=COLOURS[mode], label=mode, markersize=6, linestyle="none")
    if all("teacher" not in of_line for of_line in lines.values()):
        axes.axvline(100, color=COLOURS["teacher"], label="teacher", linewidth=1.5)
    if "mean" in lines:
        axes.axhline(0.5, color="black", linewidth=0.6)
    axes.set_yticks(list(places), [_short(name) for name in lines])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_xlabel(label)
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0)
    canvas.legend(loc="outside upper right", ncols=3, handletextpad=0.3, columnspacing=1.2)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _words(rows: Sequence[Result]) -> list[str]:
    modes = [mode for mode in ROLES if any(row.mode == mode for row in rows)]
    sets = dict.fromkeys(row.path or row.set for row in rows)
    # A run's recipe.json names the teacher, so that the command needs only the modes.
    return ["--tasks", *sets, *(["--modes", *modes] if modes != ["standard"] else [])]


TASKS = Measurement(
    name=Path(FILE).stem,
    row=Result,
    title="Tasks",
    help="evaluate on tasks in teacher, standard and asymmetric mode",
    command=("evaluate",),
    arguments=(
        MODEL_ARGUMENT,
        Argument(
            "--teacher",
            {
                "help": "teacher: folder or hub id (default: for modes that need a teacher, the teacher that the "
                "student learned from)"
            },
        ),
        Argument(
            "--tasks",
            {
                "nargs": "+",
                "required": True,
                "metavar": "NAME",
                "help": 'benchmark or task of mteb, such as NanoBEIR, "MTEB(eng, v2)" or SciFact; BEIR folder; folder '
                "with train.parquet and test.parquet (text, label); parquet file with sentence1, sentence2 and score "
                "or label, or with text and label",
            },
        ),
        Argument(
            "--modes",
            {
                "nargs": "+",
                "choices": tuple(ROLES),
                "metavar": "MODE",
                "help": f"modes to measure: {', '.join(ROLES)} (default: standard; with --teacher, all three)",
            },
        ),
    ),
    measure=_measure,
    table=format_table,
    section=_section,
    words=_words,
)
