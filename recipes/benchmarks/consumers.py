"""A published folder in the hands of others: do programs that know nothing of leaf_st read the same vectors from it?

Command:  make consumers  or  python recipes/benchmarks/consumers.py [FOLDER] [--texts FILE] [--work DIR]

Each consumer is a program of its own in `consumers/`, as its users would write it. It runs offline, in an environment
that is built once, in DIR, from pinned packages (three of them with torch: 4 GB where that is torch for the CPU, more
where it brings CUDA along), and its vectors are compared with those of sentence-transformers here, queries and
documents with their prompts. Exit code 1 where one fails or differs by more than `LARGEST_DIFFERENCE`.

Results: recipes/benchmarks/README.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leaf_st.errors import InputError
from leaf_st.evaluation.rows import aligned
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TextsSpec
from leaf_st.student.load import load_student
from leaf_st.texts.read import read_texts

LARGEST_DIFFERENCE = 1e-4  # of a coordinate, in float32
_EACH = 25  # texts of each kind
_GRAPH = Path("onnx") / "model.onnx"
_PROGRAMS = Path(__file__).resolve().with_suffix("")

_TORCH = ("torch==2.13.0", "numpy==2.4.6")
_NOW = (*_TORCH, "sentence-transformers==6.2.0", "transformers==5.23.0")
# Environments by name; what they hold of npm's packages is below.
_PIP = {
    "sentence-transformers": _NOW,
    "sentence-transformers-3": (*_TORCH, "sentence-transformers==3.4.1", "transformers==4.49.0"),
    "onnxruntime": ("onnxruntime==1.31.1", "tokenizers==0.23.3", "numpy==2.4.6"),
    "frameworks": (
        *_NOW,
        "langchain-huggingface==1.2.3",
        "langchain-core==1.7.0",
        "llama-index-embeddings-huggingface==0.8.0",
        "llama-index-core==0.14.25",
    ),
}
_NPM = {"node": ("@huggingface/transformers@4.3.1",)}


@dataclass(frozen=True)
class Consumer:
    """A program that turns texts into vectors.

    Attributes:
        name: In the table.
        program: File in `consumers/`.
        environment: What it runs in, of `_PIP` or `_NPM`.
        graph: Whether it reads the ONNX file.
    """

    name: str
    program: str
    environment: str
    graph: bool = False


CONSUMERS = (
    Consumer("sentence-transformers", "with_sentence_transformers.py", "sentence-transformers"),
    Consumer("sentence-transformers 3", "with_sentence_transformers_3.py", "sentence-transformers-3"),
    Consumer("onnxruntime without torch", "with_onnxruntime.py", "onnxruntime", graph=True),
    Consumer("transformers.js", "with_transformers_js.mjs", "node", graph=True),
    Consumer("transformers.js, pipeline", "with_transformers_js_pipeline.mjs", "node", graph=True),
    Consumer("LangChain", "with_langchain.py", "frameworks"),
    Consumer("LlamaIndex", "with_llama_index.py", "frameworks"),
)

Vectors = Mapping[Kind, NDArray[np.float32]]


class Skipped(Exception):
    """A consumer cannot run here: the message says what is missing."""


class Failed(Exception):
    """A consumer did not give its vectors, or gave others: the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What came of a consumer.

    Attributes:
        consumer: Its name.
        result: "ok", "failed" or "skipped".
        difference: Largest one to the reference; None without vectors.
        compared: Number of texts.
        versions: By package.
        reason: Why it is not ok.
    """

    consumer: str
    result: str
    difference: float | None = None
    compared: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def texts_of(source: str) -> dict[Kind, list[str]]:
    """Return queries and documents, the last of which no model reads to its end.

    Raises:
        InputError: If ``source``, which is as in `TextsSpec`, cannot be read or lacks one of them.
    """
    texts: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for row in read_texts(TextsSpec(source=source, limit=dict.fromkeys(KINDS, _EACH)), Counter()):
        texts[row.kind].append(" ".join(row.text.split()))  # LangChain takes newlines for spaces
    if missing := [kind for kind, of_kind in texts.items() if not of_kind]:
        raise InputError(
            f"{source}: expected queries and documents, found no {missing[0]}: name a BEIR folder, or a table with a "
            "column `kind`"
        )
    texts["document"].append(" ".join(100 * texts["document"])[:50_000])
    return texts


def reference(folder: Path, texts: Mapping[Kind, Sequence[str]]) -> Vectors:
    """Return the vectors of sentence-transformers in this process, of shape (n, d)."""
    model = load_student(str(folder)).to("cpu")
    encoders = {"query": model.encode_query, "document": model.encode_document}
    return {kind: encoders[kind](of_kind, convert_to_numpy=True) for kind, of_kind in texts.items()}


def largest_difference(expected: Vectors, found: Mapping[str, ArrayLike]) -> float:
    """Return the largest difference of a coordinate, as a share of the mean norm where vectors are longer than 1.

    Raises:
        Failed: If ``found`` has other shapes, or numbers that are not finite.
    """
    largest = 0.0
    for kind, wanted in expected.items():
        got = np.asarray(found[kind], dtype=np.float64)
        if got.shape != wanted.shape:
            raise Failed(f"expected vectors of shape {wanted.shape} for {kind}, found {got.shape}")
        if not np.isfinite(got).all():
            raise Failed(f"a vector of {kind} is not finite")
        scale = max(1.0, float(np.linalg.norm(wanted, axis=1).mean()))
        largest = max(largest, float(np.abs(got - wanted).max()) / scale)
    return largest


def judge(name: str, expected: Vectors, written: Mapping[str, object]) -> Outcome:
    """Return what to say of the vectors that a consumer has ``written``."""
    versions, compared = written["versions"], sum(map(len, expected.values()))
    try:
        difference = largest_difference(expected, written)
    except Failed as error:
        return Outcome(name, "failed", None, compared, versions, str(error))
    if difference <= LARGEST_DIFFERENCE:
        return Outcome(name, "ok", difference, compared, versions)
    reason = f"differs by {difference:.1e}, expected at most {LARGEST_DIFFERENCE:.0e}"
    return Outcome(name, "failed", difference, compared, versions, reason)


def consult(consumer: Consumer, folder: Path, texts: Path, expected: Vectors, work: Path) -> Outcome:
    """Run ``consumer`` on ``folder`` and the file ``texts``, in its environment in ``work``."""
    try:
        if consumer.graph and not (folder / _GRAPH).is_file():
            raise Skipped(f"{folder} has no {_GRAPH.as_posix()}: leaf-st export {folder}")
        runner = _environment(consumer.environment, work)
        with TemporaryDirectory(prefix="leaf-st-consumers-") as temporary:
            vectors = Path(temporary) / "vectors.json"
            _call([*runner, _PROGRAMS / consumer.program, folder, texts, vectors], work / consumer.environment)
            written = json.loads(vectors.read_text(encoding="utf-8"))
    except Skipped as error:
        return Outcome(consumer.name, "skipped", reason=str(error))
    except Failed as error:
        return Outcome(consumer.name, "failed", reason=str(error))
    return judge(consumer.name, expected, written)


def _environment(name: str, work: Path) -> list[str | Path]:
    """Build the environment ``name`` if it is not there as it should be, and return what runs a program in it."""
    folder = work / name
    packages = _NPM[name] if name in _NPM else _PIP[name]
    marker = folder / "installed.txt"
    there = marker.is_file() and marker.read_text(encoding="utf-8").split() == [*packages]
    if not there:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{folder}: installing {' '.join(packages)}", flush=True)
    runner = _with_npm(folder, packages, there) if name in _NPM else _with_pip(folder, packages, there)
    marker.write_text("\n".join(packages), encoding="utf-8")
    return runner


def _with_pip(folder: Path, packages: Sequence[str], there: bool) -> list[str | Path]:
    python = folder / "bin" / "python"
    if not there:
        venv.create(folder, with_pip=True, symlinks=True)
        _call([python, "-m", "pip", "install", "--quiet", "--no-compile", *packages], folder, offline=False)
    return [python, "-I"]  # neither PYTHONPATH nor the program's folder, so that it sees no more than the environment


def _with_npm(folder: Path, packages: Sequence[str], there: bool) -> list[str | Path]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        raise Skipped("node not found: install Node.js 20 or later")
    if not there:
        if npm is None:
            raise Skipped("npm not found: install it beside Node.js")
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        # What the scripts would fetch from elsewhere is for GPUs.
        _call([npm, "install", "--silent", "--ignore-scripts", *packages], folder, offline=False)
    return [node]


def _call(command: Sequence[str | Path], folder: Path, offline: bool = True) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if offline:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Failed(f"{Path(command[0]).name} ended with {done.returncode}: {said[-1] if said else 'it said nothing'}")


def format_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return ``outcomes`` as an aligned table, the reasons of what is not ok below it."""
    lines = [["consumer", "versions", "result", "texts", "difference"]]
    for row in outcomes:
        versions = ", ".join(f"{name} {version}" for name, version in row.versions.items()) or "-"
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        lines.append([row.consumer, versions, row.result, str(row.compared or "-"), difference])
    reasons = [f"{row.consumer}: {row.result}: {row.reason}" for row in outcomes if row.reason]
    return "\n".join([aligned(lines, left=3), *reasons])


def main() -> None:
    """Print a row for each consumer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("runs/leaf-mini/publish"),
        metavar="FOLDER",
        help="published folder or folder of a model (default: %(default)s)",
    )
    parser.add_argument(
        "--texts",
        default=DOCSTRINGS,
        metavar="FILE",
        help="BEIR folder or table with a column `kind` (default: documentation)",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/consumers"), metavar="DIR", help="environments (default: %(default)s)"
    )
    options = parser.parse_args()
    try:
        outcomes = _run(options.folder.resolve(), options.texts, options.work.resolve())
    except InputError as error:
        print(f"consumers: {error}", file=sys.stderr)
        sys.exit(2)
    print(format_outcomes(outcomes))
    sys.exit(any(row.result == "failed" for row in outcomes))


def _run(folder: Path, source: str, work: Path) -> list[Outcome]:
    if not (folder / "modules.json").is_file():
        raise InputError(f"{folder}: expected the folder of a model, found no modules.json: name another FOLDER")
    texts = texts_of(source)
    expected = reference(folder, texts)
    work.mkdir(parents=True, exist_ok=True)
    file = work / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    return [consult(consumer, folder, file, expected, work) for consumer in CONSUMERS]


if __name__ == "__main__":
    main()
