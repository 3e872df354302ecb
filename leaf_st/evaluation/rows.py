"""Measurements of one kind: a JSON list of rows in a file, and an aligned table in the terminal."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from leaf_st.atomic import write_json
from leaf_st.errors import InputError

R = TypeVar("R")


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write ``rows``, which are dataclasses, to ``path`` as a JSON list in place of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in rows])


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Return the rows of ``path``, each a ``kind``.

    Raises:
        InputError: If the file is missing or holds something else.
    """
    try:
        return [kind(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"results {path}: expected a JSON list of {kind.__name__}: {error}") from error


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
