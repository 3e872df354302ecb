"""The sections on what a student costs: bytes of its vectors, work of a search, time."""

from collections.abc import Iterable, Sequence

from leaf_st.evaluation.compression import compression_lines
from leaf_st.evaluation.display import OfSet
from leaf_st.evaluation.index import index_lines
from leaf_st.evaluation.latency_table import conditions, latency_lines
from leaf_st.export.export import export_lines
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
    command = commands.of_sets(measured, "compression", (row.set for row in rows))
    table = Table("compression", header, lines, left=0)
    return Section("compression", title, text, command, [figures.compression_figure(rows)], [table])


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
    command = commands.of_sets(measured, "index", (row.set for row in rows))
    table = Table("index", header, lines, left=1)
    return Section("index", title, text, command, figures.index_figures(rows), [table])


def latency(measured: Measured) -> Section:
    """Return the time that encoding takes, as the paper's Table 8."""
    title, rows = "Latency", measured.latency
    if not rows:
        return Section("latency", title, tables=_of_demo(measured), missing=[_missing(measured, "latency")])
    text = [
        "Texts encoded in turns by student and teacher (paper Table 8).",
        *(f"{line[0].upper()}{line[1:]}." for line in conditions(rows).splitlines()),
    ]
    table = latency_table(latency_lines(rows))
    return Section("latency", title, text, commands.of_latency(measured), figures.latency_figures(rows), [table])


def latency_table(lines: Sequence[Sequence[str]]) -> Table:
    """Return lines in the form of the paper's Table 8 as a table."""
    header, *body = lines
    # The columns of documents and those of queries one below the other: side by side they are wider than a page.
    shown = ["model", "backend", "texts", "per second", *header[3:6]]
    turned = [
        [*line[:2], side, *cells]
        for line in body
        for side, cells in (("documents", line[2:6]), ("queries", line[6:]))
        if any(cell != "-" for cell in cells)
    ]
    return Table("latency", shown, turned, left=3)


def exported(measured: Measured) -> Section:
    """Return size, likeness and speed of each file that holds the model."""
    title, rows = "Files", measured.exported
    if measured.recipe.student.static:
        return Section("files", title, ["A static student has no ONNX files: it is a table of token vectors."])
    if not rows:
        needs = "It needs onnx and onnxruntime: pip install 'leaf-st[onnx]'."
        return Section("files", title, missing=[Missing("There are no ONNX files.", commands.export(measured), needs)])
    header, *lines = export_lines(rows)
    text = [
        "Error: largest difference of a component to torch; cosine: mean to torch; nDCG@10 kept: of the same model in "
        f"float32. Medians of batches in turn, on {rows[0].processor} ({rows[0].threads} threads)."
    ]
    return Section("files", title, text, commands.of_export(measured), tables=[Table("files", header, lines, left=2)])


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
