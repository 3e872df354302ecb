"""What the parts of a recipe share: their pydantic configuration, and errors that name the field."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, ValidationError

from leaf_st.errors import FieldError
from leaf_st.recipe.type_names import type_name, value_name

CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
HELP = "`leaf-st run --help` describes every field"
_Part = TypeVar("_Part")


class Conflict(ValueError):
    """Two field values that exclude each other. The error names the field, because pydantic adds no location."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


def part(name: str) -> Callable[[type[_Part]], type[_Part]]:
    """Make the constructor of a pydantic dataclass raise `FieldError`, with ``name`` as the part of the recipe."""

    def decorate(cls: type[_Part]) -> type[_Part]:
        validate = cls.__init__

        @wraps(validate)
        def init(self: _Part, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            try:
                validate(self, *args, **kwargs)
            except ValidationError as error:
                raise _field_error(cls, name, error, args, kwargs) from error
            except UnicodeEncodeError:  # pydantic could not write its message
                _require_utf8(cls, name, args, kwargs)
                raise
            _require_utf8(cls, name, args, kwargs)

        cls.__init__ = init  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def _require_utf8(cls: type[Any], part: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check that all texts can be recorded: JSON, and arguments in other encodings, can hold half of a character."""
    for key, value in [*zip((item.name for item in fields(cls)), args, strict=False), *kwargs.items()]:
        if (text := next(_not_utf8(value), None)) is not None:
            raise FieldError(part, key, f"expected text in UTF-8, found {text!r}: correct the text")


def _not_utf8(value: object) -> Iterator[str]:
    """Yield each text in ``value``, or in a list or mapping, that is not UTF-8."""
    if isinstance(value, str):
        if value.encode(errors="ignore").decode() != value:
            yield value
    elif isinstance(value, Mapping):
        for item in (*value, *value.values()):
            yield from _not_utf8(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _not_utf8(item)


def _field_error(
    cls: type[Any], part: str, error: ValidationError, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FieldError:
    """Return one of pydantic's errors as an error about a recipe field."""
    errors = error.errors(include_url=False)
    # An unknown field comes first, because a misspelled field is also reported as missing.
    first = next((item for item in errors if item["type"] == "unexpected_keyword_argument"), errors[0])
    problem, names = first.get("ctx", {}).get("error"), [item.name for item in fields(cls)]
    if isinstance(problem, FieldError):  # of a part of this part
        return problem
    if isinstance(problem, Conflict):
        return FieldError(part, problem.field, str(problem))
    if not first["loc"]:
        return FieldError(part, "", str(problem or first["msg"]))
    place = first["loc"][0]
    key = names[place] if isinstance(place, int) and place < len(names) else str(place)
    if key not in names:
        return FieldError(part, key, f"no such field, expected one of {', '.join(names)}")
    if first["type"] == "missing":
        return FieldError(part, key, f"no value given; {HELP}")
    if problem is not None:
        return FieldError(part, key, str(problem))
    value = kwargs[key] if key in kwargs else args[names.index(key)]
    expected = type_name(get_type_hints(cls, include_extras=True)[key])
    return FieldError(part, key, f"expected {expected}, found {value_name(value)}; {HELP}")
