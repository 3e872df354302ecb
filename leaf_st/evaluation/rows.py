"""Result files: a JSON list of rows per measurement, and the finished parts of a measurement that was interrupted."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from leaf_st.atomic import make_folder
from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed, write_sealed

PARTS_FOLDER = "parts"  # the folder of the finished parts in a results folder

R = TypeVar("R")


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write ``rows``, which are dataclasses, to ``path`` as a JSON list; an existing file is replaced."""
    make_folder(path.parent)
    write_sealed(path, [asdict(row) for row in rows])


def read_rows(path: Path, row: type[R]) -> list[R]:
    """Return the rows in ``path`` as instances of ``row``; the types of all values are checked.

    Raises:
        InputError: If the file is missing or contains anything else.
    """
    return read_as(path, list[row], f"a JSON list of measurements ({row.__name__})")  # type: ignore[valid-type]


def read_or_make(part: Path, row: type[R], make: Callable[[], Sequence[R]]) -> list[R]:
    """Return the rows of a finished part (see `part_file`); if the file does not exist, make the rows and write them.

    Raises:
        InputError: If the file contains anything else.
    """
    if not part.exists():
        write_rows(part, make())
    return read_rows(part, row)


def part_file(folder: Path, measurement: str, name: str, *made_of: str) -> Path:
    """Return the file for a part of a measurement in the results folder ``folder``.

    Args:
        folder: Results folder.
        measurement: Name of the measurement, such as "margin".
        name: Name of the part, for readers of the folder.
        made_of: Everything that shapes the rows. A different model or data set gives a different file.
    """
    digest = hashlib.sha256("\0".join(made_of).encode(errors="surrogatepass")).hexdigest()[:16]
    return folder / PARTS_FOLDER / measurement / f"{name}-{digest}.json"


def read_as(path: Path, shape: type[R], expected: str, upgrade: Callable[[Any], Any] = lambda value: value) -> R:
    """Return the JSON in ``path`` as a Python value of the type ``shape``.

    Args:
        path: The file.
        shape: Type of the value.
        expected: Name of the type in the error message.
        upgrade: Converts the JSON of an earlier version.

    Raises:
        InputError: If the file is missing, damaged, or contains anything else.
    """
    try:
        # validate_json rounds numbers differently from json.
        return TypeAdapter(shape).validate_python(upgrade(read_sealed(path)))
    except InputError:  # a ValueError too
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except ValidationError as error:  # a ValueError too
        first = error.errors()[0]
        place = ", ".join(f"row {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"])
        raise InputError(f"{path}: expected {expected}: {place}: {first['msg']}: create the file again") from error
    except ValueError as error:
        raise InputError(f"{path}: expected {expected}: {error}: create the file again") from error
