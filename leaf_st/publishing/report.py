"""The report of a run: one page of all that was measured, from its results alone; no model is loaded."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.publishing import cost, figures, headline, provenance, quality
from leaf_st.publishing.measured import Measured, read_measured
from leaf_st.publishing.section import Section
from leaf_st.publishing.svg import require_matplotlib

_SECTIONS = (
    quality.tasks,
    quality.training,
    cost.compression,
    cost.index,
    quality.margin,
    cost.latency,
    quality.samples,
    provenance.recipe,
    provenance.texts,
)


def write_report(run: Path) -> Path:
    """Write the report of ``run`` to ``report/report.html`` in it: one file, which asks for no other.

    Returns:
        The file.

    Raises:
        InputError: If ``run`` is no run folder, a results file cannot be used, or matplotlib is not installed. An
            earlier report stays as it is.
    """
    require_matplotlib()
    page = _page(read_measured(run))
    path = run / "report" / "report.html"
    path.parent.mkdir(exist_ok=True)
    # A lone surrogate in somebody's text has no bytes.
    write_whole(path, lambda temporary: _write(temporary, page.encode(errors="replace")))
    return path


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _page(measured: Measured) -> str:
    sections = [_section(make, measured) for make in _SECTIONS]  # before what stands above them: they say what is wrong
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
        figure=figures.retention_figure(measured.tasks) if measured.tasks else None,
        sections=sections,
        version=version("leaf-st"),
    )


def _section(make: Callable[[Measured], Section], measured: Measured) -> Section:
    """Return what ``make`` does; rows may be whole each, and lack others that belong to them."""
    results = measured.run / "results"
    try:
        return make(measured)
    except InputError as error:
        raise InputError(f"{results}: {error}") from error
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{results}: the rows of {make.__name__} do not belong together ({error!r}): measure them again"
        ) from error
