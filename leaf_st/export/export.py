"""A model's ONNX files: made, compared with torch, put beside the model if they are alike, and timed.

Whatever each form gains or loses on this machine is in the rows. A form that is not near enough to the model never
comes into its folder, nor does an older one stay there.
"""

import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.evaluation.latency import (
    Backend,
    Candidate,
    LatencyRow,
    measure_latency,
    require_batches,
    require_numbers,
)
from leaf_st.evaluation.rows import aligned
from leaf_st.export.encoder import GRAPHS, GraphKind, OnnxEncoder
from leaf_st.export.int8 import save_int8
from leaf_st.export.onnx import whole_graph
from leaf_st.export.packed import can_be_packed, packed_graph
from leaf_st.export.parity import LARGEST_ERROR, LEAST_COSINE, LEAST_KEPT, Parity, Texts, kept, parity
from leaf_st.recipe import KINDS, Kind
from leaf_st.student.static import is_static

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_COMPARED = 500  # texts of each side
BATCH_SIZES = (1, 16)
_UNSEARCHED = "what int8 keeps of nDCG@10 was not looked at: no BEIR folder is here, name one with --data"


@dataclass(frozen=True)
class ExportRow:
    """A form of a model on this machine.

    Attributes:
        backend: What runs it.
        file: In the folder of the model.
        megabytes: Of the file: 1e6 bytes.
        error: Largest difference to torch in float32, see `Parity`; None for torch.
        cosine: Mean cosine to torch in float32; None for torch.
        kept: nDCG@10 in percent of that in float32; None where no set was searched.
        rates: Texts per second by side and batch size, such as "query 1".
        processor: Where.
        threads: On so many.
        texts: What the texts are from; None if not known.
        sets: Names of the sets that were searched.
    """

    backend: Backend
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


def check_exportable(model: SentenceTransformer) -> None:
    """Look for what `export` needs.

    Raises:
        InputError: If a package is not installed, or the model is a table.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"export needs {' and '.join(missing)}: pip install 'leaf-st[onnx]'")
    if is_static(model):
        raise InputError(
            "a static student has nothing to export: it is a table of token vectors, which safetensors and NumPy read"
        )


def export(
    model: SentenceTransformer, folder: Path, texts: Texts, sets: Sequence[Path] = ()
) -> tuple[list[ExportRow], list[str]]:
    """Write the graphs of ``model`` into its folder: float32, float32 packed if its architecture is known, and int8.

    Args:
        model: In float32.
        folder: Where it is.
        texts: Texts of each side, to compare and to time.
        sets: BEIR folders, to search with int8.

    Returns:
        A row for torch and each file that was written, and what is wrong with each that was not.

    Raises:
        InputError: If the model cannot be exported, or texts or sets cannot be used.
    """
    check_exportable(model)
    model = model.to("cpu").eval()
    require_batches(texts, BATCH_SIZES)
    require_numbers(model, texts)
    compared = {side: of_side[:_COMPARED] for side, of_side in texts.items()}
    with _scratch(folder) as scratch:
        graphs = _make(model, scratch)
        encoders = {kind: OnnxEncoder(path, model) for kind, path in graphs.items()}
        sizes = " and ".join(f"{len(of_side)} texts of kind {side}" for side, of_side in compared.items())
        print(f"{len(graphs)} graphs made; compared with torch on {sizes}", flush=True)
        found = {kind: parity(encode, model, compared) for kind, encode in encoders.items()}
        what = f"searched: {', '.join(folder.name for folder in sets)}" if sets else _UNSEARCHED
        print(what, flush=True)
        # The packed graph is the fastest in float32, and the last one before int8.
        of_sets = kept(encoders["onnx int8"], list(encoders.values())[-2], model, sets)
        wrong = dict(_wrong(found, of_sets))
        _keep({kind: path for kind, path in graphs.items() if kind not in wrong}, folder)
    rows = _rows(model, folder, texts, found, of_sets)
    return rows, list(wrong.values())


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a folder beside the files to be, so that they can be renamed; what a kill left of another one goes."""
    scratch = folder / ".onnx.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _make(model: SentenceTransformer, folder: Path) -> dict[GraphKind, Path]:
    import onnx

    made: dict[GraphKind, Path] = {kind: folder / path.name for kind, path in GRAPHS.items()}
    graph = whole_graph(model)
    onnx.save(graph, made["onnx"])
    if can_be_packed(model):
        graph = packed_graph(model)
        onnx.save(graph, made["onnx packed"])
    else:
        del made["onnx packed"]
    save_int8(graph, made["onnx int8"])
    return made


