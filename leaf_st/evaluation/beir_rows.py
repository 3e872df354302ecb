"""Reading of the tables of a retrieval set: parquet, jsonl, and judgements as tsv with or without a header."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO
from uuid import UUID

from leaf_st.errors import InputError
from leaf_st.evaluation.set_files import Row, open_parquet, parquet_rows, require_content, shortened, unreadable
from leaf_st.texts.content import encoding_of
from leaf_st.texts.lines import bounded_lines

QRELS = ("query-id", "corpus-id", "score")
TEXTS = ("_id", "text")  # of documents and queries
_COLUMNS = (*TEXTS, "id", "title", "instruction", *QRELS)  # other columns may be large
_TREC = ("query-id", "iteration", "corpus-id", "score")
_LARGEST_GRADE = 2**31 - 1  # mteb reads grades as int32


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of the table at ``path``, each with ``columns``; long texts are shortened.

    Raises:
        InputError: If the file cannot be read or is something else, or a row lacks a column.
    """
    require_content(path)
    try:
        rows = list(_READERS[path.suffix](path))
    except InputError:  # a ValueError too
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    if "text" in columns:
        _require_title(path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}: row {number} is {row!r}, expected an object with {', '.join(columns)}: correct the row"
            )
        for column in columns:
            if column not in row:
                raise missing_column(path, rows, number, column)
    return rows


def names_of(path: Path) -> list[str]:
    """Return the names of the columns of a table that `read_rows` has read; in jsonl, those of the first row."""
    if path.suffix == ".parquet":
        names: list[str] = open_parquet(path).schema.names
        return names
    first = next(_READERS[path.suffix](path), None)
    return list(first) if isinstance(first, dict) else []


def missing_column(path: Path, rows: Sequence[Row], number: int, column: str) -> InputError:
    """Return the error about row ``number`` without ``column``, or about the table if no row has the column."""
    expected = ", ".join(QRELS if column in QRELS else TEXTS)
    if any(column in row for row in rows if isinstance(row, dict)):
        return InputError(f"{path}: row {number} has no {column!r}, expected {expected}: correct the row")
    found = ", ".join(names_of(path)) or "none"
    return InputError(f"{path}: expected the columns {expected}, found {found}: add or rename the columns")


def _require_title(path: Path) -> None:
    """Check that no column is named "title" in other case or with spaces: its titles would be left out silently."""
    names = names_of(path)
    similar = [name for name in names if name.strip().casefold() == "title"]
    if similar and "title" not in names:
        raise InputError(f"{path}: expected the column 'title' or none, found {similar[0]!r}: rename that column")


def as_id(value: object) -> str | None:
    """Return a cell as an id, or None if the cell is neither text nor a whole number nor a UUID."""
    if isinstance(value, str | UUID):
        return str(value)
    number = as_integer(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None
    return None if number is None else str(number)


def as_integer(value: object) -> int | None:
    """Return a cell as an integer, or None; 1, 1.0, "1.0" and "1e0" are 1."""
    if isinstance(value, int):
        return int(value)
    try:
        number = value if isinstance(value, Decimal) else float(value)  # type: ignore[arg-type]
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):  # int() raises for NaN and infinity
        return None


def as_grade(value: object) -> int | None:
    """Return a cell as a grade of relevance, or None."""
    grade = as_integer(value)
    return None if grade is None or abs(grade) > _LARGEST_GRADE else grade


def _read_parquet(path: Path) -> Iterator[Row]:
    return parquet_rows(path, _COLUMNS)


def _read_jsonl(path: Path) -> Iterator[Row]:
    with _open(path) as lines:
        rows = filter(None, map(_without_mark, bounded_lines(lines)))
        for number, line in enumerate(rows, start=1):
            try:
                yield shortened(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"row {number}: {error.msg} at character {error.pos + 1}") from error


def _without_mark(line: str) -> str:
    """Return ``line`` without a byte-order mark, which joined files have in the middle, and without blanks around."""
    return line.removeprefix("\ufeff").strip()


@contextmanager
def _open(path: Path) -> Iterator[TextIOWrapper]:
    encoding = encoding_of(path)
    with path.open("rb") as file, TextIOWrapper(file, encoding=encoding.name) as lines:
        file.seek(encoding.start)
        yield lines


def _read_tsv(path: Path) -> Iterator[Row]:
    """Yield the rows below the header; a file without one has the columns of BEIR or, if they are four, of TREC."""
    with _open(path) as lines:
        records = list(_records(lines))
    if records and len(records[0]) == 1:
        raise InputError(
            f"{path}: expected columns separated by tabs, found {records[0][0]!r:.80}: replace the separator"
        )
    names: Sequence[str] = _TREC if records and len(records[0]) == len(_TREC) else QRELS
    if records and not _is_number(records[0][-1]):
        names = records[0]
        records = [record for record in records if record != names]  # joined files repeat the header
    yield from (dict(zip(names, record, strict=False)) for record in records)


def _records(lines: TextIO) -> Iterator[list[str]]:
    """Yield the cells of each line that is not blank; TREC's tools also separate cells by spaces."""
    for line in (line.removeprefix("\ufeff") for line in bounded_lines(lines)):
        if not line.strip():
            continue
        cells = line.rstrip("\n").split("\t") if "\t" in line else line.split()
        yield [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    """Return ``cell`` without quotes around it; a single quote is part of an id."""
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".tsv": _read_tsv}
