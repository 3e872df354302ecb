"""The figures of the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from leaf_st.evaluation.alignment import Alignment, Histogram
from leaf_st.evaluation.compression import Compressed, draw_compression
from leaf_st.evaluation.display import COLOURS
from leaf_st.evaluation.index import Searched, draw_index
from leaf_st.evaluation.latency import LatencyRow
from leaf_st.evaluation.latency_table import DRAWN, draw_latency
from leaf_st.evaluation.margin import MarginRow
from leaf_st.evaluation.margin_trend import draw_margin
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import STUDENT_MODES, Result, averages, by_type, retention
from leaf_st.publishing.measured import Logged
from leaf_st.publishing.svg import draw
from leaf_st.recipe import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TASKS = 16  # lines that can be read; BEIR has 15
_LONGEST_NAME = 26
_MARKERS: dict[Mode, str] = {"teacher": "|", "standard": "o", "asymmetric": "D"}


@dataclass(frozen=True)
class Drawn:
    """A figure of the page, drawn when it is looked at: a card says the same without figures, and without matplotlib.

    Attributes:
        name: Told to those who cannot see it, and unlike that of any other figure of the page.
        fill: Draws it.
        caption: What it shows.
        size: Inches of 96 pixels.
    """

    name: str
    fill: "Callable[[Figure], None]"
    caption: str
    size: tuple[float, float] = (4.8, 3.2)

    @cached_property
    def svg(self) -> Markup:
        """It."""
        return draw(self.name, self.fill, self.size)


def retention_figure(rows: Sequence[Result]) -> Drawn:
    """Return what each mode keeps of the teacher's score, a line per task, or per type if there are many tasks."""
    groups = {name: [row for row in rows if row.set == name] for name in dict.fromkeys(row.set for row in rows)}
    if len(groups) > _MOST_TASKS and len(by_type(rows)) > 1:
        groups = by_type(rows)
    if len(groups) > 1:
        groups["mean"] = list(rows)
    kept = {name: retention(of_group) for name, of_group in groups.items()}
    if any(kept.values()):
        return Drawn(
            "Retention",
            lambda figure: _dots(figure, kept, "share of the teacher's score (%)"),
            "What each mode keeps of the teacher's score. Standard: the student embeds both sides. Asymmetric: the "
            "student embeds queries, the teacher documents.",
            _tall(kept),
        )
    scores = {name: averages(of_group) for name, of_group in groups.items()}
    return Drawn("Scores", lambda figure: _dots(figure, scores, "score (%)"), "Main score of each task.", _tall(scores))


def _tall(lines: dict[str, dict[Mode, float]]) -> tuple[float, float]:
    return 4.8, 1.0 + 0.25 * max(len(lines), 2)


def _dots(figure: "Figure", lines: dict[str, dict[Mode, float]], label: str) -> None:
    axes = figure.subplots()
    places = np.arange(len(lines))[::-1]
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
    axes.set_yticks(places, [_short(name) for name in lines])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_xlabel(label)
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0)
    figure.legend(loc="outside upper right", ncols=3, handletextpad=0.3, columnspacing=1.2)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def training_figure(rows: Sequence[Logged], loss: str) -> Drawn:
    """Return loss and learning rate over the steps; ``loss`` names what is minimised."""
    return Drawn(
        "Training",
        lambda figure: _training(figure, rows, loss),
        "Loss on training texts as it was logged, and on texts held out of training; below it the learning rate.",
        (4.8, 3.8),
    )


def _training(figure: "Figure", rows: Sequence[Logged], loss: str) -> None:
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    trained = [(row.step, row.loss) for row in rows if row.loss is not None]
    if trained:
        above.plot(*zip(*trained, strict=True), color="C0", linewidth=1, label="training texts")
    for number, name in enumerate(dict.fromkeys(name for row in rows for name in row.validation), 1):
        points = [(row.step, row.validation[name]) for row in rows if name in row.validation]
        above.plot(*zip(*points, strict=True), ".-", color=f"C{number}", label=f"{name} texts")
    rates = [(row.step, row.learning_rate) for row in rows if row.learning_rate is not None]
    if rates:
        below.plot(*zip(*rates, strict=True), color="C0", linewidth=1)
    above.set_ylabel(loss)
    above.legend()
    below.set_ylabel("learning rate")
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    below.set_xlabel("optimizer step")
    below.xaxis.set_major_formatter("{x:,.0f}")


