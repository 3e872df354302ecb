"""What batches say of a model (paper Table 8, Figure 12), with the paper's own numbers to set beside it."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from leaf_st.evaluation.latency import Backend, LatencyRow
from leaf_st.evaluation.rows import aligned
from leaf_st.export.forms import FORMS
from leaf_st.recipe import Kind
from leaf_st.zoo import ARCTIC, MXBAI

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SLOWEST = 0.1  # seconds until a user feels a wait (paper G)
PAPER = "paper, ONNX, i3.large"  # as backend

# The first backend and the fastest, each with its line: those of all would hide each other.
DRAWN: dict[Backend, str] = {"torch float32": "-", **{form.name: ":" for form in FORMS if form.recommended}}
_SIDES: tuple[Kind, ...] = ("document", "query")


@dataclass(frozen=True)
class Speed:
    """What a model does with one side on one backend.

    Attributes:
        model: Its name.
        backend: What ran it.
        side: Queries or documents.
        rate: Texts per second.
        rate_deviation: Standard deviation over all batches of all sizes.
        speedup: Rate over the teacher's on the same backend; None where that was not timed.
        latency: Seconds of the fastest size of batches, which is 1 as a rule.
        latency_deviation: Standard deviation over its batches.
        most: Size of the largest batch within `SLOWEST`; None if not even one text is.
    """

    model: str
    backend: str
    side: Kind
    rate: float
    rate_deviation: float
    speedup: float | None
    latency: float
    latency_deviation: float
    most: int | None


# arXiv 2509.12539, Table 8: two vCPUs of an AWS EC2 i3.large, ONNX Runtime, texts of MS MARCO.
PAPER_TABLE_8 = (
    Speed(ARCTIC.hub_id, PAPER, "document", 3.2, 0.8, 1, 0.191, 0.0526, None),
    Speed(ARCTIC.hub_id, PAPER, "query", 16.7, 1.4, 1, 0.0732, 0.0058, 1),
    Speed("leaf-ir", PAPER, "document", 21.9, 5.5, 6.5, 0.0282, 0.00969, 2),
    Speed("leaf-ir", PAPER, "query", 121.3, 14.0, 7.3, 0.0114, 0.00138, 8),
    Speed(MXBAI.hub_id, PAPER, "document", 0.9, 0.2, 1, 0.834, 0.298, None),
    Speed(MXBAI.hub_id, PAPER, "query", 4.9, 0.4, 1, 0.236, 0.0185, None),
    Speed("leaf-mt", PAPER, "document", 21.4, 5.8, 24.4, 0.0392, 0.0102, 2),
    Speed("leaf-mt", PAPER, "query", 117.0, 15.9, 23.7, 0.0115, 0.0012, 8),
)


def speeds(rows: Sequence[LatencyRow]) -> list[Speed]:
    """Return what ``rows`` say of each model, backend and side, in the order in which they come.

    The seconds of a batch size are the median over its batches. The rate is the mean over the batch sizes of size over
    seconds, as in the paper, which takes the mean over the batches as well.
    """
    found: dict[tuple[str, str, Kind], list[LatencyRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.backend, row.side), []).append(row)
    rates = {key: _rate(of_key) for key, of_key in found.items()}
    return [_speed(of_key, rates[key], rates.get((of_key[0].teacher, key[1], key[2]))) for key, of_key in found.items()]


def _rate(rows: Iterable[LatencyRow]) -> float:
    return statistics.fmean(row.batch_size / statistics.median(row.seconds) for row in rows)


def _speed(rows: Sequence[LatencyRow], rate: float, teachers: float | None) -> Speed:
    fastest = min(rows, key=lambda row: statistics.median(row.seconds))
    return Speed(
        model=fastest.model,
        backend=fastest.backend,
        side=fastest.side,
        rate=rate,
        rate_deviation=statistics.pstdev(row.batch_size / spent for row in rows for spent in row.seconds),
        speedup=None if teachers is None else rate / teachers,
        latency=statistics.median(fastest.seconds),
        latency_deviation=statistics.pstdev(fastest.seconds),
        most=max((row.batch_size for row in rows if statistics.median(row.seconds) <= SLOWEST), default=None),
    )


def format_latency(rows: Sequence[LatencyRow]) -> str:
    """Return `latency_lines` as an aligned table below `conditions`."""
    return f"{conditions(rows)}\n{aligned(latency_lines(rows), left=2)}"


def latency_lines(rows: Sequence[LatencyRow]) -> list[list[str]]:
    """Return what ``rows`` say as cells in the form of Table 8, with its lines for the models it has."""
    ours = speeds(rows)
    models = dict.fromkeys(speed.model for speed in ours)
    return speed_lines([speed for model in models for speed in (*ours, *PAPER_TABLE_8) if speed.model == model])


def speed_lines(found: Iterable[Speed]) -> list[list[str]]:
    """Return ``found`` as cells in the form of Table 8, a line for each model and backend, which come together."""
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
    """Return names of ``models`` without folder or owner, if they stay apart."""
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
    """Return three digits that count."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def conditions(rows: Sequence[LatencyRow]) -> str:
    """Return what was timed, where and how."""
    first = rows[0]
    machines = dict.fromkeys(f"{row.processor} ({row.device}, {row.threads} threads)" for row in rows)
    tokens = {row.side: round(row.tokens) for row in rows if row.model == first.model}
    read = " and ".join(f"{tokens[side]} of a {side}" for side in _SIDES if side in tokens)
    sizes = ", ".join(str(size) for size in dict.fromkeys(row.batch_size for row in rows))
    lines = [
        f"{', '.join(machines)}; {first.model} reads {read} on average, in tokens",
        f"{len(first.seconds)} batches each of {sizes} texts; max N is the largest batch within "
        f"{1000 * SLOWEST:.0f} ms; behind ±, for texts per second of all sizes together, is the standard deviation",
    ]
    if random := dict.fromkeys(row.model for row in rows if row.random_weights):
        lines.append(f"random weights, which are as fast: {', '.join(random)}")
    return "\n".join(lines)


def draw_latency(axes: "Axes", rows: Sequence[LatencyRow], side: Kind) -> None:
    """Draw the time of a batch over its size for each model (paper Figure 12) by the backends `DRAWN`."""
    colours = {model: f"C{number}" for number, model in enumerate(dict.fromkeys(row.model for row in rows))}
    names = _short(colours)
    of_side = [row for row in rows if row.side == side and row.backend in DRAWN]
    for (model, backend), of_line in groupby(of_side, lambda row: (row.model, row.backend)):
        points = [(row.batch_size, 1000 * statistics.median(row.seconds)) for row in of_line]
        sizes, times = zip(*points, strict=True)
        label = f"{names[model]}, {backend}"
        axes.plot(sizes, times, linestyle=DRAWN[backend], color=colours[model], marker=".", label=label)
    axes.axhline(1000 * SLOWEST, color="red", linestyle="--", label=f"{1000 * SLOWEST:.0f} ms")
    axes.set(xscale="log", yscale="log", ylabel="time of a batch (ms)")
    axes.set_xlabel("batch size (queries)" if side == "query" else "batch size (documents)")
    ticks = list(dict.fromkeys(row.batch_size for row in of_side))
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))  # the lines run from corner to corner
