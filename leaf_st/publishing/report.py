"""The report of a run: one page of all that was measured, from its results alone; no model is loaded."""

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from leaf_st.atomic import replace_folder, write_whole
from leaf_st.errors import InputError
from leaf_st.publishing import cost, headline, provenance, quality
from leaf_st.publishing.figures import Drawn, retention_figure
from leaf_st.publishing.measured import Measured, read_measured
from leaf_st.publishing.section import Section
from leaf_st.publishing.svg import LIGHT, require_matplotlib, standalone

_SECTIONS = (
    quality.tasks,
    quality.training,
    cost.compression,
    cost.index,
    quality.margin,
    cost.latency,
    cost.exported,
    quality.samples,
    provenance.recipe,
    provenance.texts,
)


def write_report(run: Path) -> Path:
    """Write the report of ``run`` to ``report/report.html`` in it: one file, which asks for no other.

    Its figures are beside it too, in ``report/figures``, each a file for other documents.

    Returns:
        The page.

    Raises:
        InputError: If ``run`` is no run folder, a results file cannot be used, or matplotlib is not installed. An
            earlier report stays as it is.
    """
    require_matplotlib()
    measured = read_measured(run)
    sections = [_section(make, measured) for make in _SECTIONS]  # before what stands above them: they say what is wrong
    first = retention_figure(measured.tasks) if measured.tasks else None
    # A lone surrogate in somebody's text has no bytes.
    page = _page(measured, first, sections).encode(errors="replace")
    drawn = [figure for section in sections for figure in section.figures]
    path = run / "report" / "report.html"
    path.parent.mkdir(exist_ok=True)
    replace_folder(path.parent / "figures", lambda fresh: _write_figures([first, *drawn] if first else drawn, fresh))
    write_whole(path, lambda temporary: _write(temporary, page))
    return path


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_figures(drawn: Sequence[Drawn], folder: Path) -> None:
    folder.mkdir()
    for figure in drawn:
        name = re.sub(r"\W+", "-", figure.name).lower()
        (folder / f"{name}.svg").write_text(standalone(figure.svg), encoding="utf-8", errors="replace")


def _page(measured: Measured, first: Drawn | None, sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("leaf_st.publishing", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        name=measured.recipe.name,
        lead=headline.lead(measured),
        facts=headline.facts(measured),
        tiles=headline.tiles(measured),
        figure=first,
        sections=sections,
        light=LIGHT,
        version=version("leaf-st"),
    )


def _section(make: Callable[[Measured], Section], measured: Measured) -> Section:
    """Return what ``make`` does; rows may be whole each, and lack others that belong to them."""
    results = measured.run / "results"
    try:
        section = make(measured)
        _ = [figure.svg for figure in section.figures]  # drawn here, where rows that cannot be are named
        return section
    except InputError as error:
        raise InputError(f"{results}: {error}") from error
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{results}: the rows of {make.__name__} do not belong together ({error!r}): measure them again"
        ) from error