def alignment_figure(rows: Sequence[Alignment]) -> Drawn | None:
    """Return how distances and cosines are spread; None if only their means are known."""
    known = [row for row in rows if row.l2_histogram and row.cosine_histogram]
    if not known:
        return None
    return Drawn(
        "Distance to the teacher",
        lambda figure: _histograms(figure, known),
        "How far each text's vector is from the teacher's; the dashed line is the mean.",
        (4.8, 3.8),
    )


def _histograms(figure: "Figure", rows: Sequence[Alignment]) -> None:
    above, below = figure.subplots(2)
    for number, row in enumerate(rows, 1):
        assert row.l2_histogram is not None
        assert row.cosine_histogram is not None
        _stairs(above, row.l2_histogram, row.l2, f"C{number}", f"{row.rows:,} {row.set}")
        _stairs(below, row.cosine_histogram, row.cosine, f"C{number}", "")
    above.set(xlabel="L2 distance", ylabel="texts (%)")
    below.set(xlabel="cosine", ylabel="texts (%)")
    above.legend()


def _stairs(axes: "Axes", histogram: Histogram, mean: float, colour: str, label: str) -> None:
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    shares = 100 * np.array(histogram.counts) / max(sum(histogram.counts), 1)
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(shares, edges, color=colour, label=label or None)
    axes.axvline(mean, color=colour, linestyle="--", linewidth=1)


def compression_figure(rows: Sequence[Compressed]) -> Drawn:
    """Return nDCG@10 over the bytes of a stored vector."""
    return Drawn(
        "Compression",
        _on_axes(partial(draw_compression, rows=rows)),
        "nDCG@10 when stored document vectors are cut to fewer dimensions and coded in fewer bits.",
        (5.6, 3.5),
    )


def index_figures(rows: Sequence[Searched]) -> list[Drawn]:
    """Return recall@10 and nDCG@10 over the width of the search."""
    recall, score = (_on_axes(partial(draw_index, rows=rows, value=value)) for value in ("recall", "score"))
    return [
        Drawn(
            "Recall in the index",
            recall,
            "Documents found of the ten that exact search finds, as the search gets wider.",
        ),
        Drawn("nDCG@10 in the index", score, "nDCG@10 of what was found."),
    ]


def margin_figures(rows: Sequence[MarginRow]) -> list[Drawn]:
    """Return nDCG@10 over the error of each checkpoint, for each mode of the student."""
    return [
        Drawn(
            f"Robustness margin, {mode}",
            _on_axes(partial(draw_margin, rows=rows, mode=mode)),
            f"Error and nDCG@10 of each checkpoint in {mode} mode.",
        )
        for mode in STUDENT_MODES
    ]


def latency_figures(rows: Sequence[LatencyRow]) -> list[Drawn]:
    """Return the time of a batch over its size, for each side that was timed."""
    sides: dict[Kind, str] = {"query": "queries", "document": "documents"}
    tall = 3.4 + 0.17 * len({(row.model, row.backend) for row in rows if row.backend in DRAWN})  # the legend is below
    return [
        Drawn(
            f"Latency of {name}",
            _on_axes(partial(draw_latency, rows=rows, side=side)),
            f"Time of a batch of {name}, tokenizing included, by {' and '.join(DRAWN)}; all others are in the table.",
            (4.8, tall),
        )
        for side, name in sides.items()
        if any(row.side == side for row in rows)
    ]


def _on_axes(fill: "Callable[[Axes], None]") -> "Callable[[Figure], None]":
    return lambda figure: fill(figure.subplots())
