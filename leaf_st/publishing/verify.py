"""Checks of a model folder before anybody else meets it: each says ok, failed or skipped, and why."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec

import numpy as np
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from yaml import YAMLError

from leaf_st.errors import InputError
from leaf_st.export.encoder import GRAPHS, OnnxEncoder, onnxruntime_is_here
from leaf_st.publishing.consumer import Reading, read_as_consumer
from leaf_st.student.asymmetric import compose
from leaf_st.student.load import load_student, load_teacher, teacher_of

P = ParamSpec("P")
State = Literal["ok", "failed", "skipped"]

PUBLISH = "publish"  # folder of a run for what goes to the hub
SAME = 1e-6  # most that a component may differ from the model that was trained
SAME_GRAPH = 1e-5  # most that it may in ONNX at float32
LIKE_GRAPH = 0.99  # least mean cosine of a graph of fewer bits
_EXACT = {GRAPHS[kind].name for kind in GRAPHS if kind != "onnx int8"}
_NORM = 1e-4  # most that a norm may differ from 1
# Short and long, other scripts, and one that is cut in any model.
_TEXTS = (
    "leaf",
    "How is a small model trained to give the vectors of a large one?",
    "The student learns the teacher's vectors, so that documents stay embedded by the teacher.",
    "Größe, naïve café, 東京 and Москва",
    "a text that goes on and on, " * 400,
)
_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
_READABLE = {".json", ".md", ".txt", ".yaml", ".yml", ".html"}
_CARD_KEYS = ("license", "library_name", "pipeline_tag", "tags")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: How it came out.
        detail: What was found.
    """

    name: str
    state: State
    detail: str

    def __str__(self) -> str:
        return f"{self.name:<10} {self.state:<7}  {self.detail}"


class _FailedError(Exception):
    """The check did not come out well; the message says how."""


class _SkippedError(Exception):
    """The check could not be made; the message says why."""


def verify(folder: Path, trained: SentenceTransformer | None) -> list[Check]:
    """Check what a consumer of ``folder`` meets.

    Args:
        folder: A model.
        trained: The model that it must equal; a composition of `compose` for one that holds a Router.
    """
    if trained is not None:
        trained.to("cpu")  # as the consumer has it
    reading = read_as_consumer(folder, _TEXTS)
    if isinstance(reading, str):
        loads = Check("load", "failed", reading)
        return [loads, *(_check(name, check, folder) for name, check in _OF_FILES.items())]
    said = f"{', '.join(reading.modules)} by sentence-transformers {reading.version}, without leaf_st or a network"
    return [
        Check("load", "ok", said),
        *(_check(name, compare, reading, trained) for name, compare in _OF_VECTORS.items()),
        _check("onnx", _onnx, folder, reading, trained),
        *(_check(name, check, folder) for name, check in _OF_FILES.items()),
    ]


