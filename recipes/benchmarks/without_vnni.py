"""Compare quantized graphs on this processor and on an emulated one without VNNI, where products of bytes can saturate.

Command:  python recipes/benchmarks/without_vnni.py MODEL [--cpu Haswell] [--work DIR]

MODEL is a folder with the files of `leaf-st export`. Its `model.onnx` is quantized in three ways: with signed weights
of eight bits, with signed weights of seven bits (as `leaf-st export` does), and with unsigned weights of eight bits.
onnxruntime encodes 24 queries in batches of eight with each graph here, and in `qemu-x86_64` (Debian: qemu-user) as a
processor with AVX2 and without AVX-512 and VNNI. The float32 graph shows what the emulation itself changes. This
processor needs VNNI, or both columns are of the same kind.

Result:   recipes/benchmarks/README.md has the table: eight signed bits saturate, seven bits and unsigned bytes do not.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _environments import Failed, Skipped, call, prepare
from numpy.typing import NDArray
from tqdm import tqdm
from where_forms_run import PROGRAMS, distances, padded_batches

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.export.forms import get_form
from leaf_st.export.quantized import quantize, saturates
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.tables import aligned

NAMES = ("signed, 8 bits", "signed, 7 bits", "unsigned, 8 bits")
_QUERIES, _BATCH_SIZE = 24, 8


def main() -> None:
    """Print a row for each kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="model folder with onnx/model.onnx")
    parser.add_argument("--cpu", default="Haswell", help="processor that qemu emulates (default: %(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path("build/consumers"), metavar="DIR", help="folder of the environment"
    )
    options = parser.parse_args()
    try:
        print(_table(find_model(options.model), options.cpu, options.work.resolve()))
    except (InputError, Skipped, Failed) as error:
        print(f"without_vnni: {error}", file=sys.stderr)
        sys.exit(2)


def _table(folder: Path, cpu: str, work: Path) -> str:
    emulator, source = shutil.which("qemu-x86_64"), folder / get_form("onnx").file
    if emulator is None:
        raise InputError("qemu-x86_64 not found: install qemu-user")
    if not source.is_file():
        raise InputError(f"{source}: expected a graph, found none: run `leaf-st export {folder}`")
    model = load_model(str(folder)).to("cpu")
    queries = latency_texts()["query"][:_QUERIES]
    parts = [queries[start : start + _BATCH_SIZE] for start in range(0, _QUERIES, _BATCH_SIZE)]
    lines = [["weights", "saturate", "L2, here", f"L2, {cpu}", "L2 between both", "ms, here"]]
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        batches = scratch / "batches.json"
        batches.write_text(json.dumps(list(padded_batches(model, parts))), encoding="utf-8")
        found = {}
        for name, graph in tqdm(_graphs(source, scratch).items(), desc="encoding"):
            here = _run([], graph, 300, batches, work)
            found[name] = (graph, here, _run([emulator, "-cpu", cpu], graph, 1, batches, work))
        exact = np.array(found["float32"][1]["vectors"], np.float32)
        lines += [_line(name, *row, exact) for name, row in found.items()]
    mean = "L2: mean to float32 here; between both: largest; ms: a batch of eight queries, 1 thread"
    return f"{aligned(lines)}\n{mean}"


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


def _line(name: str, graph: Path, here: dict[str, Any], there: dict[str, Any], exact: NDArray[np.float32]) -> list[str]:
    at_home = np.array(here["vectors"], np.float32)
    return [
        name,
        "yes" if saturates(graph) else "no",
        f"{distances(exact, here['vectors']).mean():.4f}",
        f"{distances(exact, there['vectors']).mean():.4f}",
        f"{distances(at_home, there['vectors']).max():.2g}",
        f"{here['milliseconds']:.2f}",
    ]


if __name__ == "__main__":
    main()
