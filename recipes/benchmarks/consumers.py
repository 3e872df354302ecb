"""Check that programs without leaf_st compute the same vectors from a published folder.

Command:  make consumers  or  python recipes/benchmarks/consumers.py [FOLDER] [--texts FILE] [--work DIR]

Each consumer is a program in `consumers/`, as users of its library would write it. The program runs offline, in an
environment of pinned packages that is built once in DIR (five environments contain torch: 8 GB with torch for the
CPU, more with CUDA). The vectors of queries and documents, with prompts, are compared with the vectors of
sentence-transformers in this process. Exit code 1: a consumer failed, or differs by more than `LARGEST_DIFFERENCE`.

Result:   All nine consumers agree within 1.8e-7; recipes/benchmarks/README.md has the table.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _environments import Failed, Skipped, benchmark_parser, run_in
from numpy.typing import ArrayLike, NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.prompts import prompt_for
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TextsSpec
from leaf_st.tables import aligned
from leaf_st.texts.read import read_texts

LARGEST_DIFFERENCE = 1e-4  # of one coordinate, in float32
_EACH = 25  # texts of each kind
_GRAPH = Path("onnx") / "model.onnx"
_PROGRAMS = Path(__file__).resolve().with_suffix("")


@dataclass(frozen=True)
class Consumer:
    """A program that turns texts into vectors.

    Attributes:
        name: Name in the table.
        program: File in `consumers/`.
        environment: Key of `PIP` or `NPM`.
        graph: Whether the program reads the ONNX file.
        uncut: Whether the program is correct only for texts that fit into the model.
    """

    name: str
    program: str
    environment: str
    graph: bool = False
    uncut: bool = False


CONSUMERS = (
    Consumer("sentence-transformers", "with_sentence_transformers.py", "sentence-transformers"),
    Consumer("sentence-transformers 3", "with_sentence_transformers_3.py", "sentence-transformers-3"),
    Consumer("onnxruntime without torch", "with_onnxruntime.py", "onnxruntime", graph=True),
    Consumer("transformers.js", "with_transformers_js.mjs", "node", graph=True),
    # The pipeline cuts off the closing token of a long text, and offers no way to restore the token.
    Consumer("transformers.js, pipeline", "with_transformers_js_pipeline.mjs", "node", graph=True, uncut=True),
    Consumer("LangChain", "with_langchain.py", "frameworks"),
    Consumer("LlamaIndex", "with_llama_index.py", "frameworks"),
    Consumer("Infinity, server", "with_infinity.py", "infinity"),
    Consumer("vLLM on a CPU", "with_vllm.py", "vllm"),
)

Texts = Mapping[Kind, Sequence[str]]
Vectors = Mapping[Kind, NDArray[np.float32]]


@dataclass(frozen=True)
class Exercise:
    """Texts for consumers.

    Attributes:
        file: JSON file with the texts by kind.
        expected: The reference vectors by kind, shape (n, d).
    """

    file: Path
    expected: Vectors


@dataclass(frozen=True)
class Outcome:
    """The result of a consumer.

    Attributes:
        consumer: Name of the consumer.
        result: "ok", "failed" or "skipped".
        difference: Largest difference to the reference; None without vectors.
        compared: Number of texts.
        versions: Versions by package.
        reason: Reason for a result other than "ok".
    """

    consumer: str
    result: str
    difference: float | None = None
    compared: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def texts_of(source: str) -> dict[Kind, list[str]]:
    """Return queries and documents; the last document is longer than any model reads.

    Raises:
        InputError: If ``source`` (see `TextsSpec`) cannot be read, or has no queries or no documents.
    """
    texts: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for row in read_texts(TextsSpec(source=source, limit=dict.fromkeys(KINDS, _EACH)), Counter()):
        texts[row.kind].append(" ".join(row.text.split()))  # LangChain replaces newlines with spaces
    _check_both(texts, source, "no")
    texts["document"].append(" ".join(100 * texts["document"])[:50_000])
    return texts


def uncut_texts(model: SentenceTransformer, texts: Texts) -> dict[Kind, list[str]]:
    """Return the ``texts`` that fit into ``model`` together with the prompt.

    Raises:
        InputError: If a kind has no such text.
    """
    tokenizer = copy_tokenizer(model)
    uncut: dict[Kind, list[str]] = {
        kind: [text for text in found if not tokenizer.encode(prompt_for(model.prompts, kind) + text).overflowing]
        for kind, found in texts.items()
    }
    _check_both(uncut, "texts", f"within {model.max_seq_length} tokens no")
    return uncut


def _check_both(texts: Texts, source: str, none: str) -> None:
    if missing := [kind for kind, found in texts.items() if not found]:
        raise InputError(
            f"{source}: expected queries and documents, found {none} {missing[0]}: name a BEIR folder, or a table with "
            "a column `kind`"
        )


def exercise(model: SentenceTransformer, texts: Texts, file: Path) -> Exercise:
    """Write ``texts`` to ``file``, and encode ``texts`` with sentence-transformers in this process."""
    file.write_text(json.dumps(texts), encoding="utf-8")
    encoders = {"query": model.encode_query, "document": model.encode_document}
    return Exercise(file, {kind: encoders[kind](list(found), convert_to_numpy=True) for kind, found in texts.items()})


def largest_difference(expected: Vectors, found: Mapping[str, ArrayLike]) -> float:
    """Return the largest difference of a coordinate, divided by the mean norm of vectors longer than 1.

    Raises:
        Failed: If ``found`` has another shape, or values that are not finite.
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


