"""The exported forms of a model on this machine: size, parity with torch, nDCG@10 kept, and speed."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.beir import BeirSet, load_beir
from leaf_st.evaluation.latency import Candidate, LatencyRow, measure_latency, require_batches, require_numbers
from leaf_st.evaluation.ranking import document_text, exact_ndcg
from leaf_st.evaluation.rows import aligned
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.export import ExportedForm, check_exportable, export_model
from leaf_st.export.forms import exported_files
from leaf_st.export.parity import BATCH_SIZE, Texts
from leaf_st.recipe import KINDS, Kind

BATCH_SIZES = (1, 16)
_NOT_SEARCHED = "nDCG@10 of int8 was not measured: no BEIR folder is available, name one with --data"

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


def measure_export(
    model: SentenceTransformer, folder: Path, texts: Texts, sets: Sequence[Path] = ()
) -> tuple[list[ExportRow], list[str]]:
    """Export ``model`` to its folder, see `export_model`, then time torch and each form.

    Args:
        model: A model in float32.
        folder: The folder of the model.
        texts: Queries and documents to compare vectors on and to time.
        sets: BEIR folders for the nDCG@10 of int8.

    Returns:
        A row for torch and for each form that was kept, and the problem of each form that was not kept.

    Raises:
        InputError: If the model cannot be exported, or the texts or sets cannot be used.
    """
    check_exportable(model)
    model = model.to("cpu").eval()
    require_batches(texts, BATCH_SIZES)
    require_numbers(model, texts)
    _logger.info("%s", f"searched: {', '.join(each.name for each in sets)}" if sets else _NOT_SEARCHED)
    forms = export_model(model, folder, texts, ndcg_kept=partial(ndcg_kept, model=model, sets=sets) if sets else None)
    rows = _rows(model, folder, texts, {each.form.name: each for each in forms})
    return rows, [each.problem for each in forms if each.problem is not None]


def ndcg_kept(form: OnnxEncoder, reference: OnnxEncoder, *, model: SentenceTransformer, sets: Sequence[Path]) -> float:
    """Return nDCG@10 of ``form`` in percent of nDCG@10 of ``reference``, each the mean over BEIR folders."""
    loaded = [load_beir(folder) for folder in sets]
    of_form, of_reference = (
        statistics.fmean(_ndcg(encoder, model, beir) for beir in loaded) for encoder in (form, reference)
    )
    return 100 * of_form / of_reference if of_reference else 100.0


def _ndcg(encoder: OnnxEncoder, model: SentenceTransformer, beir: BeirSet) -> float:
    queries = encoder.encode("query", [row["text"] for row in beir.queries], BATCH_SIZE)
    documents = encoder.encode("document", [document_text(row) for row in beir.corpus], BATCH_SIZE)
    return exact_ndcg(beir, queries, documents, model)


def _rows(model: SentenceTransformer, folder: Path, texts: Texts, forms: Mapping[str, ExportedForm]) -> list[ExportRow]:
    files = exported_files(folder)
    candidate = Candidate(str(folder), model, str(folder), files)
    times: dict[str, list[LatencyRow]] = {}
    for row in measure_latency([candidate], texts, BATCH_SIZES):
        times.setdefault(row.backend, []).append(row)
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
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
    """Return `export_lines` as an aligned table."""
    lines = aligned(export_lines(rows), left=2)
    return f"{lines}\nmedians of batches in turn, on {rows[0].processor} ({rows[0].threads} threads)"


def export_lines(rows: Sequence[ExportRow]) -> list[list[str]]:
    """Return ``rows`` as cells, below a header."""
    columns: list[tuple[Kind, int]] = [(kind, size) for kind in KINDS for size in BATCH_SIZES]
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
