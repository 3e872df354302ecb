"""The run folder: the names of its parts, and recipe.json, which no other module reads or writes.

A model folder has a recipe.json too, which records the origin of the model.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaf_st.atomic import is_temporary
from leaf_st.errors import InputError
from leaf_st.hub.settings import offline_variable
from leaf_st.recipe import DOCSTRINGS, PAPER, TEACHER_OF_START, Recipe, is_limit, with_fit
from leaf_st.recipe.types import path_problem
from leaf_st.recipe.values import format_setting
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.zoo import PACKAGED

RECIPE = "recipe.json"
TEXTS = "texts"
GIVEN = Path(TEXTS, "given.parquet")  # the texts that a call of Python passed
STORE = "store"
STORE_LOCK = ".store.lock"  # beside the store, whose folder is made with its first texts
_MANIFEST = "manifest.json"  # of a complete store, as in `leaf_st.teacher.store`, which cannot be imported here
GENERAL = "general"
CHECKPOINTS = "checkpoints"
PASSING = "passing"  # folder in `CHECKPOINTS` of the checkpoint that is only for resuming
# Written last, with the checksums of the other files: a checkpoint without this file was interrupted by a kill.
COMPLETE = "complete.json"
MODEL = "model"
RESULTS = "results"
REPORT = "report"
PUBLISH = "publish"  # what is pushed to the hub
HELD_OUT = "held_out"  # the demo's search set
SITE = "site"  # the demo's search page
MTEB_RESULTS = "mteb-results"
FIT = "ensemble/axes.safetensors"  # what the teacher learned from the first texts; also in the model folder
VOCABULARY = "vocabulary.json"  # the tokens that the student keeps
SMOKE_TEACHER = "teacher"
SMOKE_START = "start"

_PARTS = {RECIPE, TEXTS, STORE, GENERAL, CHECKPOINTS, MODEL, RESULTS, REPORT, PUBLISH, HELD_OUT, SITE, MTEB_RESULTS}
_RECIPE_PARTS = ("texts", "teacher", "student", "training")
_PARTS |= {STORE_LOCK, VOCABULARY, SMOKE_TEACHER, SMOKE_START, Path(FIT).parts[0]}
_TRAINED_PARTS = ("general", "student", "training")  # what shapes the student, besides the vectors
_UNUSED_ARGUMENTS = ("data_seed", "dataloader_in_order", "fp16_full_eval", "bf16_full_eval")
_UNUSED_IN_MEMBERS = ("store_dtype", "rows_per_shard")  # of an ensemble
# Fields that determine how many tokens of a text are embedded.
_LENGTHS = ("student.backbone", "student.start", "student.static", "student.max_length", "training.max_length")
# `override` may leave these values out.
_OF_A_MODEL = ("teacher.prompts", "teacher.revision", "teacher.trust_remote_code", "student.revision")


def is_run(folder: Path) -> bool:
    """Return whether ``folder`` is a run with a trained model."""
    return (folder / RECIPE).is_file() and (folder / MODEL / "modules.json").is_file()


def has_begun_training(folder: Path) -> bool:
    """Return whether the run folder ``folder`` contains a trained student, or a complete checkpoint of one."""
    checkpoints = folder / CHECKPOINTS  # exists before the first step, without a checkpoint
    places = (checkpoints, checkpoints / PASSING)
    found = [path for place in places for path in place.glob(f"checkpoint-*/{COMPLETE}")]
    return bool(found) or (folder / MODEL).exists()


def require_run(folder: Path) -> None:
    """Check that ``folder`` is a run with a trained model.

    Raises:
        InputError: If ``folder`` is not a run folder, or the run has no model.
    """
    if not is_run(folder):
        raise InputError(
            f"{folder}: expected a run folder with {RECIPE} and a trained model in {MODEL}/, found "
            f"{'no model' if (folder / RECIPE).is_file() else f'no {RECIPE}'}: run `leaf-st train`, or name "
            "another folder"
        )


def require_trained(folder: Path) -> None:
    """Refuse a run without a model; a model folder, which has a record too, and any other folder pass.

    Raises:
        InputError: If ``folder`` is a run that is not trained yet.
    """
    of_models = (MODEL, "modules.json", "config.json")
    if (folder / RECIPE).is_file() and not any((folder / name).exists() for name in of_models):
        require_run(folder)


def run_of(folder: Path) -> Path | None:
    """Return ``folder`` if it is a run, or the run whose model folder it is; None for any other folder."""
    for run in (folder, folder.parent, folder.resolve().parent):  # the parent of Path(".") is Path(".")
        student = run / MODEL
        # os.path.isfile, because Path.is_file raises for a name that is too long
        if os.path.isfile(run / RECIPE) and student.is_dir() and folder.resolve() in (run.resolve(), student.resolve()):
            return run
    return None


def read_run(folder: Path) -> dict[str, Any]:
    """Return the record of the run in ``folder``.

    Raises:
        InputError: If the record is missing or damaged.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"{folder}: expected a run folder with {RECIPE}, found none: name the folder of a run")
    return _read_strictly(path, "name the folder of another run")


