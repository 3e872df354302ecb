"""Checks that a model folder loads and is safe to publish; each check is ok, failed or skipped, with the reason."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, ParamSpec

import numpy as np
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from yaml import YAMLError

from leaf_st.errors import InputError, ModelError
from leaf_st.evaluation.rows import read_as
from leaf_st.export.encoder import OnnxEncoder, onnxruntime_is_installed
from leaf_st.export.forms import APPROXIMATE, GRAPH_FOLDER, ExportForm, exported_files, get_form
from leaf_st.export.parity import parity
from leaf_st.models.find import PICKLED
from leaf_st.models.load import load_model
from leaf_st.models.safety import require_safe
from leaf_st.models.vectors import have_norm_1
from leaf_st.publishing.consumer import Reading, read_as_consumer
from leaf_st.run_folder import MODEL, PUBLISH, is_run, require_trained
from leaf_st.student.asymmetric import with_teacher
from leaf_st.tables import aligned
from leaf_st.teacher.open import teacher_spec

P = ParamSpec("P")
State = Literal["ok", "failed", "skipped"]

MAX_DIFFERENCE = 1e-6  # of a coordinate, from the trained model
_NORM_TOLERANCE = 1e-4
# Short and long texts, several scripts, and a text that every model truncates.
_TEXTS = (
    "leaf",
    "How is a small model trained to give the vectors of a large one?",
    "The student learns the teacher's vectors, so that documents stay embedded by the teacher.",
    "Größe, naïve café, 東京 and Москва",
    "a text that goes on and on, " * 400,
)
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
_TEXT_FILES = {".json", ".md", ".txt", ".yaml", ".yml", ".html"}
_CARD_KEYS = ("license", "library_name", "pipeline_tag", "tags")


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: The name of the check.
        state: The result.
        detail: The value that was found, or the reason.
    """

    name: str
    state: State
    detail: str


def format_checks(checks: Sequence[Check]) -> str:
    """Return the checks as a table."""
    return aligned([(check.name, check.state, check.detail) for check in checks], left=3)


@dataclass(frozen=True)
class _RouterConfig:
    types: dict[str, str]


class _FailedError(Exception):
    """The check failed, for the reason in the message."""


class _SkippedError(Exception):
    """The check could not run, for the reason in the message."""


def verify(folder: Path, trained: SentenceTransformer | None) -> list[Check]:
    """Check a model folder as a consumer would load it.

    Args:
        folder: A model folder.
        trained: The model that the folder must equal; for a folder with a Router, the composition of `compose`. None
            skips the comparison.
    """
    if trained is not None:
        trained.to("cpu")  # the consumer's device
    reading = _read(folder)
    if isinstance(reading, str):
        loads = Check("load", "failed", reading)
        return [loads, *(_check(name, check, folder) for name, check in _FILE_CHECKS.items())]
    modules, version = ", ".join(reading.modules), reading.version
    return [
        Check("load", "ok", f"{modules} by sentence-transformers {version}, without leaf_st or a network"),
        *(_check(name, compare, reading, trained) for name, compare in _VECTOR_CHECKS.items()),
        _check("onnx", _onnx, folder, reading, trained),
        *(_check(name, check, folder) for name, check in _FILE_CHECKS.items()),
    ]


def _read(folder: Path) -> Reading | str:
    try:
        require_safe(folder, str(folder))
    except ModelError as error:
        return error.problem
    return read_as_consumer(folder, _TEXTS)


