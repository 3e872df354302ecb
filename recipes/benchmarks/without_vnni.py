"""Compare quantized graphs on this processor and on an emulated one without VNNI, where products of bytes can saturate.

Command:  python recipes/benchmarks/without_vnni.py MODEL [--data FOLDER ...] [--cpu Haswell] [--work DIR]

MODEL is a folder with the files of `leaf-st export`. Its float32 graph is quantized in three ways: with signed weights
of eight bits, with signed weights of seven bits (as `leaf-st export` does), and with unsigned weights of eight bits.
onnxruntime encodes 24 queries in batches of eight with each graph here, and in `qemu-x86_64` (Debian: qemu-user) as a
processor with AVX2 and without AVX-512 and VNNI. The float32 graph shows what the emulation itself changes. This
processor needs VNNI, or both columns are of the same kind. nDCG@10 is measured here, on the BEIR folders of `--data`.

Result:   docs/compression.md has the table: eight signed bits saturate, seven bits and unsigned bytes do not.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _environments import Failed, Skipped, benchmark_parser, call, prepare
from tqdm import tqdm
from where_forms_run import PROGRAMS, distances, padded_batches

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.evaluation.measurements.export import mean_ndcg
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.forms import exported_files
from leaf_st.export.quantized import quantize, saturates
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.tables import aligned

NAMES = ("signed, 8 bits", "signed, 7 bits", "unsigned, 8 bits")
_QUERIES, _BATCH_SIZE = 24, 8


@dataclass(frozen=True)
class _Row:
    """A graph: what `with_onnxruntime.py` wrote on this processor and on the emulated one, and nDCG@10 of the sets."""

    name: str
    saturates: bool
    here: dict[str, Any]
    there: dict[str, Any]
    ndcg: float | None


def main() -> None:
    """Print a row for each kind of weights."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="model folder with onnx/model.onnx")
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help="BEIR folders to search")
    parser.add_argument("--cpu", default="Haswell", help="processor that qemu emulates (default: %(default)s)")
    options = parser.parse_args()
    try:
        print(_table(find_model(options.model), options.data, options.cpu, options.work.resolve()))
    except (InputError, Skipped, Failed) as error:
        print(f"without_vnni: {error}", file=sys.stderr)
        sys.exit(2)


def _table(folder: Path, data: list[Path], cpu: str, work: Path) -> str:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        raise InputError("qemu-x86_64 not found: install qemu-user")
    exported = exported_files(folder)
    source = exported.get("onnx packed") or exported.get("onnx")
    if source is None:
        raise InputError(f"{folder}: expected exported forms, found none: run `leaf-st export {folder}`")
    sets = [load_beir(path) for path in data]
    model = load_model(str(folder)).to("cpu")
    queries = latency_texts()["query"][:_QUERIES]
    parts = [queries[start : start + _BATCH_SIZE] for start in range(0, _QUERIES, _BATCH_SIZE)]
    with TemporaryDirectory() as temporary:
        batches = Path(temporary, "batches.json")
        batches.write_text(json.dumps(list(padded_batches(model, parts))), encoding="utf-8")
        rows = []
        for name, graph in tqdm(_graphs(source, Path(temporary)).items(), desc="encoding"):
            here = _run([], graph, 300, batches, work)
            there = _run([emulator, "-cpu", cpu], graph, 1, batches, work)
            ndcg = mean_ndcg(OnnxEncoder(graph, model), model=model, sets=sets) if sets else None
            rows.append(_Row(name, saturates(graph) is not None, here, there, ndcg))
    header = ["weights", "saturate", "L2, here", f"L2, {cpu}", "L2 between both", "ms, here", "nDCG@10 kept"]
    note = "L2: mean to float32 here; between both: largest; ms: a batch of eight queries, 1 thread"
    if sets:
        note += f"; nDCG@10 kept: here, mean of {', '.join(beir.name for beir in sets)}"
    return f"{aligned([header, *(_cells(row, rows[0]) for row in rows)])}\n{note}"


def _graphs(source: Path, folder: Path) -> dict[str, Path]:
    graphs = {name: folder / f"{number}.onnx" for number, name in enumerate(NAMES)}
    signed, seven, unsigned = graphs.values()
    quantize(source, signed, seven_bits=False)
    quantize(source, seven)
    quantize(source, unsigned, signed=False, seven_bits=False)
    return {"float32": source, **graphs}


def _run(emulator: list[str], graph: Path, turns: int, batches: Path, work: Path) -> dict[str, Any]:
    """Return what `with_onnxruntime.py` writes for ``batches``, after ``turns`` more runs of the first batch."""
    runner, vectors = prepare("onnxruntime", work), batches.with_name("vectors.json")
    command = [*emulator, *runner, PROGRAMS / "with_onnxruntime.py", graph, batches, vectors, str(turns)]
    call(command, work / "onnxruntime")
    read: dict[str, Any] = json.loads(vectors.read_text(encoding="utf-8"))
    return read


def _cells(row: _Row, exact: _Row) -> list[str]:
    here, there, reference = (np.array(run["vectors"], np.float32) for run in (row.here, row.there, exact.here))
    return [
        row.name,
        "yes" if row.saturates else "no",
        f"{distances(reference, here.tolist()).mean():.4f}",
        f"{distances(reference, there.tolist()).mean():.4f}",
        f"{distances(here, there.tolist()).max():.2g}",
        f"{row.here['milliseconds']:.2f}",
        f"{100 * row.ndcg / exact.ndcg:.1f}%" if row.ndcg is not None and exact.ndcg else "-",
    ]


if __name__ == "__main__":
    main()