def compare(name: str, expected: Vectors, written: Mapping[str, Any]) -> Outcome:
    """Return the outcome for the vectors that a consumer has ``written``."""
    versions, compared = written["versions"], sum(map(len, expected.values()))
    try:
        difference = largest_difference(expected, written)
    except Failed as error:
        return Outcome(name, "failed", None, compared, versions, str(error))
    if difference <= LARGEST_DIFFERENCE:
        return Outcome(name, "ok", difference, compared, versions)
    reason = f"differs by {difference:.1e}, expected at most {LARGEST_DIFFERENCE:.0e}"
    return Outcome(name, "failed", difference, compared, versions, reason)


def consult(consumer: Consumer, folder: Path, given: Exercise, work: Path) -> Outcome:
    """Run ``consumer`` on ``folder`` with the texts ``given``, in the environment in ``work``."""
    try:
        if consumer.graph and not (folder / _GRAPH).is_file():
            raise Skipped(f"{folder} has no {_GRAPH.as_posix()}: run `leaf-st export {folder}`")
        with TemporaryDirectory(prefix="leaf-st-consumers-") as temporary:
            vectors = Path(temporary) / "vectors.json"
            run_in(consumer.environment, work, _PROGRAMS / consumer.program, folder, given.file, vectors)
            written = json.loads(vectors.read_text(encoding="utf-8"))
    except Skipped as error:
        return Outcome(consumer.name, "skipped", reason=str(error))
    except Failed as error:
        return Outcome(consumer.name, "failed", reason=str(error))
    return compare(consumer.name, given.expected, written)


def format_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return ``outcomes`` as an aligned table, followed by the reasons of failures."""
    lines = [["consumer", "versions", "result", "texts", "difference"]]
    for row in outcomes:
        versions = ", ".join(f"{name} {version}" for name, version in row.versions.items()) or "-"
        difference = "-" if row.difference is None else f"{row.difference:.1e}"
        lines.append([row.consumer, versions, row.result, str(row.compared or "-"), difference])
    reasons = [f"{row.consumer}: {row.result}: {row.reason}" for row in outcomes if row.reason]
    return "\n".join([aligned(lines, left=3), *reasons])


def main() -> None:
    """Print one row for each consumer."""
    parser = benchmark_parser(__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("runs/leaf-mini/publish"),
        metavar="FOLDER",
        help="published folder or model folder (default: %(default)s)",
    )
    parser.add_argument(
        "--texts",
        default=DOCSTRINGS,
        metavar="FILE",
        help="BEIR folder or table with a column `kind` (default: documentation strings)",
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
        raise InputError(f"{folder}: expected a model folder, found no modules.json: name another FOLDER")
    texts = texts_of(source)
    model = load_model(str(folder)).to("cpu")
    work.mkdir(parents=True, exist_ok=True)
    every = exercise(model, texts, work / "texts.json")
    uncut = exercise(model, uncut_texts(model, texts), work / "uncut.json")
    return [consult(consumer, folder, uncut if consumer.uncut else every, work) for consumer in CONSUMERS]


if __name__ == "__main__":
    main()
