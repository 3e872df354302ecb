"""Types and values in words, for messages and for ``leaf-st run --help``."""

import types
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic.fields import FieldInfo

from leaf_st.recipe.types import Named


def type_name(hint: Any) -> str:  # noqa: ANN401  (any annotation)
    """Return the type ``hint`` in words: "int of at least 1", "text or None", "one of l2, mse, cosine"."""
    base, metadata = unwrapped(hint)
    origin, arguments = get_origin(base), get_args(base)
    if names := [item.name for item in metadata if isinstance(item, Named)]:
        return names[0]
    if origin in (Union, types.UnionType):
        names = list(dict.fromkeys(type_name(argument) for argument in arguments if argument is not type(None)))
        return _alternatives_name([*names, *(["None"] if type(None) in arguments else [])])
    if origin is Literal:
        names = [str(argument) for argument in arguments]
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    if is_sequence(base):
        return f"list of {_plural(type_name(arguments[0]))}" if arguments else "list"
    if _is_mapping(base):
        return _mapping_name(arguments)
    if isinstance(base, type) and issubclass(base, Enum):
        return f"one of {', '.join(str(member.value) for member in base)}"
    named = {str: "text", int: "int", float: "number", bool: "true or false", Any: "any value"}
    return named.get(base, f"a {getattr(base, '__name__', base)}") + "".join(_bounds(metadata))


def value_name(value: object) -> str:
    """Return ``value`` in words, for the part of a message that says what was found."""
    if isinstance(value, str) and not value:  # an array compares each of its values
        return "empty text"
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return f"text that is neither valid JSON nor a Python literal: {value}"
    return repr(value)


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
    """Return the plural: "ints of at least 0", "paths or tasks of mteb"."""
    parts = (part.partition(" ") for part in name.split(" or "))
    return " or ".join(f"{noun}s{space}{rest}" for noun, space, rest in parts)


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, Ge):
            yield f" of at least {item.ge}"
        elif isinstance(item, Gt):
            yield f" above {item.gt}"


def unwrapped(hint: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401
    """Return ``hint`` without `Annotated`, and the constraints in it."""
    metadata: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *found = get_args(hint)
        for item in found:
            metadata += item.metadata if isinstance(item, FieldInfo) else [item]
    return hint, metadata


def is_sequence(hint: Any) -> bool:  # noqa: ANN401
    """Return whether ``hint`` is a list, tuple or sequence."""
    return get_origin(unwrapped(hint)[0]) in (list, tuple, Sequence)


def _is_mapping(hint: Any) -> bool:  # noqa: ANN401
    base, _ = unwrapped(hint)
    return base is dict or get_origin(base) in (dict, Mapping)
