"""`leaf-st pull`: a local copy of a model on the hub or in the zoo."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import make_folder, replace_folder
from leaf_st.errors import InputError, ModelError, UnreachableError
from leaf_st.hub.retry import retry
from leaf_st.models.find import COMPLETE, DOCUMENTS, MODEL_FILES, find_model, find_offline
from leaf_st.models.intact import require_intact
from leaf_st.models.portable import save_portable
from leaf_st.models.safety import damaged_settings, require_safe
from leaf_st.student.asymmetric import is_asymmetric, load
from leaf_st.zoo import ASYMMETRIC, ZOO

_logger = logging.getLogger(__name__)


def pull(name: str, folder: Path, revision: str | None = None) -> None:
    """Put the model ``name`` into ``folder``, so that ``SentenceTransformer(folder)`` loads the model.

    The model card and the licence are copied too if they can be fetched: a user who redistributes the model needs both.

    Args:
        name: A name as for `load`. For a name with ``-asym``, the folder contains the student and the teacher as one
            model, and the cards and licences of the two in the subfolders ``student`` and ``teacher``.
        folder: A new or empty folder.
        revision: Branch, tag or commit on the hub; by default the revision in the zoo, or main.

    Raises:
        InputError: If the folder is not empty or cannot be replaced, or the model cannot be found.
    """
    if revision == "":
        raise InputError("--revision: expected a branch, tag or commit, found empty text: leave out --revision")
    if revision and is_asymmetric(name):
        raise InputError(
            f"--revision {revision}: expected the name of one model, found {name}, which is two models with a revision "
            "each: leave out --revision"
        )
    _require_empty(folder)
    make_folder(folder.parent)
    if is_asymmetric(name):
        model, student = retry(lambda: load(name)), name.removesuffix(ASYMMETRIC)
        teacher = ZOO[student].teacher
        files = [*MODEL_FILES, *DOCUMENTS]
        sources = {"student": _fetch(student, files), "teacher": _fetch(teacher.hub_id, files, teacher.revision)}
        replace_folder(folder, lambda fresh: _save_both(model, sources, fresh))
    else:
        source = _fetch(name, COMPLETE, revision)
        require_safe(source, name)  # the copy would contain the files behind all links
        require_intact(source)
        if (damage := damaged_settings(source)) is not None:
            raise ModelError(name, f"{damage}: name another revision or model")
        replace_folder(folder, lambda fresh: _copy(source, fresh))


def _require_empty(folder: Path) -> None:
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"--output {folder}: expected a folder to create, found a link to nothing: remove the link")
    if folder.is_file():
        raise InputError(f"--output {folder}: expected a folder to create, found a file: name another one")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name another --output, or delete the folder")
    if folder.resolve() == Path.cwd():
        raise InputError(f"--output {folder}: expected a folder to create, found the current folder: name another one")
    if os.path.ismount(folder.resolve()):  # the system does not rename the place of a mount
        raise InputError(
            f"--output {folder}: expected a folder that can be replaced, found a mount: name a folder inside it"
        )


def _fetch(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Return a local folder with the model ``name``, and with ``files`` if they can be fetched."""
    try:
        return retry(lambda: find_model(name, revision, files=files, newest=True))
    except UnreachableError:  # the cache may still contain the model, even if without its card
        if (cached := find_offline(name, revision, files) or find_offline(name, revision)) is None:
            raise
        _logger.warning("the hub cannot be reached, so the copy of %s in its cache is used: %s", name, cached)
        return cached


def _copy(source: Path, folder: Path) -> None:
    """Copy the files of ``source``, and the files behind its links, of which the hub's cache consists.

    Modes and times are left out, which some file systems refuse to set.
    """
    folder.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            _copy(path, folder / path.name)
        elif path.is_file():
            shutil.copyfile(path, folder / path.name)


def _save_both(model: SentenceTransformer, sources: Mapping[str, Path], folder: Path) -> None:
    """Save ``model`` to ``folder``, with the card and licence of each model in ``sources``."""
    save_portable(model, folder)
    for part, source in sources.items():
        (folder / part).mkdir()
        for path in chain.from_iterable(source.glob(pattern) for pattern in DOCUMENTS):
            shutil.copyfile(path, folder / part / path.name)
