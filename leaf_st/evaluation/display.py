"""How measurements on several sets are shown: their means, curves by mode."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[Mode, str] = {mode: f"C{number}" for number, mode in enumerate(ROLES)}
PRECISIONS: dict[str, tuple[str, str]] = {"float32": ("-", "o"), "int8": ("--", "s"), "binary": (":", "^")}


class OfSet(Protocol):
    """A measurement on one set."""

    @property
    def set(self) -> str:
        """Name of the set."""


Row = TypeVar("Row", bound=OfSet)
Key = TypeVar("Key", bound=Hashable)


def means(rows: Iterable[Row], key: Callable[[Row], Key], value: Callable[[Row], float]) -> dict[Key, float]:
    """Return the mean of ``value`` over the sets for each ``key``; one that was not measured on every set is left out.

    Raises:
        InputError: If a key comes twice on a set, as in the rows of two students.
    """
    found: dict[Key, dict[str, float]] = {}
    for row in rows:
        of_key = found.setdefault(key(row), {})
        if row.set in of_key:
            raise InputError(f"{row.set} was measured twice: expected the rows of one student and its teacher")
        of_key[row.set] = value(row)
    sets = {name for of_key in found.values() for name in of_key}
    return {name: sum(of_key.values()) / len(sets) for name, of_key in found.items() if of_key.keys() == sets}


def draw_curves(
    axes: "Axes", points: Mapping[tuple[Mode, str, int], float], styles: Mapping[str, tuple[str, str]] = PRECISIONS
) -> None:
    """Draw a curve for each mode and style, over a logarithmic x axis with a tick at each of its values.

    Args:
        axes: Where to.
        points: y by mode, name of the style and x.
        styles: Line and marker by name.
    """
    modes, names, places = (list(dict.fromkeys(column)) for column in zip(*points, strict=True))
    for mode, name in dict.fromkeys((mode, name) for mode, name, _ in points):
        curve = sorted((x, y) for (*of, x), y in points.items() if of == [mode, name])
        line, marker = styles[name]
        axes.plot(*zip(*curve, strict=True), color=COLOURS[mode], linestyle=line, marker=marker, markersize=4)
    # A line of the legend for each colour and each style, not for each pair.
    for mode in modes:
        axes.plot([], [], color=COLOURS[mode], label=mode)
    for name in names:
        line, marker = styles[name]
        axes.plot([], [], color="gray", linestyle=line, marker=marker, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(places), [f"{place:,}" for place in sorted(places)])
    axes.minorticks_off()
    axes.legend(  # in one row above the curves, which leave no corner free
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(modes) + len(names),
        fontsize="small",
        frameon=False,
        handlelength=1.5,
        columnspacing=1,
        borderaxespad=0,
    )
