"""Recipe files, and what the command line changes in them."""

import ast
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from leaf_st.errors import InputError
from leaf_st.recipe import GENERAL_ROWS, PAPER, PARTS, Recipe, TextsSpec, said_of


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Run the recipe file at ``path`` and return its ``recipe``, changed by ``key=value`` overrides.

    Raises:
        InputError: If there is no such file, it fails, has no `Recipe`, or an override does not fit.
    """
    if not path.is_file():
        raise InputError(f"recipe {path}: no such file")
    try:
        namespace = runpy.run_path(str(path))
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code may fail in any way
        raise InputError(f"recipe {path} does not run: {type(error).__name__}: {error}") from error
    recipe = namespace.get("recipe")
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"recipe {path}: expected a module-level `recipe = Recipe(...)`, found {type(recipe).__name__}"
        )
    return override(recipe, overrides)


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return ``recipe`` with ``key=value`` settings applied, all of them before any is checked.

    A key is a field (``name``), a field of a part (``student.layers``) or a training argument
    (``learning_rate``). A value is a Python literal, or else a string.
    """
    changed: dict[str, Any] = {}
    of_parts: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: expected key=value")
        part, name = _place(key)
        value = _literal(text)
        if name == "revision" and isinstance(value, int):  # a commit of digits alone
            value = str(value)
        if part is None:
            changed[name] = value
        elif part == "arguments":
            training = of_parts.setdefault("training", {})
            training["arguments"] = {**training.get("arguments", recipe.training.arguments), name: value}
        else:
            of_parts.setdefault(part, {})[name] = value
    for part, values in of_parts.items():
        before: Any = getattr(recipe, part) or TextsSpec(limit=GENERAL_ROWS)  # of the parts only `general` may be None
        with said_of(part):
            changed[part] = replace(before, **_unfit(before, values), **values)
    return replace(recipe, **changed)


def _unfit(before: Any, values: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (any part)
    """Return defaults for the values of ``before`` that only fit its own source, if ``values`` name another source.

    So `--set texts.source=FILE` needs no other setting, whatever the recipe reads.
    """
    if not isinstance(before, TextsSpec) or "source" not in values:
        return {}
    is_paper = values["source"] == PAPER
    if is_paper == (before.source == PAPER):
        return {}
    unfit: dict[str, Any] = {"limit": None} if is_paper else {"leave_out": (), "per_source": None}
    return {name: value for name, value in unfit.items() if name not in values}


def _place(key: str) -> tuple[str | None, str]:
    """Return the part of a recipe that ``key`` is in, or "arguments" of training, or None, and its name there."""
    known = _settable()
    part, dot, name = key.partition(".")
    if key in known:
        return (part, name) if dot else (None, key)
    if key in _training_arguments():
        return "arguments", key
    near = [full for full in sorted(known) if full.rpartition(".")[2] == key.rpartition(".")[2]]
    meant = f", did you mean {' or '.join(near)}?" if near else ";"
    raise InputError(
        f"--set {key}: no such key{meant} expected one of {', '.join(sorted(known))}, or a keyword of "
        "SentenceTransformerTrainingArguments such as learning_rate"
    )


def _settable() -> set[str]:
    """Return the keys of a recipe and its parts, as ``--set`` names them; a part itself is no key."""
    keys: set[str] = set()
    for item in fields(Recipe):
        part = PARTS.get(item.name)
        keys |= {f"{item.name}.{inner.name}" for inner in fields(part)} if part else {item.name}
    return keys - {"training.arguments"}


def _training_arguments() -> set[str]:
    """Return the keywords of SentenceTransformerTrainingArguments; importing them takes seconds, so late."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    return {item.name for item in fields(SentenceTransformerTrainingArguments)}


def _literal(text: str) -> Any:  # noqa: ANN401  (any literal)
    """Read a Python literal, or else take the text as it stands."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