def is_recorded_folder(name: str, key: str, commits: Mapping[str, str | None]) -> bool:
    """Return whether the model ``name`` of a record was a folder on the machine of the run.

    Args:
        name: The model.
        key: The key of the recipe's part that names the model, such as "teacher".
        commits: The recorded commits on the hub by such keys; None for a folder.
    """
    if key not in commits:  # of an earlier version, or of a model that no run loads
        return os.path.isdir(name)
    return commits[key] is None and name not in PACKAGED


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the run or model in ``folder``; empty if no record exists.

    Raises:
        InputError: If the record is damaged.
    """
    path = folder / RECIPE
    try:
        record = read_sealed(path)
    except InputError:  # a ValueError too
        raise
    except OSError:
        return {}
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): restore the file, or delete it to use the rest") from error
    return _current(record, folder) if isinstance(record, dict) else {}


def write_record(folder: Path, record: Any) -> None:  # noqa: ANN401  (a JSON object)
    """Write ``record``, a JSON object, as the record of the run or model in ``folder``."""
    write_sealed(folder / RECIPE, record)


def known_record(folder: Path, asked: Recipe) -> dict[str, Any] | None:
    """Return the record of an earlier run in ``folder``; None if no run exists.

    Raises:
        InputError: If the folder contains other files, or a run whose recipe differs from ``asked`` in a part that was
            used already.
    """
    if problem := path_problem(folder):
        raise InputError(f"run folder: {problem}")
    path = folder / RECIPE
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"output {folder}: expected a folder, found a file: name another output folder")
        if other := _other_file(folder):
            raise InputError(
                f"output {folder}: expected a new folder, or the folder of a run with {RECIPE}, found {other} and no "
                f"{RECIPE}: name another output folder"
            )
        return None
    known = _read_strictly(path)
    given, source = str(folder / GIVEN), asked.texts.source
    recorded = known["recipe"].get("texts", {}).get("source")
    if recorded == given != source and all(map(os.path.exists, (source, given))) and os.path.samefile(source, given):
        known = _with_path(known, given, source)  # another path of the same file
    for key in differences(known["recipe"], asked):
        # Until texts are embedded, a source or a set that cannot be read may be left out or replaced. A student has
        # learned from the texts, even if their store was deleted, and an ensemble has the axes of its first texts.
        may_change = not ((folder / STORE).exists() or (folder / FIT).exists() or has_begun_training(folder))
        if may_change and (
            key.startswith(("texts.leave_out ", "texts.exclude ")) or _is_other_source(known, asked, key)
        ):
            continue
        if is_limit(key.split(" ", 1)[0]) or (key.startswith("texts.exclude ") and _names_the_sets(asked, known)):
            continue
        part = re.split(r"[. ]", key)[0]
        if part in _embedded_parts(folder, asked):
            remedy = _remedy(key, known, source)
        elif part in _TRAINED_PARTS and has_begun_training(folder):
            remedy = _remedy_of_training(key, known, folder)
        else:
            continue
        raise InputError(f"{folder} is a run of another recipe ({key}): {remedy}")
    return known


def _remedy(key: str, known: dict[str, Any], source: str) -> str:
    """Return what to do about ``key``, a change in the recipe of the vectors of the run ``known``."""
    if (remedy := _remedy_of_model(key, known)) is not None:
        return remedy
    teacher = known["resolved"].get("teacher", {}).get("model")
    if key.startswith("teacher.model ") and teacher is not None and _is_gone(teacher, known):
        return f"move the teacher back to {teacher} to resume the run, or name another --output"
    if key.startswith("texts.source "):
        from huggingface_hub import constants  # is slow, and the commands import this module

        recorded = known["recipe"]["texts"].get("source")
        if (recorded, source) == (PAPER, DOCSTRINGS) and constants.HF_HUB_OFFLINE:
            return f"unset {offline_variable()}, with which recipes choose docstrings, or name another --output"
        if (recorded, source) == (DOCSTRINGS, PAPER):
            return "add --set texts.source=docstrings to resume the run, or name another --output"
    return "name another --output, or delete the folder"


def _is_gone(teacher: str, known: dict[str, Any]) -> bool:
    """Return whether the ``teacher`` of the run ``known`` was a folder that does not exist any more."""
    return is_recorded_folder(teacher, "teacher", known.get("commits") or {}) and not os.path.isdir(teacher)


def _remedy_of_training(key: str, known: dict[str, Any], folder: Path) -> str:
    """Return what to do about ``key``, a change in the recipe of the student of the run ``known`` in ``folder``."""
    if (remedy := _remedy_of_model(key, known)) is not None:
        return remedy
    has_vectors = (folder / STORE / _MANIFEST).is_file()
    if not has_vectors or key.startswith("general") or key.split(" ", 1)[0] in _LENGTHS:
        return "name another --output"
    *most, last = [name for name in (CHECKPOINTS, MODEL, RESULTS) if (folder / name).exists()]
    parts = f"{', '.join(most)} and {last}" if most else last
    return f"name another --output, or move {parts} of {folder} to another folder to train again on the same vectors"


def _remedy_of_model(key: str, known: dict[str, Any]) -> str | None:
    """Return how to resume the run ``known`` if ``key`` is about a value that belongs to a model; else None."""
    part, _, name = (field := ".".join(re.split(r"[. ]", key)[:2])).partition(".")
    if field not in _OF_A_MODEL:
        return None
    value = known["recipe"].get(part, {}).get(name, {} if name == "prompts" else None)
    return f"add {format_setting(field, value)} to resume the run, or name another --output"


def _names_the_sets(asked: Recipe, known: dict[str, Any]) -> bool:
    """Return whether ``asked`` names the sets whose texts the run in ``known`` leaves out by default."""
    return asked.texts.exclude is not None and list(asked.texts.exclude) == known["resolved"]["texts"].get("exclude")


def _is_other_source(known: dict[str, Any], asked: Recipe, key: str) -> bool:
    """Return whether ``key`` describes a change to other texts; the paper's are fetched into the run folder."""
    return key.startswith("texts.") and known["recipe"]["texts"].get("source") != asked.texts.source != PAPER


