"""The measurement ``export``: the exported forms of a student: size, parity with torch, nDCG@10 kept, and speed."""

import argparse
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.export_sets import SAMPLED, sample_error, sets_to_search
from leaf_st.evaluation.measurements.latency import texts_words
from leaf_st.evaluation.measurements.latency_rows import LatencyRow
from leaf_st.evaluation.measurements.measurement import (
    MODEL_HELP,
    Argument,
    Measurement,
    Section,
    Table,
    data_argument,
)
from leaf_st.evaluation.measurements.over_sets import recorded_recipe
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TextsSpec
from leaf_st.run_folder import FIT
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tqdm import tqdm

    from leaf_st.evaluation.beir import BeirSet
    from leaf_st.export.encoder import FormEncoder
    from leaf_st.export.export import ExportedForm
    from leaf_st.export.parity import TextsByKind

_BATCH_SIZES = (1, 16)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportRow:
    """A form of a model on this machine.

    Attributes:
        backend: "torch float32", "torch bfloat16", or the name of an export form.
        file: The file in the folder of the model.
        megabytes: The size of the file, in units of 1e6 bytes.
        error: Largest difference to torch in float32, see `Parity`; None for torch.
        cosine: Mean cosine to torch in float32; None for torch.
        kept: nDCG@10 in percent of the nDCG@10 in float32; None if it was not measured.
        rates: Texts per second by kind and batch size, such as "query 1".
        processor: The name of the processor.
        threads: The number of threads.
        texts: The source of the texts; None if unknown.
        sets: The names of the sets that were searched.
        sampled: Whether only a sample of the sets was searched.
    """

    backend: str
    file: str
    megabytes: float
    error: float | None
    cosine: float | None
    kept: float | None
    rates: Mapping[str, float]
    processor: str
    threads: int
    texts: str | None = None
    sets: Sequence[str] = ()
    sampled: bool = False


def measure_export(
    model: "SentenceTransformer",
    folder: Path,
    texts: "TextsByKind",
    sets: "Sequence[BeirSet]" = (),
    ndcg_error: float = 0.0,
) -> tuple[list[ExportRow], list[str]]:
    """Export ``model`` to its folder, see `export_model`, then time torch and each form.

    Args:
        model: A model in float32.
        folder: The folder of the model.
        texts: Queries and documents to compare vectors on and to time.
        sets: Retrieval sets for the nDCG@10 of the quantized forms.
        ndcg_error: How far nDCG@10 on ``sets`` may be wrong, see `Ndcg`.

    Returns:
        A row for torch and for each form that was kept, and the problem of each form that was not kept.

    Raises:
        InputError: If the model cannot be exported, or the texts or sets cannot be used.
    """
    from leaf_st.evaluation.timing import require_batches, require_numbers
    from leaf_st.export.export import Ndcg, check_exportable, export_model

    check_exportable(model)
    model = model.to("cpu").eval()
    require_batches(texts, _BATCH_SIZES)
    require_numbers(model, texts)
    ndcg = Ndcg(partial(mean_ndcg, model=model, sets=sets), ndcg_error) if sets else None
    forms = export_model(model, folder, texts, ndcg=ndcg)
    rows = _rows(model, folder, texts, {each.form.name: each for each in forms})
    return rows, [each.problem for each in forms if each.problem is not None]


def mean_ndcg(form: "FormEncoder", *, model: "SentenceTransformer", sets: "Sequence[BeirSet]") -> float:
    """Return nDCG@10 of ``form``, the mean over ``sets``."""
    from tqdm import tqdm

    total = sum(len(beir.queries) + len(beir.corpus) for beir in sets)
    with tqdm(desc="searching", unit=" texts", total=total) as bar:
        return statistics.fmean(_ndcg(form, model, beir, bar) for beir in sets)


def _ndcg(encoder: "FormEncoder", model: "SentenceTransformer", beir: "BeirSet", bar: "tqdm[None]") -> float:
    from leaf_st.evaluation.beir import document_text
    from leaf_st.evaluation.ranking import exact_ndcg
    from leaf_st.export.parity import BATCH_SIZE

    queries = encoder.encode("query", [row["text"] for row in beir.queries], BATCH_SIZE, bar)
    documents = encoder.encode("document", [document_text(row) for row in beir.corpus], BATCH_SIZE, bar)
    return exact_ndcg(beir, queries, documents, model)


def _rows(
    model: "SentenceTransformer", folder: Path, texts: "TextsByKind", forms: "Mapping[str, ExportedForm]"
) -> list[ExportRow]:
    from leaf_st.evaluation.timing import Candidate, measure_latency
    from leaf_st.export.forms import exported_files

    files = exported_files(folder)
    candidate = Candidate(str(folder), model, str(folder), files)
    times: dict[str, list[LatencyRow]] = {}
    for row in measure_latency([candidate], texts, _BATCH_SIZES):
        times.setdefault(row.backend, []).append(row)
    axes = folder / FIT  # of the teacher
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors") if path != axes)
    rows = []
    for backend, timed in times.items():
        file, form = files.get(backend), forms.get(backend)  # None for torch
        rows.append(
            ExportRow(
                backend=backend,
                file=file.relative_to(folder).as_posix() if file else "model.safetensors",
                megabytes=(file.stat().st_size if file else weights) / 1e6,
                error=form.parity.error if form else None,
                cosine=form.parity.cosine if form else None,
                kept=form.ndcg_kept if form else None,
                rates={f"{row.side} {row.batch_size}": rate(row) for row in timed},
                processor=timed[0].processor,
                threads=timed[0].threads,
            )
        )
    return rows


def rate(row: LatencyRow) -> float:
    """Return texts per second, from the median of the batches."""
    return row.batch_size / statistics.median(row.seconds)