def verify_by_name(path: Path, model: str | None = None) -> tuple[Path, list[Check]]:
    """Check the model in ``path``; returns its folder too.

    Args:
        path: Folder of a model, or of a run: then what it has ready in ``publish``, or else its ``model``.
        model: What it must equal; by default the student of the run that ``path`` is or lies in.

    Raises:
        InputError: If ``path`` holds no model, or ``model`` is nowhere.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder: name a model folder or a run folder")
    run = next((folder for folder in (path, path.resolve().parent) if is_run(folder)), None)
    folder = path
    if run == path:
        folder = path / PUBLISH if (path / PUBLISH).is_dir() else path / "model"
    if not (folder / "modules.json").is_file():
        raise InputError(f"{folder} holds no model, expected modules.json in it: name a model folder or a run folder")
    name = model or (str(run) if run else None)
    student = load_student(name) if name else None
    if name and student and (folder / "router_config.json").is_file():
        return folder, verify(folder, compose(student, load_teacher(teacher_of(name), student)))
    return folder, verify(folder, student)


def is_run(folder: Path) -> bool:
    """Say whether ``folder`` is a run with a trained model."""
    return (folder / "recipe.json").is_file() and (folder / "model" / "modules.json").is_file()


def require_run(folder: Path) -> None:
    """Look whether ``folder`` is a run with a trained model.

    Raises:
        InputError: If it is none.
    """
    if not is_run(folder):
        raise InputError(
            f"{folder}: expected the folder of a run with a trained model in model/: train one, or name it"
        )


def _check(name: str, check: Callable[P, str], *given: P.args, **named: P.kwargs) -> Check:
    try:
        return Check(name, "ok", check(*given, **named))
    except _FailedError as error:
        return Check(name, "failed", str(error))
    except _SkippedError as error:
        return Check(name, "skipped", str(error))


def _dimension(reading: Reading, trained: SentenceTransformer | None) -> str:
    expected = reading.dimension if trained is None else trained.get_embedding_dimension()
    found = {reading.dimension, reading.query.shape[1], reading.document.shape[1]}
    if found != {expected}:
        raise _FailedError(f"expected {expected} everywhere, found {sorted(found)}")
    return str(expected)


def _norm(reading: Reading, trained: SentenceTransformer | None) -> str:
    norms = np.concatenate([np.linalg.norm(side, axis=1) for side in (reading.query, reading.document)])
    if not np.isfinite(norms).all():
        raise _FailedError("some vectors are not finite")
    normalized = trained is not None and _is_normalized(trained)
    found = f"{norms.min():.6f} to {norms.max():.6f}"
    if normalized and np.abs(norms - 1).max() > _NORM:
        raise _FailedError(f"expected 1, found {found}")
    return found


def _is_normalized(model: SentenceTransformer) -> bool:
    """Say whether the vectors of a short text have norm 1."""
    vectors = np.stack([model.encode_query(_TEXTS[0]), model.encode_document(_TEXTS[0])])
    return bool(np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < _NORM)


def _prompts(reading: Reading, trained: SentenceTransformer | None) -> str:
    expected = reading.prompts if trained is None else trained.prompts
    if reading.prompts != expected:
        raise _FailedError(f"expected {json.dumps(expected)}, found {json.dumps(reading.prompts)}")
    return ", ".join(f"{kind} {prompt!r}" for kind, prompt in reading.prompts.items())


def _similarity(reading: Reading, trained: SentenceTransformer | None) -> str:
    expected = reading.similarity if trained is None else trained.similarity_fn_name
    if reading.similarity != expected:
        raise _FailedError(f"expected {expected}, found {reading.similarity}")
    return reading.similarity


def _vectors(reading: Reading, trained: SentenceTransformer | None) -> str:
    if trained is None:
        raise _SkippedError("nothing to compare with: name --model, or a folder that lies in its run")
    texts = list(_TEXTS)
    sides = ((reading.query, trained.encode_query(texts)), (reading.document, trained.encode_document(texts)))
    if any(found.shape != np.shape(expected) for found, expected in sides):
        raise _FailedError("they have not the width of the trained model's")
    furthest = np.max([_furthest(found, expected) for found, expected in sides])
    if not furthest <= SAME:  # nor is it, where it is not a number
        raise _FailedError(f"{furthest:.1e} from the trained model's at most, expected {SAME:g}")
    return f"{furthest:.1e} from the trained model's at most"


def _furthest(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max())


def _onnx(folder: Path, reading: Reading, trained: SentenceTransformer | None) -> str:
    place = GRAPHS["onnx"].parent
    graphs = sorted((folder / place).glob("*.onnx"))
    if not graphs and "Router" in reading.modules:
        raise _SkippedError("a folder of two models has none")
    if not graphs:
        raise _SkippedError(f"no graph in {place}/: `leaf-st export` makes them")
    if not onnxruntime_is_here():
        raise _SkippedError("onnxruntime is not installed: pip install 'leaf-st[onnx]'")
    if trained is None or "Router" in reading.modules:
        trained = load_student(str(folder))
    return ", ".join(_graph(graph, reading, trained) for graph in graphs)


def _graph(graph: Path, reading: Reading, model: SentenceTransformer) -> str:
    try:
        found = OnnxEncoder(graph, model)("query", _TEXTS)
    except InputError as error:
        raise _FailedError(str(error)) from error
    if found.shape != reading.query.shape:
        width = reading.query.shape[1]
        raise _FailedError(f"{graph.name} gives the shape {found.shape}, expected {width} dimensions of each text")
    if graph.name in _EXACT:
        furthest = _furthest(found, reading.query)
        if not furthest <= SAME_GRAPH:
            raise _FailedError(f"{graph.name} is {furthest:.1e} off at most, expected {SAME_GRAPH:g}")
        return f"{graph.name} {furthest:.1e} off at most"
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reading.query, axis=1)
    cosine = float(((found * reading.query).sum(axis=1) / norms).mean())
    if not cosine >= LIKE_GRAPH:
        raise _FailedError(f"{graph.name} has mean cosine {cosine:.4f}, expected at least {LIKE_GRAPH}")
    return f"{graph.name} mean cosine {cosine:.4f}"


def _layout(folder: Path) -> str:
    pickled = [file for file in _files(folder) if Path(file).suffix in _PICKLED and not file.startswith("openvino/")]
    if pickled:
        raise _FailedError(f"{pickled[0]}: weights must be safetensors, pickled ones can run code when they are loaded")
    types = [module["type"] for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    if (folder / "router_config.json").is_file():
        types += json.loads((folder / "router_config.json").read_text(encoding="utf-8"))["types"].values()
    foreign = [name for name in types if not name.startswith("sentence_transformers.models.")]
    if foreign:
        raise _FailedError(f"{foreign[0]}: old versions and other servers know sentence_transformers.models.* alone")
    return "safetensors, and the names of modules that every version and server knows"


def _length(folder: Path) -> str:
    """Compare the length that sentence-transformers reads with the tokenizer's, which others go by."""
    lengths = []
    for path in sorted(folder.rglob("sentence_bert_config.json")):
        beside = path.with_name("tokenizer_config.json")
        length, found = _value(path, "max_seq_length"), _value(beside, "model_max_length")
        if length is not None and found != length:
            raise _FailedError(
                f"{beside.relative_to(folder).as_posix()}: expected model_max_length {length}, the max_seq_length of "
                f"{path.name}, found {found}: transformers.js knows no other length"
            )
        lengths.append(f"{length}")
    if not lengths:
        raise _SkippedError("a table reads all tokens")
    return f"{' and '.join(lengths)} tokens"