def differences(before: dict[str, Any], asked: Recipe) -> list[str]:
    """Return a description of each value in which ``asked`` differs from the recorded recipe ``before``."""
    return _differences(before, _without_unused_values(json.loads(json.dumps(asked.to_dict()))))


def _embedded_parts(folder: Path, asked: Recipe) -> list[str]:
    """Return the parts of the recipe on which the vectors in ``folder`` depend."""
    parts = ["texts", "teacher"]
    if (folder / GENERAL).exists():
        parts.append("general")
    if asked.teacher.model == TEACHER_OF_START:
        parts.append("student")
    return parts


def _other_file(folder: Path) -> str | None:
    """Return the name of the first file or folder in ``folder`` that no run writes, or None if there is none."""
    others = [path.name for path in folder.iterdir() if path.name not in _PARTS] if folder.is_dir() else []
    return min((name for name in others if not is_temporary(folder / name)), default=None)


def _read_strictly(path: Path, remedy: str = "name another --output, or delete the folder") -> dict[str, Any]:
    """Return the record in ``path``, which an earlier run wrote."""
    try:
        known = read_sealed(path)
    except InputError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): {remedy}") from error
    if not (isinstance(known, dict) and all(_is_recipe(known.get(key)) for key in ("recipe", "resolved"))):
        raise InputError(
            f"{path}: expected the record of a run, with a recipe under the keys recipe and resolved, found other "
            f"content: {remedy}"
        )
    return _current(known, path.parent)