def format_export(rows: Sequence[ExportRow]) -> str:
    """Return `export_lines` as an aligned table, and the limits that the forms were checked against."""
    lines = aligned(export_lines(rows), left=2)
    times = f"medians; the backends were timed alternately, on {rows[0].processor} ({rows[0].threads} threads)"
    return f"{lines}\n{times}\nlimits: {_limits(rows[0])}"


def _limits(row: ExportRow) -> str:
    """Return which limits were checked, and which limit was not."""
    from leaf_st.export.forms import APPROXIMATE, EXACT

    checked = f"float32, error {EXACT.max_error:.0e}; quantized, cosine {APPROXIMATE.min_cosine}"
    if not row.sets:
        return f"{checked}; nDCG@10 was not checked, because no set was searched"
    assert APPROXIMATE.min_ndcg_kept is not None
    least = APPROXIMATE.min_ndcg_kept - sample_error(row.sampled)
    return f"{checked} and {least:g}% of nDCG@10 on {'a sample of ' * row.sampled}{', '.join(row.sets)}"


def export_lines(rows: Sequence[ExportRow]) -> list[list[str]]:
    """Return ``rows`` as cells, below a header."""
    columns: list[tuple[Kind, int]] = [(kind, size) for kind in KINDS for size in _BATCH_SIZES]
    names = {"query": "queries", "document": "docs"}
    lines = [["backend", "file", "MB", "error", "cosine", "nDCG@10 kept"]]
    lines[0] += [f"{names[kind]}/s by {size}" for kind, size in columns]
    for row in rows:
        cells = [_cell(row.error, "{:.0e}"), _cell(row.cosine, "{:.4f}"), _cell(row.kept, "{:.1f}%")]
        rates = [f"{row.rates[f'{kind} {size}']:,.0f}" for kind, size in columns]
        lines.append([row.backend, row.file, f"{row.megabytes:.1f}", *cells, *rates])
    return lines


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _before_pull(name: str) -> None:
    from leaf_st.export.export import check_before_pull

    check_before_pull(name)


def _measure(options: argparse.Namespace) -> list[ExportRow]:
    from leaf_st.evaluation.measurements.candidates import latency_texts
    from leaf_st.export.export import check_exportable, require_own_files
    from leaf_st.models.find import find_model
    from leaf_st.models.identity import identify
    from leaf_st.models.load import load_model

    student = load_model(options.model)
    check_exportable(student)
    folder = find_model(options.model)
    require_own_files(folder)
    models: Models = {"student": (identify(student), student)}
    require_same_sizes(options.output, models)
    spec = _texts_of(options.model, options.texts)
    texts = latency_texts(spec, "--texts" if options.texts else None)
    sets = sets_to_search(options.model, options.data)
    names, sampled = [beir.name for beir in sets], bool(sets) and not options.data
    made, problems = measure_export(student, folder, texts, sets, sample_error(sampled))
    rows = [replace(row, texts=spec.source, sets=names, sampled=sampled) for row in made]
    path = options.output / EXPORT.file
    write_rows(path, rows)
    write_sizes(options.output, models)
    if problems:
        _logger.info("%s", f"{format_export(rows)}\nsaved in {path}")
        raise InputError(f"not written: {'; '.join(problems)}: use torch or another form")
    return rows


def _texts_of(model: str, named: str | None) -> TextsSpec:
    """Return the texts ``named``; by default the texts of the model's recipe, or documentation strings."""
    from leaf_st.evaluation.measurements.candidates import latency_texts
    from leaf_st.evaluation.timing import require_batches

    recipe = recorded_recipe(model)
    spec = TextsSpec(source=named or DOCSTRINGS)
    if named is None and recipe is not None and Path(recipe.texts.source).exists():
        try:
            require_batches(latency_texts(recipe.texts), _BATCH_SIZES)
            spec = recipe.texts
        except InputError as error:  # texts of one kind, for example, or few queries
            _logger.info("documentation strings are used: %s", error)
    _logger.info("texts of %s", spec.source)
    return spec


def _section(rows: Sequence[ExportRow]) -> Section:
    header, *lines = export_lines(rows)
    text = (
        "Error: largest difference of a coordinate to torch. Cosine: mean cosine to torch. nDCG@10 kept: the share of "
        f"the nDCG@10 in float32. Limits: {_limits(rows[0])}. Speeds are medians of batches, encoded alternately, "
        f"on {rows[0].processor} ({rows[0].threads} threads)."
    )
    return Section([text], tables=[Table("files", header, lines, left=2)])


def _words(rows: Sequence[ExportRow]) -> list[str]:
    data = ["--data", *rows[0].sets] if rows[0].sets and not rows[0].sampled else []
    return [*texts_words(rows[0].texts), *data]


EXPORT = Measurement(
    name="export",
    row=ExportRow,
    title="Files",
    help="export to ONNX, check against torch, benchmark",
    command=("export",),
    arguments=(
        Argument(
            "model",
            {"metavar": "MODEL", "help": f"{MODEL_HELP}; a model name is first pulled into a folder with its name"},
        ),
        Argument(
            "--texts",
            {
                "metavar": "FILE",
                "help": "queries and documents to compare and to time: BEIR folder, or table with a column `kind` "
                "(default: the texts of the recipe, or documentation strings)",
            },
        ),
        data_argument(
            default=f"a sample of {SAMPLED:,} documents of the recipe's sets that exist, else of the demo's search "
            "set, else of the held-out texts of the run"
        ),
    ),
    measure=_measure,
    table=format_export,
    section=_section,
    words=_words,
    needs="The export needs onnx and onnxruntime: pip install 'leaf-st[onnx]'. A static student has no ONNX files.",
    before_pull=_before_pull,
)
