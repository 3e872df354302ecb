"""Recipe files, the values that ``--set KEY=VALUE`` changes in them, and the list of all keys."""

import difflib
import logging
import runpy
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from leaf_st.errors import FieldError, InputError
from leaf_st.recipe import GENERAL_ROWS, PAPER, PARTS, TEACHER_OF_START, Recipe, TeacherSpec, TextsSpec
from leaf_st.recipe.type_names import type_name
from leaf_st.recipe.values import format_setting, parse_value, repeated_key

_NOT_PYTHON = {".json", ".jsonl", ".yaml", ".yml", ".toml", ".ipynb"}
# Fields of a teacher or student to whose model `revision` belongs, and where the part has the name of its model.
_MODELS = {"model": "name", "backbone": "backbone", "start": "start"}
# Fields of a local model that another kind of teacher ignores, by the field of that kind, with the values that set
# nothing.
_IGNORED: dict[str, dict[str, str | None]] = {
    "api": {"model": None, "revision": None, "precision": "auto"},
    "ensemble": {"model": None},  # which refuses the others itself
}

_logger = logging.getLogger(__name__)


class RecipeField(NamedTuple):
    """A field of a recipe, as help and documentation show it.

    Attributes:
        key: The key in ``--set KEY=VALUE``, such as "student.layers".
        hint: The annotation of the field.
        default: The default value in words.
        description: The documentation of the field.
    """

    key: str
    hint: Any
    default: str
    description: str

    @property
    def type(self) -> str:
        """The type in words, such as "text or None"."""
        return type_name(self.hint)


