"""Measurements of one kind: a JSON list of rows in a file, and an aligned table in the terminal."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from leaf_st.atomic import write_json
from leaf_st.errors import InputError

# The files of a results folder that hold rows, beside `leaf_st.evaluation.results.TASKS`.
ALIGNMENT, EXPORT, MODELS, SAMPLES = "alignment.json", "export.json", "models.json", "samples.json"
COMPRESSION, INDEX, MARGIN, LATENCY = "compression.json", "index.json", "margin.json", "latency.json"
# Folder of a results folder: the rows of each part of a measurement that is finished, so that a stopped one goes on.
PARTS = "parts"

R = TypeVar("R")


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write ``rows``, which are dataclasses, to ``path`` as a JSON list in place of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in rows])


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Return the rows of ``path``, each a ``kind`` with values of its types.

    Raises:
        InputError: If the file is missing or holds something else.
    """
    return read_as(path, list[kind], f"a JSON list of measurements ({kind.__name__})")  # type: ignore[valid-type]


def once(part: Path, kind: type[R], make: Callable[[], Sequence[R]]) -> list[R]:
    """Return the rows that ``part`` (see `part_of`) holds, or else those that ``make`` gives, which it then holds.

    Raises:
        InputError: If the file is there and holds something else.
    """
    if not part.exists():
        write_rows(part, make())
    return read_rows(part, kind)


def part_of(folder: Path, what: str, name: str, *made_of: str) -> Path:
    """Return the file for a part of the measurement ``what`` in the results folder ``folder``.

    Args:
        folder: Results folder.
        what: The measurement, such as "margin".
        name: Of the part, for those who look.
        made_of: All that shapes its rows: with another model or other data it is another file.
    """
    digest = hashlib.sha256("\0".join(made_of).encode(errors="surrogatepass")).hexdigest()[:16]
    return folder / PARTS / what / f"{name}-{digest}.json"


def read_as(path: Path, shape: type[R], expected: str) -> R:
    """Return the JSON of ``path`` as a ``shape`` of Python, which ``expected`` names.

    Raises:
        InputError: If the file is missing or holds something else.
    """
    try:
        # Not validate_json, which rounds otherwise than json.
        return TypeAdapter(shape).validate_python(json.loads(path.read_bytes()))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:  # a ValueError too
        first = error.errors()[0]
        place = ", ".join(f"row {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"])
        raise InputError(f"{path}: expected {expected}: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {expected}: {error}") from error


def aligned(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return ``lines`` of equally many cells as text: ``left`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
