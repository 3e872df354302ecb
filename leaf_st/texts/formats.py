"""Reading of one file in any format: parquet, Arrow, jsonl, csv, tsv, txt (one text per line).

A reader yields blocks of rows as lists, one list for each column: up to 1,024 rows of a columnar file, one row of
another file. A file whose format differs from its suffix is an error. A single bad line in a large file is not an
error: the line is counted and left out, here ("not JSON") or by `leaf_st.texts.check`. Bytes that are not UTF-8 become
lone surrogates, which `leaf_st.texts.check` leaves out. Compressed text files are not supported, because parquet
compresses.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from leaf_st.errors import FieldError
from leaf_st.texts.columnar import FORMATS, open_pieces
from leaf_st.texts.progress import PartProgress, ReadProgress

_CSV_FIELD_CHARACTERS = 1 << 24  # the csv module's default limit of 128 KiB is shorter than many documents

Record = Mapping[str, object]
Block = list[list[object]]


class Source(NamedTuple):
    """A file to read.

    Attributes:
        path: The file.
        column: Column to read.
        key: Name of the recipe part that names the file.
        progress: How far the file has been read; who consumes the rows counts them.
        setting: Part and field of the recipe that name the column.
    """

    path: Path
    column: str
    key: str
    progress: PartProgress
    setting: tuple[str, str]

    def error(self, problem: str, place: str = "") -> FieldError:
        """Return an error about this file, or about ``place`` in this file."""
        return FieldError(self.key, "source", problem, f"{self.path}{place}")


def open_source(path: Path, column: str, key: str, progress: ReadProgress) -> Source:
    """Check that ``path`` is a file of a known format with content, and add the file to ``progress``."""
    source = Source(path, column, key, PartProgress(0), (key, "text_column"))
    if not path.is_file():
        raise source.error("no such file: name an existing file or folder")
    ending = path.suffix.lower()
    if ending not in READERS:
        raise source.error(
            f"expected a file that ends in {', '.join(READERS)}, or a BEIR folder, "
            f"found {path.suffix or 'no ending'!r}: convert the file"
        )
    size = path.stat().st_size
    if size == 0:
        raise source.error("the file is empty: name a file with texts")
    rows = None
    if ending in FORMATS:
        with broken_columns(path, "footer", key, "source"):
            rows = sum(open_pieces(path).sizes)
    return source._replace(progress=progress.add(size, rows))


def read_blocks(source: Source, others: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
    """Yield blocks of rows: the values of the source's column, which must exist, and of the ``others``.

    Args:
        source: The file.
        others: More columns; a missing column has the value None in every row.
        skipped: Counts the lines that are not rows, by reason.

    Raises:
        InputError: If the file is broken or lacks the column.
    """
    yield from READERS[source.path.suffix.lower()](source, (source.column, *others), skipped)
    source.progress.total = source.progress.rows


@contextmanager
def broken_columns(path: Path, place: str, part: str, field: str) -> Iterator[None]:
    """Turn the errors of a damaged parquet or Arrow file into an error of the recipe's ``field`` in ``part``."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        form = path.suffix.lower().removeprefix(".")
        problem = f"broken {form} ({error}): copy or create the file again"
        raise FieldError(part, field, problem, f"{path}, {place}") from error


def _columns(source: Source, columns: Sequence[str], _: Counter[str]) -> Iterator[Block]:
    with broken_columns(source.path, "footer", source.key, "source"):
        file = open_pieces(source.path)
    _require(source, file.schema.names)
    present = [name for name in columns if name in file.schema.names]
    for piece in range(len(file.sizes)):
        with broken_columns(source.path, f"{file.kind} {piece}", source.key, "source"):
            for batch in file.batches(piece, present):
                yield [_values(batch.column(name)) if name in present else [None] * len(batch) for name in columns]


def _values(column: pa.Array) -> list[object]:
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check whether a string column is UTF-8
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> object:  # noqa: ANN401  (pyarrow ships no types)
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None


def _jsonl(source: Source, columns: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
    checked = False
    for line in filter(str.strip, _lines(source)):
        record = _parse(line)
        if record is None:
            skipped["not JSON"] += 1
            continue
        if not checked:
            _require(source, record)
            checked = True
        yield _row(record, columns)


def _parse(line: str) -> Record | None:
    """Return the JSON object on ``line``, or None if the line is not a JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _csv(source: Source, columns: Sequence[str], _: Counter[str], delimiter: str = ",") -> Iterator[Block]:
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    # Strict, because an unclosed quote would otherwise turn the rest of the file into one text.
    records = csv.DictReader(_lines(source, newline=""), strict=True, delimiter=delimiter)
    try:
        _require(source, records.fieldnames or ())
        for record in records:
            yield _row(record, columns)
    except csv.Error as error:
        raise source.error(
            f"broken csv ({error}): close every quoted text, and double the quotes inside a text",
            f", after line {records.line_num}",
        ) from error


def _txt(source: Source, columns: Sequence[str], _: Counter[str]) -> Iterator[Block]:
    return (_row({source.column: line}, columns) for line in _lines(source))


def _row(record: Record, columns: Sequence[str]) -> Block:
    return [[record.get(name)] for name in columns]


def _lines(source: Source, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, and note how many bytes were read."""
    with (
        source.path.open("rb") as file,
        TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as lines,
    ):
        for line in lines:
            source.progress.done = file.tell()
            yield line


def _require(source: Source, found: Iterable[str]) -> None:
    require_column(source.path, source.column, found, *source.setting)


def require_column(path: Path, column: str, found: Iterable[str], part: str, field: str) -> None:
    """Check that ``column`` is one of the columns ``found`` in the file ``path``.

    Raises:
        FieldError: If the column is missing; the error is of the recipe's ``field`` in ``part``.
    """
    names = list(found)
    if column not in names:
        content = field.removesuffix("_column")
        raise FieldError(
            part,
            field,
            f"expected a column {column!r} in {path}, found {', '.join(names) or 'none'}: name the column that "
            f"contains the {content}",
        )


READERS: dict[str, Callable[[Source, Sequence[str], Counter[str]], Iterator[Block]]] = {
    **dict.fromkeys(FORMATS, _columns),
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": partial(_csv, delimiter="\t"),
    ".txt": _txt,
}