def load_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Run the recipe file at ``path`` and return its ``recipe``, changed by ``key=value`` settings.

    Raises:
        InputError: If the file does not exist, fails, or has no `Recipe`, if a setting is invalid, or if a setting of
            ``evaluate_on`` names a set that does not exist.
    """
    if not path.is_file():
        found = "found a folder" if path.is_dir() else "no such file"
        raise InputError(
            f"recipe {path}: {found}: name a Python file with `recipe = Recipe(...)`, such as recipes/leaf_mini.py in "
            "a clone of the repository (the package contains no recipes), or call leaf_st.distill in Python"
        )
    if path.suffix in _NOT_PYTHON:  # JSON runs as Python, up to its first null
        raise InputError(
            f"recipe {path}: expected a Python file with `recipe = Recipe(...)`, found a {path.suffix} file: name the "
            "Python file of the recipe"
        )
    try:
        namespace = runpy.run_path(str(path))
    except InputError as error:
        raise InputError(f"{_place(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code can fail in any way
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise InputError(f"{_place(path, error)} fails with {type(error).__name__}: {reason}") from error
    recipe = namespace.get("recipe")
    if not isinstance(recipe, Recipe):
        found = "none" if recipe is None else type(recipe).__name__
        raise InputError(f"recipe {path}: expected a module-level `recipe = Recipe(...)`, found {found}")
    recipe = override(recipe, settings)
    if recipe.training.arguments:
        from leaf_st.training.arguments import check_arguments  # imports torch, which takes seconds

        check_arguments(recipe)
    # A shared recipe may name sets that this machine lacks; a missing set in a setting is a typing error.
    if any(setting.startswith("evaluate_on=") for setting in settings):
        _require_sets(recipe.evaluate_on)
    return recipe


def _place(path: Path, error: BaseException) -> str:
    """Return ``path`` with the line of the file at which ``error`` was raised, if a line is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"recipe {path}, line {lines[-1]}" if lines and lines[-1] else f"recipe {path}"


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return ``recipe`` with all ``key=value`` settings applied; values are validated after all of them are set.

    A key is a field (``name``), a field of a part (``student.layers``) or a training argument (``learning_rate``). The
    type of the field determines how the value is parsed (see `leaf_st.recipe.values.parse_value`).
    """
    changed: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not (separator and key):
            found = "no key" if separator else "no equals sign"
            raise InputError(f"--set {setting}: expected KEY=VALUE, found {found}")
        part, dot, name = key.rpartition(".")
        if key == "general" and parse_value(text, None) is None:  # the only part that can be None
            changed[key] = None
        elif (known := _field(key)) is None:
            training = parts.setdefault("training", {})
            arguments = training.get("arguments", recipe.training.arguments)
            training["arguments"] = {**arguments, key: _parse_training_argument(key, text)}
        elif dot:
            parts.setdefault(part, {})[name] = _parsed(key, text, known.hint)
        else:
            changed[key] = _parsed(key, text, known.hint)
    for key in [key for key in parts if "." in key]:  # a part of a part, such as the API of a teacher
        outer, _, inner = key.rpartition(".")
        values = parts.setdefault(outer, {})
        before = values.get(inner, getattr(getattr(recipe, outer), inner))
        values[inner] = _changed_inner(before, PARTS[key], parts.pop(key))
    _require_used(recipe.teacher, parts.get("teacher", {}))
    start = parts.get("student", {}).get("start", recipe.student.start)
    if recipe.teacher.model == TEACHER_OF_START and start != recipe.student.start:
        parts.setdefault("teacher", {}).setdefault("trust_remote_code", False)  # another start has another teacher
    for part, values in parts.items():
        changed[part] = _changed_part(recipe, part, values)
    return replace(recipe, **changed)


def _require_used(teacher: TeacherSpec, values: Mapping[str, Any]) -> None:
    """Check that no setting in ``values`` names a local model while an API or an ensemble is the teacher in its place.

    Raises:
        InputError: If a setting does.
    """
    for kind, ignored in _IGNORED.items():
        used = values.get(kind, getattr(teacher, kind))
        for name, unset in ignored.items():
            if used and values.get(name, unset) != unset:
                remedy = format_setting(f"teacher.{kind}", None if kind == "api" else [])
                raise InputError(
                    f"--set teacher.{name}: expected a local model as the teacher, found teacher.{kind}, which is used "
                    f"in its place: add {remedy}, or leave out teacher.{name}"
                )


@cache
def recipe_fields() -> tuple[RecipeField, ...]:
    """Return every field of a recipe and of its parts; `general` has the defaults that ``--set general...`` assumes."""
    return tuple(_fields_of(Recipe, Recipe(name="-", general=TextsSpec(limit=GENERAL_ROWS))))


def _fields_of(cls: Any, defaults: object, prefix: str = "") -> Iterator[RecipeField]:  # noqa: ANN401
    """Yield the fields of a part of a recipe and of the parts in it.

    Args:
        cls: Type of the part.
        defaults: A part with the default values; None if values of required fields make the part.
        prefix: The key of the part and a dot; empty for a recipe.
    """
    for item in fields(cls):
        key = prefix + item.name
        part = PARTS.get(key)
        required = item.default is MISSING and item.default_factory is MISSING
        default = _default(item) if defaults is None else getattr(defaults, item.name)
        # Each training argument is a key itself.
        if key != "training.arguments" and (part is None or default is None):
            yield _recipe_field(cls, item.name, key, "required" if required else _in_words(default))
        if part is not None:
            yield from _fields_of(part, default, f"{key}.")


def _default(item: Field[Any]) -> Any:  # noqa: ANN401  (any value)
    return item.default if item.default_factory is MISSING else item.default_factory()


def shown_fields() -> list[tuple[str, str, str, str]]:
    """Return key, type, default and description of every field; those of `general` are one entry."""
    shown = [(item.key, item.type, item.default, item.description) for item in recipe_fields()]
    first = next(place for place, (key, *_) in enumerate(shown) if key.startswith("general."))
    description = _recipe_field(Recipe, "general", "general", "").description
    general = ("general.FIELD", "as texts.FIELD", f"None; with any FIELD, limit={GENERAL_ROWS}", description)
    others = [item for item in shown if not item[0].startswith("general.")]
    return [*others[:first], general, *others[first:]]


def describe_fields(width: int = 100) -> str:
    """Return all fields of a recipe with type, default and description, as text for ``--help``."""
    lines = ["fields of a recipe (--set KEY=VALUE):"]
    for key, type_, default, description in shown_fields():
        lines += textwrap.wrap(
            f"{key}: {type_} (default: {default})", width, initial_indent="  ", subsequent_indent="    "
        )
        lines += textwrap.wrap(description, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines.append("  learning_rate and every other keyword of SentenceTransformerTrainingArguments")
    return "\n".join(lines)


def _recipe_field(cls: Any, name: str, key: str, default: str) -> RecipeField:  # noqa: ANN401  (a class of pydantic)
    description = " ".join((cls.__pydantic_fields__[name].description or "").split())
    return RecipeField(key, get_type_hints(cls, include_extras=True)[name], default, description)


def _in_words(value: object) -> str:
    if isinstance(value, tuple | dict):
        return ",".join(map(str, value)) or "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field(key: str) -> RecipeField | None:
    """Return the field ``key``, or None for a training argument.

    Raises:
        InputError: If ``key`` is neither.
    """
    known = {item.key: item for item in recipe_fields()}
    if key in known:
        return known[key]
    from leaf_st.training.arguments import argument_types, settable_names  # imports torch, which takes seconds

    if key in argument_types():
        return None
    whole = next((full for full in known if key.startswith(f"{full}.")), None)
    if whole is not None and not any(full.startswith(f"{whole}.") for full in known):
        raise InputError(
            f"--set {key}: expected a key, found a part of the value of {whole}: set the complete value with "
            f"--set '{whole}=...'"
        )
    near = _similar(key, [*known, *settable_names()])
    raise InputError(
        f"--set {key}: no such key; "
        + (f"did you mean {' or '.join(near)}?" if near else "`leaf-st run --help` lists all keys")
    )


def _similar(key: str, known: Sequence[str]) -> list[str]:
    """Return the keys that ``key`` may mean: the first of a part, a name of other tools, or keys of a similar name."""
    from leaf_st.training.arguments import OTHER_NAMES  # imports torch

    if in_part := [full for full in known if full.startswith(f"{key}.")]:
        return in_part[:1]
    last_parts: dict[str, list[str]] = {}
    for full in sorted(known):
        last_parts.setdefault(full.rpartition(".")[2], []).append(full)
    last = key.rpartition(".")[2]
    if last in OTHER_NAMES:
        return [OTHER_NAMES[last], *last_parts.get(last, ())]
    if last in last_parts:
        return last_parts[last]
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
        return near
    return [full for part in difflib.get_close_matches(last, last_parts, n=1, cutoff=0.8) for full in last_parts[part]]


def _parse_training_argument(name: str, text: str) -> Any:  # noqa: ANN401  (any value)
    from leaf_st.training.arguments import argument_types

    return _parsed(name, text, argument_types()[name])


def _parsed(key: str, text: str, hint: Any) -> Any:  # noqa: ANN401  (any annotation, any value)
    value = parse_value(text, hint)
    if isinstance(value, dict | list) and (repeated := repeated_key(text)) is not None:
        raise InputError(
            f"--set {key}: expected each key of a mapping once, found {repeated!r} more than once in {text}: remove "
            "all but one of them"
        )
    return value


def _values_to_reset(before: Any, values: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (any part)
    """Return defaults for the values of ``before`` that belong to a source or model other than the one in ``values``.

    The defaults make `--set texts.source=FILE` and `--set teacher.model=MODEL` sufficient, whatever the recipe names.
    """
    defaults: dict[str, Any] = {}
    if "source" in values and (is_paper := values["source"] == PAPER) != (before.source == PAPER):
        defaults = {"limit": None} if is_paper else {"leave_out": (), "per_source": None}
    if any(name in values and values[name] != getattr(before, known) for name, known in _MODELS.items()):
        defaults = {"revision": None}
        if isinstance(before, TeacherSpec):  # a student of another backbone never runs code
            defaults["trust_remote_code"] = False
        if isinstance(before, TeacherSpec) and before.embeds_new_texts:
            defaults["prompts"] = {}
            if before.prompts and "prompts" not in values:
                _logger.warning(
                    "the recipe's teacher.prompts are left out, because they are those of %s: add %s to keep them",
                    before.name,
                    format_setting("teacher.prompts", before.prompts),
                )
    return {name: value for name, value in defaults.items() if name not in values}


def _changed_part(recipe: Recipe, part: str, values: dict[str, Any]) -> Any:  # noqa: ANN401  (any part)
    before: Any = getattr(recipe, part) or TextsSpec(limit=GENERAL_ROWS)  # only `general` can be None
    try:
        return replace(before, **_values_to_reset(before, values), **values)
    except FieldError as error:
        if error.part != "texts":
            raise
        raise error.in_part(part) from error  # `general` has the type of `texts`


def _changed_inner(before: Any, part: Any, values: dict[str, Any]) -> Any:  # noqa: ANN401  (not validated yet)
    if isinstance(before, Mapping):
        return part(**{**before, **values})
    return replace(before, **values) if isinstance(before, part) else part(**values)


def _require_sets(folders: Sequence[str]) -> None:
    if missing := [name for name in folders if not Path(name).exists()]:
        raise InputError(
            f"evaluate_on: expected existing files or folders, found no {' and no '.join(missing)}: correct the path "
            "(commas separate several sets)"
        )
