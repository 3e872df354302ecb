"""Shared parts of the tables and figures of measurements: means over sets, names of sets, curves by mode."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLOURS: dict[Mode, str] = {mode: f"C{number}" for number, mode in enumerate(ROLES)}
PRECISIONS: dict[str, tuple[str, str]] = {"float32": ("-", "o"), "int8": ("--", "s"), "binary": (":", "^")}


class HasSet(Protocol):
    """A row that was measured on one set."""

    @property
    def set(self) -> str:
        """Name of the set."""


Row = TypeVar("Row", bound=HasSet)
Key = TypeVar("Key", bound=Hashable)


def means(rows: Iterable[Row], key: Callable[[Row], Key], value: Callable[[Row], float]) -> dict[Key, float]:
    """Return the mean of ``value`` over the sets for each ``key`` that was measured on every set.

    Raises:
        InputError: If a set has two rows of one key, as in the rows of two students.
    """
    found: dict[Key, dict[str, float]] = {}
    for row in rows:
        of_key = found.setdefault(key(row), {})
        if row.set in of_key:
            raise InputError(
                f"{row.set} was measured twice: expected the rows of one student and its teacher: "
                "remove the rows of other students"
            )
        of_key[row.set] = value(row)
    sets = {name for of_key in found.values() for name in of_key}
    return {name: sum(of_key.values()) / len(sets) for name, of_key in found.items() if of_key.keys() == sets}


def set_names(rows: Iterable[HasSet]) -> list[str]:
    """Return the names of the sets of ``rows``, without duplicates."""
    return list(dict.fromkeys(row.set for row in rows))


def over_sets_text(rows: Iterable[HasSet]) -> str:
    """Return "on NAME" for one set, or "mean of NAME, NAME" for several sets."""
    names = set_names(rows)
    return f"mean of {', '.join(names)}" if len(names) > 1 else f"on {names[0]}"


def on_axes(draw: "Callable[[Axes], None]") -> "Callable[[Canvas], None]":
    """Return a function that draws on the only axes of a matplotlib figure."""
    return lambda canvas: draw(canvas.subplots())


def draw_curves(
    axes: "Axes", points: Mapping[tuple[Mode, str, int], float], styles: Mapping[str, tuple[str, str]] = PRECISIONS
) -> None:
    """Draw a curve per mode and style over a logarithmic x axis that has a tick at each value.

    Args:
        axes: The axes.
        points: y by mode, name of the style and x.
        styles: Line and marker by name.
    """
    modes, names, places = (list(dict.fromkeys(column)) for column in zip(*points, strict=True))
    for mode, name in dict.fromkeys((mode, name) for mode, name, _ in points):
        curve = sorted((x, y) for (*of, x), y in points.items() if of == [mode, name])
        line, marker = styles[name]
        axes.plot(*zip(*curve, strict=True), color=COLOURS[mode], linestyle=line, marker=marker, markersize=4)
    # One legend entry per colour and one per style, not one per pair.
    for mode in modes:
        axes.plot([], [], color=COLOURS[mode], label=mode)
    for name in names:
        line, marker = styles[name]
        axes.plot([], [], color="gray", linestyle=line, marker=marker, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(places), [f"{place:,}" for place in sorted(places)])
    axes.minorticks_off()
    axes.legend(  # in one row above the axes, because the curves leave no corner free
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(modes) + len(names),
        fontsize="small",
        frameon=False,
        handlelength=1.5,
        columnspacing=1,
        borderaxespad=0,
    )