def _is_recipe(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    """Return whether the parts of a recipe in ``value`` are mappings; `Recipe.from_dict` checks their fields."""
    return isinstance(value, dict) and all(isinstance(value.get(part, {}), dict) for part in _RECIPE_PARTS)


def _current(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``record`` as this version would write it, for the run in ``folder``."""
    used = {key: _without_unused_values(value) for key, value in record.items()}
    return _with_files(_without_unused_arguments(used), folder)


def _without_unused_values(recipe: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """Return ``recipe`` without the values that earlier versions accepted, and that never had an effect."""
    if not isinstance(recipe, dict):
        return recipe
    training, student, teacher = (recipe.get(part) for part in ("training", "student", "teacher"))
    if isinstance(teacher, dict) and isinstance(members := teacher.get("ensemble"), list):
        used = [_without(member, _UNUSED_IN_MEMBERS) if isinstance(member, dict) else member for member in members]
        recipe = {**recipe, "teacher": {**teacher, "ensemble": used}}
    if isinstance(training, dict):
        recipe = {**recipe, "training": _without_unused_arguments(training)}
    if isinstance(student, dict) and student.get("backbone") is None and student.get("start") is None:
        recipe = {**recipe, "student": {**student, "revision": None}}
    return recipe


def _without_unused_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values``, a record or the training of a recipe, without such values among its arguments."""
    if not isinstance(arguments := values.get("arguments"), dict):
        return values
    return {**values, "arguments": _without(arguments, _UNUSED_ARGUMENTS)}


def _without(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _with_files(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``record`` with the files of the run in ``folder``, which may have moved since the record was written.

    The files are what the teacher learned from the first texts, the tokens that the student keeps, and the texts that a
    call of Python passed, which may also be the teacher's table of vectors.
    """
    resolved = record.get("resolved")
    if not isinstance(resolved, dict):
        return record
    teacher, student = (resolved.get(part) for part in ("teacher", "student"))
    if isinstance(teacher, dict) and (folder / FIT).is_file():
        resolved = {**resolved, "teacher": with_fit(teacher, folder / FIT)}
    if isinstance(student, dict) and student.get("tokens") and (folder / VOCABULARY).is_file():
        resolved = {**resolved, "student": {**student, "tokens": str(folder / VOCABULARY)}}
    record = {**record, "resolved": resolved}
    texts = resolved.get("texts")
    source = texts.get("source") if isinstance(texts, dict) else None
    if isinstance(source, str) and Path(source).parts[-2:] == GIVEN.parts and (folder / GIVEN).is_file():
        return _with_path(record, source, str(folder / GIVEN))
    return record


def _with_path(record: dict[str, Any], before: str, now: str) -> dict[str, Any]:
    """Return ``record`` with the path ``now`` in place of ``before``, in the recipe as asked and as resolved."""
    return {**record, **{key: _replaced(record.get(key), before, now) for key in ("recipe", "resolved")}}


def _replaced(value: Any, before: str, now: str) -> Any:  # noqa: ANN401  (any JSON value)
    if isinstance(value, dict):
        return {key: _replaced(item, before, now) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, before, now) for item in value]
    return now if value == before else value


def _numbered(value: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """Return a list of parts, such as the members of an ensemble, as a mapping from number to part."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {str(number): item for number, item in enumerate(value)}
    return value


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return a description of each value in which two recipes differ."""
    found: list[str] = []
    for key in {**before, **now}:
        old, new = (_numbered(values.get(key)) for values in (before, now))
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r}, is {new!r}")
    return found
