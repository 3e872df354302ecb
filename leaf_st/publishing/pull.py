"""Copying a model from the hub into a folder."""

import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import replace_folder
from leaf_st.errors import InputError
from leaf_st.hub.retry import patiently
from leaf_st.models.find import MODEL, PAPERS, WHOLE, find_in_cache, find_model
from leaf_st.models.portable import save_portable
from leaf_st.student.asymmetric import is_asymmetric, load
from leaf_st.zoo import ASYMMETRIC, ZOO


def pull(name: str, folder: Path, revision: str | None = None) -> None:
    """Put the model ``name`` into ``folder``, where ``SentenceTransformer(folder)`` finds it.

    Its card and licence come with it, where they can be had: they belong to a model that one hands on.

    Args:
        name: As for `load`; with ``-asym`` the folder holds student and teacher, the cards in folders of these names.
        folder: New or empty.
        revision: Branch, tag or commit on the hub; by default the one that the zoo names, or main.

    Raises:
        InputError: If the folder holds something, or the model is nowhere.
    """
    if revision and is_asymmetric(name):
        raise InputError(f"--revision {revision}: {name} is two models, each at a revision of its own: pull them alone")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something already: name another --output, or delete it")
    if folder.resolve() == Path.cwd():
        raise InputError(f"--output {folder}: expected a folder that can be made anew, found the one you are in")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if is_asymmetric(name):
        model, alone = patiently(lambda: load(name)), name.removesuffix(ASYMMETRIC)
        teacher = ZOO[alone].teacher
        files = [*MODEL, *PAPERS]
        found = {"student": _fetch(alone, files), "teacher": _fetch(teacher.hub_id, files, teacher.revision)}
        replace_folder(folder, lambda fresh: _save_both(model, found, fresh))
    else:
        whole = _fetch(name, WHOLE, revision)
        replace_folder(folder, lambda fresh: shutil.copytree(whole, fresh))  # the cache's links become files


def _fetch(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Return a local folder that holds the model ``name``, with ``files`` where they can be had."""
    try:
        return patiently(lambda: find_model(name, revision, files=files, newest=True))
    except InputError:  # a cache may hold all but them, while the hub is out of reach
        if (kept := find_in_cache(name, revision)) is not None:
            return kept
        raise


def _save_both(model: SentenceTransformer, found: Mapping[str, Path], folder: Path) -> None:
    """Save ``model``, made of those in ``found``, with the card and licence of each."""
    save_portable(model, folder)
    for part, its in found.items():
        (folder / part).mkdir()
        for path in chain.from_iterable(its.glob(pattern) for pattern in PAPERS):
            shutil.copy(path, folder / part)