def _value(path: Path, key: str) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(path.read_text(encoding="utf-8")).get(key) if path.is_file() else None


def _secrets(folder: Path) -> str:
    for file in _files(folder):
        if Path(file).suffix in _READABLE and _SECRET.search((folder / file).read_text(encoding="utf-8")):
            raise _FailedError(f"{file} holds a token of the hub: take it out, and revoke it")
    return "no token of the hub in any file"


def _card(folder: Path) -> str:
    path = folder / "README.md"
    if not path.is_file():
        raise _SkippedError("there is no README.md")
    try:
        data = ModelCard.load(path).data.to_dict()
    except (ValueError, TypeError, YAMLError) as error:
        raise _FailedError(f"README.md: its head is no valid metadata: {error}") from error
    if missing := [key for key in _CARD_KEYS if not data.get(key)]:
        raise _FailedError(f"README.md: no {', '.join(missing)} in its head")
    if data["library_name"] != "sentence-transformers":
        raise _FailedError(f"README.md: expected library_name sentence-transformers, found {data['library_name']}")
    return ", ".join(f"{key} {data[key]}" for key in ("license", "pipeline_tag"))


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


_OF_VECTORS = {
    "dimension": _dimension,
    "norm": _norm,
    "prompts": _prompts,
    "similarity": _similarity,
    "vectors": _vectors,
}
_OF_FILES = {"layout": _layout, "length": _length, "secrets": _secrets, "card": _card}
