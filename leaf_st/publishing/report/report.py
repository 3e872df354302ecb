"""The report of a run: one page of all measurements. The report is made from the run's results; no model is loaded."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaf_st.atomic import replace_folder, write_whole
from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.measurements.measurement import Figure, Measurement, Table
from leaf_st.evaluation.measurements.tasks import TASKS, retention_figure
from leaf_st.publishing.report import headline, provenance
from leaf_st.publishing.report.svg import LIGHT, draw, require_matplotlib, standalone
from leaf_st.publishing.results import Results, read_results
from leaf_st.publishing.sections import (
    Missing,
    PageSection,
    measured_section,
    measuring_command,
    name_folder_in_errors,
    unmeasured_section,
)
from leaf_st.run_folder import REPORT

_LINE = 60  # characters of a table cell that fit on one line


def write_report(run: Path) -> Path:
    """Write the report of ``run`` to ``report/report.html`` in the run folder: one file that loads no other file.

    Each figure is also written as a separate file to ``report/figures``.

    Returns:
        The page.

    Raises:
        InputError: If ``run`` is not a run folder, a results file cannot be used, or matplotlib is not installed. An
            earlier report stays unchanged.
    """
    require_matplotlib()
    results = read_results(run)
    sections = _sections(results)
    rows = results.rows(TASKS)
    first = retention_figure(rows) if rows else None
    drawn = _draw(results, sections)
    if first:
        drawn = {first.name: draw(first), **drawn}
    # UTF-8 cannot encode a lone surrogate, which a user's text may contain.
    page = _without_home(_page(results, first, sections, drawn)).encode(errors="replace")
    path = run / REPORT / "report.html"
    path.parent.mkdir(exist_ok=True)
    replace_folder(path.parent / "figures", lambda folder: _write_figures(drawn, folder))
    write_whole(path, lambda temporary: _write(temporary, page))
    return path


def _sections(results: Results) -> list[PageSection]:
    # A report does not list rows as missing if only another command, such as the demo, writes them.
    shown = [each for each in registry.MEASUREMENTS if results.rows(each) or each.measure or each.needs]
    return [*(_section(results, measurement) for measurement in shown), *provenance.sections(results)]


def _section(results: Results, measurement: Measurement[Any]) -> PageSection:
    if results.rows(measurement):
        section = measured_section(results, measurement)
    else:
        section = unmeasured_section(results, measurement)
    if measurement is TASKS and results.size("student") is None:
        sizes = Missing("The sizes of the models are not in the results.", measuring_command(results, TASKS))
        section = replace(section, missing=[*section.missing, sizes])
    return section


def _draw(results: Results, sections: Sequence[PageSection]) -> dict[str, Markup]:
    """Return the figures of all sections as SVG elements, by name."""
    drawn: dict[str, Markup] = {}
    for section in sections:
        with name_folder_in_errors(results, section.id):
            drawn |= {figure.name: draw(figure) for figure in section.content.figures}
    return drawn


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_figures(drawn: Mapping[str, Markup], folder: Path) -> None:
    folder.mkdir()
    for name, svg in drawn.items():
        file = re.sub(r"\W+", "-", name).lower()
        (folder / f"{file}.svg").write_text(standalone(svg), encoding="utf-8", errors="replace")


def _page(results: Results, first: Figure | None, sections: Sequence[PageSection], drawn: Mapping[str, Markup]) -> str:
    environment = Environment(
        loader=PackageLoader("leaf_st.publishing.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        name=results.recipe.name,
        lead=headline.lead(results),
        facts=headline.facts(results),
        tiles=headline.tiles(results),
        figure=first,
        sections=sections,
        svg=lambda figure: drawn[figure.name],
        csv_link=_csv_link,
        layout=_layout,
        parts=_code_parts,
        light=LIGHT,
        version=version("leaf-st"),
    )


def _without_home(page: str) -> str:
    """Return ``page`` with ~ for the home folder, whose name is often the user's. The shell expands ~ in commands."""
    home = os.path.expanduser("~")
    if home in ("~", os.sep):  # unknown, or no user's
        return page
    for written in {home, str(Markup.escape(home)), quote(home)}:
        page = page.replace(f"&#39;{written}/", "~/&#39;")  # the shell expands no ~ in quotes
        page = re.sub(re.escape(written) + r"(?![\w.-])", "~", page)
    return page


def _csv_link(table: Table) -> str:
    """Return a data URL with ``table`` as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([table.header, *table.rows])
    return f"data:text/csv;charset=utf-8,{quote(text.getvalue().encode(errors='replace'))}"


def _layout(table: Table) -> str:
    """Return the style class of ``table``: "prose" if one column has long cells, "even" if several do, else empty."""
    long = {column for row in table.rows for column, cell in enumerate(row) if len(cell) > _LINE}
    return "even" if len(long) > 1 else "prose" if long else ""


def _code_parts(text: str) -> list[tuple[str, bool]]:
    """Split ``text`` at its backticks into parts, each with whether it is code."""
    return [(part, place % 2 == 1) for place, part in enumerate(text.split("`")) if part]
