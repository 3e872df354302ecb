"""The measurement ``latency``: how fast student and teacher encode, with the paper's numbers (Table 8, Figure 12)."""

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from leaf_st.evaluation.display import on_axes
from leaf_st.evaluation.measurements.latency_rows import PAPER_TABLE_8, SLOWEST, LatencyRow, Speed, speeds
from leaf_st.evaluation.measurements.measurement import (
    MODEL_HELP,
    TEACHER_ARGUMENT,
    Argument,
    Figure,
    Measurement,
    Section,
    Table,
)
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.recipe import DOCSTRINGS, Kind
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDES: tuple[Kind, ...] = ("document", "query")


def format_latency(rows: Sequence[LatencyRow]) -> str:
    """Return `latency_lines` as an aligned table below `conditions`."""
    return f"{conditions(rows)}\n{aligned(latency_lines(rows), left=2)}"


def latency_lines(rows: Sequence[LatencyRow]) -> list[list[str]]:
    """Return the speeds as cells in the form of Table 8, with the paper's lines for the same models."""
    measured = speeds(rows)
    models = dict.fromkeys(speed.model for speed in measured)
    return table_8_lines([speed for model in models for speed in (*measured, *PAPER_TABLE_8) if speed.model == model])


def table_8_lines(found: Iterable[Speed]) -> list[list[str]]:
    """Return ``found`` as cells in the form of Table 8, a line per model and backend.

    The speeds of one model and backend must be adjacent.
    """
    header = ["model", "backend"]
    for side in ("docs", "queries"):
        header += [f"{side}/s", "speed-up", "min latency", "max N"]
    lines = [header]
    found = list(found)
    names = _short(speed.model for speed in found)
    for (model, backend), of_line in groupby(found, lambda speed: (speed.model, speed.backend)):
        by_side = {speed.side: speed for speed in of_line}
        lines.append([names[model], backend, *(cell for side in _SIDES for cell in _cells(by_side.get(side)))])
    return lines


def _short(models: Iterable[str]) -> dict[str, str]:
    """Return the names of ``models`` without folder or owner, if the short names are unique."""
    short = {model: model.rstrip("/").rpartition("/")[2] for model in models}
    return short if len(set(short.values())) == len(short) else {model: model for model in short}


