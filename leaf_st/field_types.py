"""Types of recipe fields and training arguments: their names in messages, and how text becomes a value.

`recipe.py` declares fields with these types, ``--set KEY=VALUE`` parses values with them, and ``leaf-st run --help``
prints their names.
"""

import ast
import json
import os
import re
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # at least two letters: C:/ is a drive


@dataclass(frozen=True)
class Named:
    """The name of an annotated type in messages and help.

    Attributes:
        name: The name in the singular.
    """

    name: str


def url_problem(path: str | Path) -> str | None:
    """Return why ``path`` is not usable as a local path, or None if it has no URL scheme."""
    text = str(path)
    if not _URL.match(text):
        return None
    if "://" not in text:  # Path drops the second slash
        text = text.replace(":/", "://", 1)
    return (
        f"expected a local path, found {text!r}: URLs and object storage are not supported; "
        "copy the files to a local folder and use the path of that folder"
    )


def _to_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _to_local_path(value: object) -> object:
    value = _to_text(value)
    if not isinstance(value, str):
        return value
    if problem := url_problem(value):
        raise ValueError(problem)
    return os.path.expanduser(value)  # unlike Path.expanduser, keeps ~NAME if no such user exists


def _to_sequence(value: object) -> object:
    return (value,) if isinstance(value, str | Path | int) and not isinstance(value, bool) else value


NonEmpty = Annotated[str, BeforeValidator(_to_text), Field(min_length=1)]
LocalPath = Annotated[str, BeforeValidator(_to_local_path), Field(min_length=1), Named("path")]
ModelName = Annotated[str, BeforeValidator(_to_local_path), Field(min_length=1), Named("hub id or path")]
AtLeast0 = Annotated[int, Field(ge=0)]
AtLeast1 = Annotated[int, Field(ge=1)]
AtLeast2 = Annotated[int, Field(ge=2)]
Names = Annotated[Sequence[NonEmpty], BeforeValidator(_to_sequence), AfterValidator(tuple)]
LocalPaths = Annotated[Sequence[LocalPath], BeforeValidator(_to_sequence), AfterValidator(tuple)]
Layers = Annotated[
    Sequence[AtLeast0],
    BeforeValidator(_to_sequence),
    AfterValidator(tuple),
    Field(min_length=1),
    Named("list of layer numbers such as 0,4,5"),
]


def type_name(hint: Any) -> str:  # noqa: ANN401  (any annotation)
    """Return the type ``hint`` in words: "int of at least 1", "text or None", "one of l2, mse, cosine"."""
    base, metadata = _unwrapped(hint)
    origin, arguments = get_origin(base), get_args(base)
    if names := [item.name for item in metadata if isinstance(item, Named)]:
        return names[0]
    if origin in (Union, types.UnionType):
        names = list(dict.fromkeys(type_name(argument) for argument in arguments if argument is not type(None)))
        return _alternatives_name([*names, *(["None"] if type(None) in arguments else [])])
    if origin is Literal:
        names = [str(argument) for argument in arguments]
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    if _is_sequence(base):
        return f"list of {_plural(type_name(arguments[0]))}" if arguments else "list"
    if _is_mapping(base):
        return _mapping_name(arguments)
    if isinstance(base, type) and issubclass(base, Enum):
        return f"one of {', '.join(str(member.value) for member in base)}"
    named = {str: "text", int: "int", float: "number", bool: "true or false", Any: "any value"}
    return named.get(base, f"a {getattr(base, '__name__', base)}") + "".join(_bounds(metadata))


def value_name(value: object) -> str:
    """Return ``value`` in words, for the part of a message that says what was found."""
    if value == "":
        return "empty text"
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return f"text that is neither valid JSON nor a Python literal: {value}"
    return repr(value)


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
    for kind in filter(_is_sequence, others):
        if (items := _split(text)) is not None and (len(items) != 1 or not texts):
            item = get_args(_unwrapped(kind)[0])[0]
            return [parse_value(entry, item) for entry in items]
    return text if texts or not literals else literals[0]


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
    base, _ = _unwrapped(hint)
    if get_origin(base) in (Union, types.UnionType):
        for member in get_args(base):
            yield from _alternatives(member)
    else:
        yield hint


def _unwrapped(hint: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401
    """Return ``hint`` without `Annotated`, and the constraints in it."""
    metadata: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *found = get_args(hint)
        for item in found:
            metadata += item.metadata if isinstance(item, FieldInfo) else [item]
    return hint, metadata


def _is_text(hint: Any) -> bool:  # noqa: ANN401
    base, _ = _unwrapped(hint)
    if get_origin(base) is Literal:
        return any(isinstance(value, str) for value in get_args(base))
    return isinstance(base, type) and (issubclass(base, str) or issubclass(base, Enum))


def _is_sequence(hint: Any) -> bool:  # noqa: ANN401
    return get_origin(_unwrapped(hint)[0]) in (list, tuple, Sequence)


def _is_mapping(hint: Any) -> bool:  # noqa: ANN401
    base, _ = _unwrapped(hint)
    return base is dict or get_origin(base) in (dict, Mapping)


def _mapping_name(arguments: tuple[Any, ...]) -> str:
    if not arguments or arguments[1] is Any:
        return "mapping"
    key, value = arguments
    keys = " or ".join(map(str, get_args(key))) if get_origin(key) is Literal else type_name(key)
    return f"mapping from {keys} to {type_name(value).replace(' or None', ' (or None)')}"


def _alternatives_name(names: Sequence[str]) -> str:
    """Return ``names`` joined by "or", after a comma if a name contains a comma or an "or" itself."""
    if len(names) == 1:
        return names[0]
    if len(names) == 2 and not any("," in name or " or " in name for name in names):
        return " or ".join(names)
    return f"{', '.join(names[:-1])}, or {names[-1]}"


def _plural(name: str) -> str:
    """Return the plural of the first word: "ints of at least 0"."""
    noun, space, rest = name.partition(" ")
    return f"{noun}s{space}{rest}"


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, Ge):
            yield f" of at least {item.ge}"
        elif isinstance(item, Gt):
            yield f" above {item.gt}"
