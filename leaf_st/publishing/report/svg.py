"""Figures of matplotlib as SVG elements that use the fonts and colours, light or dark, of the page around them.

A figure can also be written as a separate file, with a white background, for use in other documents.
"""

import io
import re
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.measurement import Figure

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
# Placeholder colours, which are replaced by colours of the page. No figure uses them for anything else.
_INK, _WARNING = "#010203", "#ff0000"
_SERIES = tuple(f"#0{number}0a0b" for number in range(1, 9))
_OF_PAGE = {
    _INK: "currentColor",
    "#000000": "currentColor",
    _WARNING: "var(--warning)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)},
}
# Colours for a white page, by their names in the style sheet.
LIGHT = {
    "--warning": "#b3261e",
    **{
        f"--series-{number}": colour
        for number, colour in enumerate(
            ("#58626c", "#c05a12", "#0b7285", "#7a4fb5", "#8a6d00", "#b0305c", "#2f7d32", "#4060c0")
        )
    },
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,  # names of sets may contain dollar signs
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def require_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        InputError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "matplotlib, which draws the figures of a report, is not installed: pip install 'leaf-st[plots]'"
        ) from error


def draw(figure: Figure) -> Markup:
    """Return ``figure`` as an SVG element."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure as Canvas

    # Any: the types of matplotlib allow only literal keys.
    style: Any = {**_STYLE, "svg.hashsalt": figure.name, "axes.prop_cycle": cycler(color=_SERIES)}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own settings may ask for what is missing, such as LaTeX
        matplotlib.rcParams.update(style)
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        written = io.BytesIO()
        canvas.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return Markup(_embedded(written.getvalue(), figure.name))  # matplotlib and ElementTree escape all texts


def _embedded(svg: bytes, name: str) -> str:
    """Return an SVG file as an element of a page that may contain several of them."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if link := element.attrib.pop(_LINK, None):
            element.set("href", link)
    for parent in list(root.iter()):  # style rules would apply to the rest of the page, too
        for child in [child for child in parent if child.tag in ("style", "metadata")]:
            parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r" font-family: [^;]+;", "", text)
    for colour, of_page in _OF_PAGE.items():
        text = text.replace(colour, of_page)
    box = root.attrib["viewBox"]
    pixels = round(float(box.split()[2]) * 96 / 72)
    body = text.partition(">")[2]
    return f'<svg viewBox="{box}" style="max-width: {pixels}px" role="img" aria-label="{Markup.escape(name)}">{body}'


def standalone(svg: Markup) -> str:
    """Return an SVG element of `draw` as the text of an SVG file: dark on white, in the fonts of the system."""
    head, _, body = str(svg).partition(">")
    colours = "; ".join(f"{name}: {colour}" for name, colour in LIGHT.items())
    style = f"<style>svg {{ color: #1c2024; background: #fff; font-family: {_FONT}; {colours} }}</style>"
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{body}\n'
