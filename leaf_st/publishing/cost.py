"""The sections on what a student costs: bytes of its vectors, work of a search, time."""

from collections.abc import Iterable

from leaf_st.evaluation.compression import compression_lines
from leaf_st.evaluation.display import OfSet
from leaf_st.evaluation.index import index_lines
from leaf_st.evaluation.latency_table import conditions, latency_lines
from leaf_st.publishing import commands, figures
from leaf_st.publishing.measured import Measured
from leaf_st.publishing.section import Missing, Section
from leaf_st.publishing.table import Table

_UNMEASURED = "This was not measured."


def compression(measured: Measured) -> Section:
    """Return nDCG@10 in fewer bytes."""
    title, rows = "Compression", measured.compression
    if not rows:
        return Section("compression", title, missing=[_missing(measured, "compression")])
    header, *lines = compression_lines(rows)
    text = [
        f"nDCG@10 in percent, {_sets(rows)}, when stored vectors keep their first dimensions alone and each "
        "is stored in 32, 8 or 1 bits. Kept: of the mode's own score with all dimensions in float32."
    ]
    return Section(
        "compression",
        title,
        text,
        [figures.compression_figure(rows)],
        [Table("compression", header, lines, left=0)],
    )


def index(measured: Measured) -> Section:
    """Return search in an index of the teacher's documents."""
    title, rows = "Search in an index", measured.index
    if not rows:
        missing = _missing(measured, "index", "It needs usearch: pip install 'leaf-st[index]'.")
        return Section("index", title, missing=[missing])
    header, *lines = index_lines(rows)
    text = [
        f"The teacher's documents in an HNSW index, {_sets(rows)}, searched with the teacher's queries and with the "
        "student's. Expansion: candidates that a search keeps; comparisons: documents that a query was compared with."
    ]
    return Section("index", title, text, figures.index_figures(rows), [Table("index", header, lines, left=1)])


def latency(measured: Measured) -> Section:
    """Return the time that encoding takes, as the paper's Table 8."""
    title, rows = "Latency", measured.latency
    if not rows:
        return Section("latency", title, tables=_of_demo(measured), missing=[_missing(measured, "latency")])
    header, *lines = latency_lines(rows)
    # The columns of documents and those of queries one below the other: side by side they are wider than a page.
    shown = ["model", "backend", "texts", "per second", *header[3:6]]
    turned = [
        [*line[:2], side, *cells]
        for line in lines
        for side, cells in (("documents", line[2:6]), ("queries", line[6:]))
        if any(cell != "-" for cell in cells)
    ]
    text = [
        "Texts encoded in turns by student and teacher (paper Table 8).",
        *(f"{line}." for line in conditions(rows).splitlines()),
    ]
    return Section("latency", title, text, figures.latency_figures(rows), [Table("latency", shown, turned, left=3)])


def _of_demo(measured: Measured) -> list[Table]:
    lines = [
        [side, f"{rates.teacher:,.1f}", f"{rates.student:,.1f}", f"{rates.student / rates.teacher:.2f}x"]
        for side, rates in measured.speed.items()
    ]
    return [Table("speed", ["encoded per second", "teacher", "student", "speed-up"], lines)] if lines else []


def _missing(measured: Measured, what: str, note: str = "") -> Missing:
    return Missing(_UNMEASURED, commands.measure(measured, what), note)


def _sets(rows: Iterable[OfSet]) -> str:
    names = list(dict.fromkeys(row.set for row in rows))
    return f"mean of {', '.join(names)}" if len(names) > 1 else f"on {names[0]}"