def _wrong(found: Mapping[GraphKind, Parity], of_sets: float | None) -> Iterator[tuple[GraphKind, str]]:
    for kind, of in found.items():
        name = GRAPHS[kind].name
        if kind != "onnx int8" and not of.error <= LARGEST_ERROR:
            yield kind, f"{name} differs by {of.error:.1e} from torch, expected at most {LARGEST_ERROR:.0e}"
        elif kind == "onnx int8" and not of.cosine >= LEAST_COSINE:
            yield kind, f"{name} has a mean cosine of {of.cosine:.4f} to float32, expected at least {LEAST_COSINE}"
        elif kind == "onnx int8" and of_sets is not None and not of_sets >= LEAST_KEPT:
            yield kind, f"{name} keeps {of_sets:.1f} % of the nDCG@10 of float32, expected at least {LEAST_KEPT} %"


def _keep(graphs: Mapping[GraphKind, Path], folder: Path) -> None:
    """Rename ``graphs`` to their places in ``folder``, and remove what stood in the places of others."""
    for kind, path in GRAPHS.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        if kind in graphs:
            write_whole(target, partial(_rename, graphs[kind]))
        else:
            target.unlink(missing_ok=True)


def _rename(made: Path, temporary: Path) -> None:
    made.replace(temporary)


def _rows(
    model: SentenceTransformer, folder: Path, texts: Texts, found: Mapping[GraphKind, Parity], of_sets: float | None
) -> list[ExportRow]:
    graphs = {kind: folder / path for kind, path in GRAPHS.items() if (folder / path).is_file()}
    candidate = Candidate(str(folder), model, str(folder), graphs)
    times: dict[Backend, list[LatencyRow]] = {}
    for row in measure_latency([candidate], texts, BATCH_SIZES):
        times.setdefault(row.backend, []).append(row)
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    rows = []
    for backend, of_backend in times.items():
        kind = cast(GraphKind, backend)  # or torch's, which has none of what is looked up
        graph, of = graphs.get(kind), found.get(kind)
        rows.append(
            ExportRow(
                backend=backend,
                file=graph.relative_to(folder).as_posix() if graph else "model.safetensors",
                megabytes=(graph.stat().st_size if graph else weights) / 1e6,
                error=of.error if of else None,
                cosine=of.cosine if of else None,
                kept=of_sets if backend == "onnx int8" else None,
                rates={f"{row.side} {row.batch_size}": rate(row) for row in of_backend},
                processor=of_backend[0].processor,
                threads=of_backend[0].threads,
            )
        )
    return rows


def rate(row: LatencyRow) -> float:
    """Return texts per second, by the median of the batches."""
    return row.batch_size / statistics.median(row.seconds)


def format_export(rows: Sequence[ExportRow]) -> str:
    """Return `export_lines` as an aligned table."""
    lines = aligned(export_lines(rows), left=2)
    return f"{lines}\nmedians of batches in turn, on {rows[0].processor} ({rows[0].threads} threads)"


def export_lines(rows: Sequence[ExportRow]) -> list[list[str]]:
    """Return ``rows`` as cells, below a header."""
    columns: list[tuple[Kind, int]] = [(side, size) for side in KINDS for size in BATCH_SIZES]
    names = {"query": "queries", "document": "docs"}
    lines = [["backend", "file", "MB", "error", "cosine", "nDCG@10 kept"]]
    lines[0] += [f"{names[side]}/s by {size}" for side, size in columns]
    for row in rows:
        cells = [_cell(row.error, "{:.0e}"), _cell(row.cosine, "{:.4f}"), _cell(row.kept, "{:.1f}%")]
        rates = [f"{row.rates[f'{side} {size}']:,.0f}" for side, size in columns]
        lines.append([row.backend, row.file, f"{row.megabytes:.1f}", *cells, *rates])
    return lines


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