def verify_by_name(path: Path, model: str | None = None) -> tuple[Path, list[Check]]:
    """Check the model in ``path``; return its folder and the checks.

    Args:
        path: A model folder or a run folder. In a run folder, ``publish`` is checked if it exists, else ``model``.
        model: The model that the folder must equal; by default the student of the run folder at or above ``path``.

    Raises:
        InputError: If ``path`` contains no model, or ``model`` cannot be found.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder: name a model folder or a run folder")
    require_trained(path)
    run = next((folder for folder in (path, path.resolve().parent) if is_run(folder)), None)
    folder = path
    if run == path:
        folder = path / PUBLISH if (path / PUBLISH).is_dir() else path / MODEL
    if not (folder / "modules.json").is_file():
        raise InputError(
            f"{folder}: expected a model folder with modules.json, found no such file: name a model folder or a "
            "run folder"
        )
    name = model or (str(run) if run else None)
    student = load_model(name) if name else None
    if name and student and (folder / "router_config.json").is_file():
        return folder, verify(folder, with_teacher(student, teacher_spec(name, prompts=student.prompts)))
    return folder, verify(folder, student)


def _check(name: str, check: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> Check:
    try:
        return Check(name, "ok", check(*args, **kwargs))
    except (_FailedError, InputError) as error:  # an input that cannot be used is a folder that cannot be published
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
    sides = (reading.query, reading.document)
    norms = np.concatenate([np.linalg.norm(vectors, axis=1) for vectors in sides])
    if not np.isfinite(norms).all():
        raise _FailedError("some vectors are not finite")
    normalized = trained is not None and _is_normalized(trained)
    found = f"{norms.min():.6f} to {norms.max():.6f}"
    if normalized and not all(have_norm_1(vectors, _NORM_TOLERANCE) for vectors in sides):
        raise _FailedError(f"expected 1, found {found}")
    return found


def _is_normalized(model: SentenceTransformer) -> bool:
    """Return whether the vectors of a short text have norm 1."""
    vectors = np.stack([model.encode_query(_TEXTS[0]), model.encode_document(_TEXTS[0])])
    return have_norm_1(vectors, _NORM_TOLERANCE)


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
        raise _SkippedError("no model to compare with: name --model, or a folder inside its run")
    texts = list(_TEXTS)
    pairs = ((reading.query, trained.encode_query(texts)), (reading.document, trained.encode_document(texts)))
    if any(found.shape != np.shape(expected) for found, expected in pairs):
        raise _FailedError("the vectors do not have the width of the trained model's vectors")
    difference = np.max([np.abs(found - expected).max() for found, expected in pairs])
    if not difference <= MAX_DIFFERENCE:  # also catches NaN
        raise _FailedError(f"differ by {difference:.1e} from the trained model, expected at most {MAX_DIFFERENCE:g}")
    return f"differ by at most {difference:.1e} from the trained model"


def _onnx(folder: Path, reading: Reading, trained: SentenceTransformer | None) -> str:
    forms = {path: get_form(name) for name, path in exported_files(folder).items()}
    graphs = sorted({*(folder / GRAPH_FOLDER).glob("*.onnx"), *forms})
    if not graphs and "Router" in reading.modules:
        raise _SkippedError("a folder with student and teacher has no graphs")
    if not graphs:
        raise _SkippedError(f"no graph in {GRAPH_FOLDER}/: `leaf-st export` makes graphs")
    can_run = all(forms[path].can_run() if path in forms else onnxruntime_is_installed() for path in graphs)
    if not (can_run and find_spec("onnx")):
        raise _SkippedError("onnx or onnxruntime is not installed: pip install 'leaf-st[onnx]'")
    if trained is None or "Router" in reading.modules:
        trained = load_model(str(folder))
    return ", ".join(_graph(graph, forms.get(graph), reading, trained) for graph in graphs)


def _graph(graph: Path, form: ExportForm | None, reading: Reading, model: SentenceTransformer) -> str:
    try:
        found = (form.encoder if form else OnnxEncoder)(graph, model)("query", _TEXTS)
    except InputError as error:
        raise _FailedError(str(error)) from error
    if found.shape != reading.query.shape:
        expected = reading.query.shape[1]
        raise _FailedError(f"{graph.name} returns the shape {found.shape}, expected {expected} dimensions per text")
    measured, limits = parity(found, reading.query), form.limits if form else APPROXIMATE
    if problem := limits.violation(measured) or (form.check(graph) if form else None):
        raise _FailedError(f"{graph.name} {problem}")
    return f"{graph.name} {f'error {measured.error:.1e}' if limits.exact else f'mean cosine {measured.cosine:.4f}'}"


def _layout(folder: Path) -> str:
    pickled = [file for file in _files(folder) if Path(file).suffix in PICKLED and not file.startswith("openvino/")]
    if pickled:
        raise _FailedError(f"{pickled[0]}: expected weights as safetensors, found a pickle, which can run code")
    modules = read_as(folder / "modules.json", list[dict[str, str | int]], "a list of modules")
    types = [str(module.get("type")) for module in modules]
    if (folder / "router_config.json").is_file():
        types += read_as(folder / "router_config.json", _RouterConfig, "the types of a router").types.values()
    unknown = [name for name in types if not name.startswith("sentence_transformers.models.")]
    if unknown:
        raise _FailedError(f"{unknown[0]}: old versions and other servers know only sentence_transformers.models.*")
    return "safetensors, and module names that every version and server knows"


def _length(folder: Path) -> str:
    """Compare the length that sentence-transformers uses with the tokenizer's length, which other programs use."""
    lengths = []
    for path in sorted(folder.rglob("sentence_bert_config.json")):
        tokenizer = path.with_name("tokenizer_config.json")
        length, found = _value(path, "max_seq_length"), _value(tokenizer, "model_max_length")
        if length is not None and found != length:
            raise _FailedError(
                f"{tokenizer.relative_to(folder).as_posix()}: expected model_max_length {length}, the "
                f"max_seq_length of {path.name}, found {found}: transformers.js reads only model_max_length"
            )
        lengths.append(f"{length}")
    if not lengths:
        raise _SkippedError("a static model reads all tokens")
    return f"{' and '.join(lengths)} tokens"


def _value(path: Path, key: str) -> Any:  # noqa: ANN401  (JSON)
    return read_as(path, dict[str, Any], "an object").get(key) if path.is_file() else None


def _secrets(folder: Path) -> str:
    for file in _files(folder):
        if Path(file).suffix not in _TEXT_FILES:
            continue
        if _SECRET.search((folder / file).read_text(encoding="utf-8", errors="replace")):
            raise _FailedError(
                f"{file} contains an access token of the hub: remove the token from the file, and revoke it"
            )
    return "no token of the hub in any text file"


def _card(folder: Path) -> str:
    path = folder / "README.md"
    if not path.is_file():
        raise _SkippedError("there is no README.md")
    try:
        data = ModelCard.load(path).data.to_dict()
    except (ValueError, TypeError, YAMLError) as error:
        raise _FailedError(f"README.md: the metadata in its head is invalid: {error}") from error
    if missing := [key for key in _CARD_KEYS if not data.get(key)]:
        raise _FailedError(f"README.md: no {', '.join(missing)} in its head")
    if data["library_name"] != "sentence-transformers":
        raise _FailedError(f"README.md: expected library_name sentence-transformers, found {data['library_name']}")
    return ", ".join(f"{key} {data[key]}" for key in ("license", "pipeline_tag"))


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


_VECTOR_CHECKS = {
    "dimension": _dimension,
    "norm": _norm,
    "prompts": _prompts,
    "similarity": _similarity,
    "vectors": _vectors,
}
_FILE_CHECKS = {"layout": _layout, "length": _length, "secrets": _secrets, "card": _card}
