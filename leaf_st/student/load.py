"""Loading a model by name: a folder, a hub id, or a name of the zoo."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import replace_folder
from leaf_st.errors import InputError
from leaf_st.hub.retry import patiently
from leaf_st.models.find import MODEL, PAPERS, WHOLE, in_cache, resolve_model
from leaf_st.models.portable import save_portable
from leaf_st.recipe import Recipe, TeacherSpec
from leaf_st.student.asymmetric import compose
from leaf_st.zoo import ASYMMETRIC, ZOO, ZooModel


def load(
    name: str | Path, *, asymmetric: bool = False, teacher: str | None = None, trust_remote_code: bool = False
) -> SentenceTransformer:
    """Load a student, or the student for queries together with its teacher for documents.

    Args:
        name: ``leaf-ir`` or another name of the zoo (with ``-asym`` it is asymmetric), a folder such as
            ``runs/leaf-mini/model``, or a hub id.
        asymmetric: Compose it with its teacher.
        teacher: Folder or hub id of the teacher, where neither the zoo nor the model's ``recipe.json`` names it.
        trust_remote_code: Run the models' own code.

    Raises:
        InputError: If a model is nowhere or cannot be loaded, or nothing names the teacher.
    """
    name = str(name)
    if _is_asymmetric(name):
        name, asymmetric = name.removesuffix(ASYMMETRIC), True
    student = load_student(name, trust_remote_code=trust_remote_code)
    if not asymmetric:
        return student
    spec = TeacherSpec(model=teacher) if teacher else teacher_of(name)
    return compose(student, load_teacher(replace(spec, trust_remote_code=trust_remote_code), student))


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
    if revision and _is_asymmetric(name):
        raise InputError(f"--revision {revision}: {name} is two models, each at a revision of its own: pull them alone")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something already: name another --output, or delete it")
    if folder.resolve() == Path.cwd():
        raise InputError(f"--output {folder}: expected a folder that can be made anew, found the one you are in")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if _is_asymmetric(name):
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
        return patiently(lambda: resolve_model(name, revision, files=files, newest=True))
    except InputError:  # a cache may hold all but them, while the hub is out of reach
        if (kept := in_cache(name, revision)) is not None:
            return kept
        raise


def _save_both(model: SentenceTransformer, found: Mapping[str, Path], folder: Path) -> None:
    """Save ``model``, made of those in ``found``, with the card and licence of each."""
    save_portable(model, folder)
    for part, its in found.items():
        (folder / part).mkdir()
        for path in chain.from_iterable(its.glob(pattern) for pattern in PAPERS):
            shutil.copy(path, folder / part)


def load_student(name: str, revision: str | None = None, trust_remote_code: bool = False) -> SentenceTransformer:
    """Load the model in a folder, of the zoo or on the hub, in float32.

    Raises:
        InputError: If it is nowhere or cannot be loaded.
    """
    folder = resolve_model(name, revision, trust_remote_code)
    try:
        model = SentenceTransformer(
            str(folder), model_kwargs={"dtype": torch.float32}, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:  # as modules do without their config
        raise InputError(f"model {name} cannot be loaded from {folder}: {error}") from error
    # Results name it so: a table does not know where it came from, and others know only a folder of the hub's cache.
    model.model_card_data.set_model_id(ZOO[name].hub_id if name in ZOO and not Path(name).is_dir() else name)
    return model


def load_teacher(spec: TeacherSpec, student: SentenceTransformer) -> SentenceTransformer:
    """Load the teacher of ``student`` in float32, with the prompts that the student learned (design contract 9).

    A student that has no prompt for a kind leaves the teacher its own.
    """
    teacher = load_student(spec.model, spec.revision, spec.trust_remote_code)
    teacher.prompts = {**teacher.prompts, **{kind: prompt for kind, prompt in student.prompts.items() if prompt}}
    return teacher


def _is_asymmetric(name: str) -> bool:
    return name.endswith(ASYMMETRIC) and name.removesuffix(ASYMMETRIC) in ZOO and not Path(name).is_dir()


def teacher_of(name: str) -> TeacherSpec:
    """Return the teacher that the model ``name`` learned from: the zoo's, or what its ``recipe.json`` says.

    That file may be a stranger's: whether code of the teacher may run is nothing that it can say.

    Raises:
        InputError: If nothing says it.
    """
    published = published_as(name)
    record = {} if published and not Path(name).is_dir() else read_record(resolve_model(name))
    try:
        return replace(Recipe.from_dict(record["resolved"]).teacher, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError):
        if published:
            its = published.teacher
            return TeacherSpec(model=its.hub_id, revision=its.revision, prompts=its.prompts)
        raise InputError(
            f"model {name}: nothing in it names its teacher: give teacher= (--teacher, or teacher.model in a recipe)"
        ) from None


def published_as(name: str) -> ZooModel | None:
    """Return the model of the zoo that ``name`` is: its name, its hub id, or a folder of its name, as `pull` makes.

    Where that folder has a record of its own, what it says goes first.
    """
    return next((model for key, model in ZOO.items() if name == model.hub_id or Path(name).name == key), None)


def read_record(folder: Path) -> dict[str, Any]:
    """Return what the model in ``folder`` says of its making; empty where it says nothing that can be read."""
    try:
        record = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