def _cells(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["-"] * 4
    return [
        f"{speed.rate:,.1f} ± {speed.rate_deviation:,.1f}",
        "-" if speed.speedup is None else f"{speed.speedup:.1f}x",
        f"{_milliseconds(speed.latency)} ± {_milliseconds(speed.latency_deviation)} ms",
        "-" if speed.most is None else str(speed.most),
    ]


def _milliseconds(seconds: float) -> str:
    """Return milliseconds with three significant digits."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def conditions(rows: Sequence[LatencyRow]) -> str:
    """Return a description of what was timed, on which machine and how."""
    first = rows[0]
    machines = dict.fromkeys(f"{row.processor} ({row.device}, {row.threads} threads)" for row in rows)
    tokens = {row.side: round(row.tokens) for row in rows if row.model == first.model}
    read = " and ".join(f"{tokens[side]} of a {side}" for side in _SIDES if side in tokens)
    sizes = ", ".join(str(size) for size in dict.fromkeys(row.batch_size for row in rows))
    lines = [
        f"{', '.join(machines)}; tokens that {first.model} reads on average: {read}",
        f"{len(first.seconds)} batches of each size: {sizes} texts; max N is the largest batch within "
        f"{1000 * SLOWEST:.0f} ms; ± is the standard deviation, for texts per second over all sizes",
    ]
    if random := dict.fromkeys(row.model for row in rows if row.random_weights):
        lines.append(f"random weights, which give the same times: {', '.join(random)}")
    return "\n".join(lines)


def drawn_backends(rows: Sequence[LatencyRow]) -> dict[str, str]:
    """Return the backends of the figure and their line styles: torch in float32 and each model's recommended form.

    The lines of all backends would hide each other.
    """
    from leaf_st.export.forms import FORMS, recommended_form  # loads torch

    timed: dict[str, set[str]] = {}
    for row in rows:
        timed.setdefault(row.model, set()).add(row.backend)
    shown = [recommended_form(form.name for form in FORMS if form.name in backends) for backends in timed.values()]
    styles = {"torch float32": "-", **{form.name: ":" for form in shown if form}}
    return {backend: style for backend, style in styles.items() if any(backend in found for found in timed.values())}


def draw_latency(axes: "Axes", rows: Sequence[LatencyRow], side: Kind) -> None:
    """Draw the time of a batch over its size for each model on the backends of `drawn_backends` (paper Figure 12)."""
    colours = {model: f"C{number}" for number, model in enumerate(dict.fromkeys(row.model for row in rows))}
    names = _short(colours)
    styles = drawn_backends(rows)
    of_side = [row for row in rows if row.side == side and row.backend in styles]
    for (model, backend), of_line in groupby(of_side, lambda row: (row.model, row.backend)):
        points = [(row.batch_size, 1000 * statistics.median(row.seconds)) for row in of_line]
        sizes, times = zip(*points, strict=True)
        label = f"{names[model]}, {backend}"
        axes.plot(sizes, times, linestyle=styles[backend], color=colours[model], marker=".", label=label)
    axes.axhline(1000 * SLOWEST, color="red", linestyle="--", label=f"{1000 * SLOWEST:.0f} ms")
    axes.set(xscale="log", yscale="log", ylabel="time of a batch (ms)")
    axes.set_xlabel("batch size (queries)" if side == "query" else "batch size (documents)")
    ticks = list(dict.fromkeys(row.batch_size for row in of_side))
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))  # below, because the lines cross the axes


def latency_table(lines: Sequence[Sequence[str]]) -> Table:
    """Return the cells of `table_8_lines` as a table."""
    header, *body = lines
    # Documents and queries get a row each: side by side, their columns are wider than a page.
    shown = ["model", "backend", "texts", "per second", *header[3:6]]
    turned = [
        [*line[:2], side, *cells]
        for line in body
        for side, cells in (("documents", line[2:6]), ("queries", line[6:]))
        if any(cell != "-" for cell in cells)
    ]
    return Table("latency", shown, turned, left=3)


def _section(rows: Sequence[LatencyRow]) -> Section:
    text = [
        "Student and teacher encode the same texts alternately (paper Table 8).",
        *(f"{line[0].upper()}{line[1:]}." for line in conditions(rows).splitlines()),
    ]
    return Section(text, _figures(rows), [latency_table(latency_lines(rows))])


def _figures(rows: Sequence[LatencyRow]) -> list[Figure]:
    sides: dict[Kind, str] = {"query": "queries", "document": "documents"}
    drawn = drawn_backends(rows)
    legend = 0.17 * len({(row.model, row.backend) for row in rows if row.backend in drawn})  # inches below the axes
    return [
        Figure(
            f"Latency of {name}",
            on_axes(partial(draw_latency, rows=rows, side=side)),
            f"Time of a batch of {name}, tokenizing included, by {' and '.join(drawn)}; the table has all backends.",
            (4.8, 3.4 + legend),
        )
        for side, name in sides.items()
        if any(row.side == side for row in rows)
    ]


def _measure(options: argparse.Namespace) -> list[LatencyRow]:
    from leaf_st.evaluation.measurements.candidates import candidates, latency_texts
    from leaf_st.evaluation.timing import measure_latency
    from leaf_st.models.identity import identify

    found = candidates(options.model, options.teacher)
    first = next(candidate for candidate in found if candidate.name == options.model[0])
    student: Models = {"student": (identify(first.encoder), first.encoder)}
    require_same_sizes(options.output, student)
    source = options.texts or DOCSTRINGS
    rows = [replace(row, texts=source) for row in measure_latency(found, latency_texts(source, "--texts"))]
    write_rows(options.output / LATENCY.file, rows)
    if not first.random_weights:  # random weights belong to no model
        write_sizes(options.output, student)
    return rows


def _words(rows: Sequence[LatencyRow]) -> list[str]:
    """Return the arguments for further students and the texts; the first student is the model of the results folder."""
    students = list(dict.fromkeys(row.model for row in rows if row.model != row.teacher))
    return [*students[1:], *texts_words(rows[0].texts)]


def texts_words(source: str | None) -> list[str]:
    """Return the argument ``--texts`` for ``source``; empty for the default."""
    return [] if source in (None, DOCSTRINGS) else ["--texts", str(source)]


LATENCY = Measurement(
    name="latency",
    row=LatencyRow,
    title="Latency",
    help="time the encoding of queries and documents, next to the teacher (paper Table 8 and Figure 12)",
    command=("measure", "latency"),
    arguments=(
        Argument(
            "model",
            {
                "nargs": "+",
                "metavar": "MODEL",
                "help": f"{MODEL_HELP}; leaf-ir, leaf-mt and folders with only the config.json of a BERT are timed "
                "with random weights if the weights are missing",
            },
        ),
        Argument(
            "--texts",
            {
                "metavar": "FILE",
                "help": "queries and documents to time: BEIR folder, or table with a column `kind` (default: "
                "documentation strings)",
            },
        ),
        TEACHER_ARGUMENT,
    ),
    measure=_measure,
    table=format_latency,
    section=_section,
    words=_words,
)
