"""How the text in ``--set KEY=VALUE`` becomes a value of the field's type."""

import ast
import json
import shlex
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from leaf_st.recipe.type_names import is_sequence, unwrapped


def parse_value(text: str, hint: Any) -> Any:  # noqa: ANN401  (any annotation, any value)
    """Return the value that ``text`` stands for in a field of the type ``hint``.

    A field that accepts text keeps the text, unless the text fits another type of the field: ``None`` in an optional
    field, a number, a list or a mapping. If no type fits, the first literal is returned, which validation rejects.
    """
    alternatives = list(_alternatives(hint))
    literals = list(_literals(text))
    if any(literal is None for literal in literals):  # null or None
        return None
    texts = [kind for kind in alternatives if _is_text(kind)]
    others = [kind for kind in alternatives if not _is_text(kind)]
    for literal in literals:
        if any(fits(literal, kind) for kind in others):
            return literal
    for kind in filter(is_sequence, others):
        if (items := _split(text)) is not None and (len(items) != 1 or not texts):
            item = get_args(unwrapped(kind)[0])[0]
            return [parse_value(entry, item) for entry in items]
    mapping = next((literal for literal in literals if isinstance(literal, dict)), None)
    if mapping is not None and any(dict in (kind, get_origin(kind)) for kind in others):
        return mapping  # of other types than the field's
    return text if texts or not literals else literals[0]


def format_setting(key: str, value: object) -> str:
    """Return the option of a command that sets ``key`` to ``value``, a text, None or a mapping of JSON values."""
    text = json.dumps(dict(value), ensure_ascii=False) if isinstance(value, Mapping) else str(value)
    return f"--set {shlex.quote(f'{key}={text}')}"


def fits(value: object, hint: Any) -> bool:  # noqa: ANN401  (any annotation)
    """Return whether ``value`` has the type ``hint`` without conversion; an int is also a number."""
    if is_dataclass(hint):  # pydantic would need a configuration of the class
        return isinstance(value, hint) if isinstance(hint, type) else False
    adapter = TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False))
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def repeated_key(text: str) -> str | None:
    """Return a key that a mapping in ``text`` has several times, of which parsing keeps the last value; None if none.

    The syntax of JSON's mappings is also valid in Python, so one parser finds the keys of both.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # as in `_literals`
            parsed = ast.parse(text.strip(), mode="eval")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    for mapping in ast.walk(parsed):
        keys = [key.value for key in getattr(mapping, "keys", ()) if isinstance(key, ast.Constant)]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                return str(key)
    return None


def _literals(text: str) -> Iterator[Any]:
    """Yield ``text`` parsed as JSON and as a Python literal, if it is valid, and floats without a fraction as ints."""
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings(action="ignore"):  # invalid escapes in text that is not a literal
                value = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        yield value
        if isinstance(value, float) and value.is_integer():
            yield int(value)


def _split(text: str) -> list[str] | None:
    """Return the items of a list separated by commas, with or without brackets; None if a literal list."""
    if any(isinstance(literal, list | tuple | dict) and text.lstrip()[:1] in "[({" for literal in _literals(text)):
        return None
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("[]", "()"):
        inner = inner[1:-1]
    return [item.strip() for item in inner.split(",") if item.strip()]


def _alternatives(hint: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the members of a union with their annotations, or ``hint`` itself if it is not a union."""
    base, _ = unwrapped(hint)
    if get_origin(base) in (Union, types.UnionType):
        for member in get_args(base):
            yield from _alternatives(member)
    else:
        yield hint


def _is_text(hint: Any) -> bool:  # noqa: ANN401
    base, _ = unwrapped(hint)
    if get_origin(base) is Literal:
        return any(isinstance(value, str) for value in get_args(base))
    return isinstance(base, type) and (issubclass(base, str) or issubclass(base, Enum))
