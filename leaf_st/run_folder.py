"""What a run folder says of the run in it, and whether that is the one that is asked for."""

import json
import re
from pathlib import Path
from typing import Any

from leaf_st.atomic import is_temporary
from leaf_st.errors import InputError
from leaf_st.field_types import url_problem
from leaf_st.recipe import TEACHER_OF_START, Recipe

_PARTS = {
    *("recipe.json", "texts", "store", "general", "checkpoints", "model", "results", "report", "publish", "held_out"),
    "mteb-results",
    *("teacher", "start"),  # of a smoke run
}


def known_record(folder: Path, asked: Recipe) -> dict[str, Any] | None:
    """Return the ``recipe.json`` of an earlier run in ``folder``; None if there was none.

    Raises:
        InputError: If the folder holds something else, or the run of a recipe that differs from ``asked`` in what was
            made already.
    """
    if problem := url_problem(folder):
        raise InputError(f"run folder: {problem}")
    path = folder / "recipe.json"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or _foreign(folder)):
            raise InputError(f"{folder} holds something that is no run: name another --output")
        return None
    known = _read_record(path)
    for key in differences(known["recipe"], asked):
        # While texts are still fetched, a source that fails may be left out.
        if key.startswith("texts.leave_out ") and not (folder / "store").exists():
            continue
        if re.split(r"[. ]", key)[0] in _made_of(folder, asked):
            raise InputError(f"{folder} is a run of another recipe ({key}): name another --output, or delete it")
    return known


def differences(before: dict[str, Any], asked: Recipe) -> list[str]:
    """Name the values in which ``asked`` differs from the recipe that a record holds."""
    return _differences(before, json.loads(json.dumps(asked.to_dict())))


def _made_of(folder: Path, asked: Recipe) -> list[str]:
    """Return the parts of the recipe that shaped what lies in the folder already."""
    parts = ["texts", "teacher"]
    if (folder / "general").exists():
        parts.append("general")
    if any((folder / name).exists() for name in ("checkpoints", "model")):
        parts += ["general", "student", "training"]
    elif asked.teacher.model == TEACHER_OF_START:
        parts.append("student")
    return parts


def _foreign(folder: Path) -> bool:
    return any(path.name not in _PARTS and not is_temporary(path) for path in folder.iterdir())


def read_run(folder: Path) -> dict[str, Any]:
    """Return the ``recipe.json`` of the run in ``folder``.

    Raises:
        InputError: If there is none.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise InputError(f"{folder}: expected a run folder with recipe.json, found none: name the folder of a run")
    return _read_record(path, "name the folder of another run")


def _read_record(path: Path, remedy: str = "name another --output, or delete it") -> dict[str, Any]:
    """Return the record that an earlier run wrote to ``path``."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(known, dict) or not {"recipe", "resolved"} <= set(known):
        raise InputError(f"{path} is no record of a run: {remedy}")
    return known


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Name the values in which two recipes differ."""
    found: list[str] = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r}, is {new!r}")
    return found
