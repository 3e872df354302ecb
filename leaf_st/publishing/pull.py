"""`leaf-st pull`: a local copy of a model on the hub or in the zoo."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import make_folder, replace_folder
from leaf_st.errors import InputError, ModelError, UnreachableError
from leaf_st.hub.retry import retry
from leaf_st.models.damage import damaged_file
from leaf_st.models.find import COMPLETE, DOCUMENTS, MODEL_FILES, commit_of, find_model, find_offline
from leaf_st.models.intact import require_intact
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.models.safety import require_safe
from leaf_st.student.asymmetric import with_teacher
from leaf_st.teacher.open import teacher_spec
from leaf_st.zoo import ASYMMETRIC, ZOO, ZooModel

_logger = logging.getLogger(__name__)


def pull(name: str, folder: Path, revision: str | None = None) -> None:
    """Put the model ``name`` into ``folder``, so that ``SentenceTransformer(folder)`` loads the model.

    The model card and the licence are copied too if they can be fetched: a user who redistributes the model needs both.

    Args:
        name: A name of the zoo, which is fetched from the hub even if a folder has this name, a hub id, or a folder.
            For a name with ``-asym``, the new folder contains the student and the teacher as one model, and the cards
            and licences of the two in the subfolders ``student`` and ``teacher``.
        folder: A new or empty folder.
        revision: Branch, tag or commit on the hub; by default the revision in the zoo, or main.

    Raises:
        InputError: If the folder is not empty, cannot be replaced or is inside the model, or the model cannot be found.
    """
    if revision == "":
        raise InputError("--revision: expected a branch, tag or commit, found empty text: leave out --revision")
    pair = ZOO.get(name.removesuffix(ASYMMETRIC)) if name.endswith(ASYMMETRIC) else None
    if revision and pair is not None:
        raise InputError(
            f"--revision {revision}: expected the name of one model, found {name}, which is two models with a revision "
            "each: leave out --revision"
        )
    _require_empty(folder)
    make_folder(folder.parent)
    if pair is not None:
        model = retry(partial(_load_both, pair))
        files = [*MODEL_FILES, *DOCUMENTS]
        sources = {
            "student": _fetch(pair.hub_id, files, pair.revision),
            "teacher": _fetch(pair.teacher.hub_id, files, pair.teacher.revision),
        }
        replace_folder(folder, lambda fresh: _save_both(model, sources, fresh))
    else:
        if name in ZOO:  # not a folder of this name, which may be a run, or an earlier copy
            name, revision = ZOO[name].hub_id, revision or ZOO[name].revision
        source = _fetch(name, COMPLETE, revision)
        if folder.resolve().is_relative_to(source.resolve()):  # the copy would contain itself
            raise InputError(
                f"--output {folder}: expected a folder outside of the model folder {source}, found a folder inside: "
                "name another one"
            )
        require_safe(source, name)  # the copy would contain the files behind all links
        require_intact(source)
        if (damage := damaged_file(source)) is not None:
            # Files of the cache that are not links have no checksum to compare with, and a download trusts their sizes.
            unchecked = any(path.is_file() and not path.is_symlink() for path in source.rglob("*"))
            remedy = "name another revision or model"
            if unchecked and commit_of(source) is not None:
                remedy = f"delete {source.parents[1]} to download the model again, or {remedy}"
            raise ModelError(name, f"{damage}: {remedy}")
        replace_folder(folder, lambda fresh: _copy(source, fresh))


def _load_both(pair: ZooModel) -> SentenceTransformer:
    student = load_model(pair.hub_id, revision=pair.revision)
    return with_teacher(student, teacher_spec(pair.hub_id, prompts=student.prompts))


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
