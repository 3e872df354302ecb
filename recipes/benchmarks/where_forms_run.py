"""Run each exported form in each runtime, and compare the vectors and the time of a query.

Command:  python recipes/benchmarks/where_forms_run.py MODEL [--work DIR]

MODEL is a folder with the files of `leaf-st export`. Each form runs in each runtime in a process of its own, by a
program in `runtimes/`, in an environment of pinned packages that is built once in DIR (0.9 GB). A cell of the table has
the median time of a query of nine tokens on one thread and the largest L2 distance to the vectors of torch in float32,
over the query and a padded batch. Builds of onnxruntime for phones cannot run here: the column "ORT format" shows
whether the graph can be converted to the format that all these builds read, and whether onnxruntime runs the result.

Result:   docs/compression.md has the table: the quantized graph runs everywhere; OpenVINO crashes on a batch
          in the packed graphs, or returns NaN.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _environments import Failed, Skipped, benchmark_parser, run_in
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.timing import processor_name
from leaf_st.export.forms import exported_files
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.tables import aligned

PROGRAMS = Path(__file__).resolve().with_name("runtimes")
_QUERY = "what is the capital of france?"  # nine tokens of BERT
_BATCH = (
    "leaf",
    "How is a small model trained to give the vectors of a large one?",
    "The student learns the teacher's vectors, so that documents stay embedded by the teacher.",
    "Größe, naïve café, 東京 and Москва",
    "a text that goes on and on, " * 20,
)


@dataclass(frozen=True)
class Runtime:
    """A library that runs graphs: its name, its program in `runtimes/`, and its environment in `_environments.py`."""

    name: str
    program: str
    environment: str


RUNTIMES = (
    Runtime("onnxruntime", "with_onnxruntime.py", "onnxruntime"),
    Runtime("onnxruntime-web", "with_onnxruntime_web.mjs", "web"),
    Runtime("transformers.js", "with_transformers_js.mjs", "node"),
    Runtime("ORT format", "with_ort_format.py", "ort-format"),
    Runtime("OpenVINO", "with_openvino.py", "openvino"),
)


def main() -> None:
    """Print a row for each form."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="model folder with exported files")
    options = parser.parse_args()
    try:
        folder = find_model(options.model).resolve()
        graphs = exported_files(folder)
        if not graphs:
            raise InputError(f"{folder}: expected exported forms, found none: run `leaf-st export {options.model}`")
        print(_table(folder, graphs, options.work.resolve()))
    except InputError as error:
        print(f"where_forms_run: {error}", file=sys.stderr)
        sys.exit(2)


def _table(folder: Path, graphs: Mapping[str, Path], work: Path) -> str:
    model = load_model(str(folder)).to("cpu")
    texts = [_QUERY, *_BATCH]
    expected = model.encode(texts, prompt="", convert_to_numpy=True, show_progress_bar=False)
    versions: dict[str, str] = {}
    rows = []
    with TemporaryDirectory() as temporary, tqdm(desc="running", total=len(graphs) * len(RUNTIMES)) as bar:
        batches = Path(temporary) / "batches.json"
        batches.write_text(json.dumps(list(padded_batches(model, [[_QUERY], _BATCH]))), encoding="utf-8")
        for name, graph in graphs.items():
            cells = []
            for runtime in RUNTIMES:
                cells.append(_cell(runtime, graph, batches, work, expected, versions))
                bar.update()
            rows.append([name, graph.name, *cells])
    header = ["form", "file", *(runtime.name for runtime in RUNTIMES)]
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    processor = processor_name(torch.device("cpu"))
    tokens = len(copy_tokenizer(model).encode(_QUERY).ids)
    return f"{aligned([header, *rows], left=7)}\none query of {tokens} tokens, 1 thread; {known}; {processor}"


def padded_batches(
    model: SentenceTransformer, batches: Iterable[Sequence[str]]
) -> Iterator[dict[str, list[list[int]]]]:
    """Yield the inputs of each batch of texts."""
    tokenizer = copy_tokenizer(model)
    tokenizer.enable_padding(pad_id=model.tokenizer.pad_token_id, pad_token=model.tokenizer.pad_token)
    for texts in batches:
        encoded = tokenizer.encode_batch(list(texts))
        yield {
            "input_ids": [text.ids for text in encoded],
            "attention_mask": [text.attention_mask for text in encoded],
        }


def _cell(
    runtime: Runtime,
    graph: Path,
    batches: Path,
    work: Path,
    expected: NDArray[np.float32],
    versions: dict[str, str],
) -> str:
    try:
        found = _run(runtime, graph, batches, work)
    except Skipped as error:
        return f"skipped: {error}"
    except Failed as error:
        return _shortened(str(error))
    versions |= found["versions"]
    distance = distances(expected, found["vectors"]).max()
    return f"{found['milliseconds']:.2f} ms, L2 {distance:.2g}" if np.isfinite(distance) else "wrong vectors"


def _run(runtime: Runtime, graph: Path, batches: Path, work: Path) -> dict[str, Any]:
    vectors = batches.with_name("vectors.json")
    run_in(runtime.environment, work, PROGRAMS / runtime.program, graph, batches, vectors)
    read: dict[str, Any] = json.loads(vectors.read_text(encoding="utf-8"))
    return read


def distances(expected: NDArray[np.float32], found: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the L2 distance of each vector to the expected vector, both (n, d); infinite for another shape or NaN."""
    got = np.asarray(found, dtype=np.float64)
    if got.shape != expected.shape or not np.isfinite(got).all():
        return np.full(len(expected), np.inf)
    return np.asarray(np.linalg.norm(got - expected, axis=1))


def _shortened(reason: str) -> str:
    """Return the reason of a failure in few words; a process that a signal ended has crashed."""
    if "exited with -" in reason:
        return "crashes"
    return "fails: " + (reason if len(reason) <= 60 else f"{reason[:57]}...")


if __name__ == "__main__":
    main()
