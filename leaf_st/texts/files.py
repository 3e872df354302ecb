"""Rows of local files: parquet, jsonl, csv, txt (one text a line), or a folder of BEIR or of parquet.

Files are never held whole. One that is not what it seems is an error. A single bad line in a large file is not: it is
counted and left out, here ("not JSON") or by `leaf_st.texts.read`. Bytes that are not UTF-8 become lone surrogates,
which the latter knows. Compressed text is not read: parquet compresses.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from leaf_st.atomic import is_temporary
from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec

_BATCH_ROWS = 1024
_CSV_FIELD_CHARACTERS = 1 << 24  # the csv module's own limit, 128 KiB, is shorter than many documents

Record = Mapping[str, object]


class Row(NamedTuple):
    """One row as it lies in the file, to be checked by the reader.

    Attributes:
        text: What should be a string.
        kind: What should be "query" or "document".
    """

    text: object
    kind: object


class _Source(NamedTuple):
    """A file to read.

    Attributes:
        path: The file.
        column: Its column that holds the text.
        key: The part of the recipe that names the file.
    """

    path: Path
    column: str
    key: str

    def __str__(self) -> str:
        return f"{self.key}.source {self.path}"


def read_file(spec: TextsSpec, skipped: Counter[str], key: str = "texts") -> Iterator[Row]:
    """Yield the rows of the file or folder that ``spec.source`` names; of a folder of parquet files by their paths.

    Args:
        spec: Which file, and which of its columns.
        skipped: Where lines that are no rows are counted, by reason.
        key: The part of the recipe that ``spec`` is, named in errors: "texts" or "general".

    Raises:
        InputError: If the file is not there, empty, broken, of an unknown format, or lacks the text column.
    """
    path = Path(spec.source)
    parts = _parts(path)
    if path.is_dir() and not parts:
        yield from _beir_rows(path, skipped, key)
        return
    for part in parts or [path]:
        for record in _records(_Source(part, spec.text_column, key), (spec.kind_column,), skipped):
            kind = record.get(spec.kind_column)
            yield Row(record.get(spec.text_column), spec.kind if kind in (None, "") else kind)


def _parts(path: Path) -> list[Path]:
    """Return the parquet files below a folder in the order of their paths; none of a BEIR folder or a file."""
    is_beir = any(path.glob("corpus.*")) or any(path.glob("queries.*"))
    return [] if is_beir else sorted(part for part in path.rglob("*.parquet") if not is_temporary(part))


def _beir_rows(folder: Path, skipped: Counter[str], key: str) -> Iterator[Row]:
    """Yield documents and queries in turn while both last, so that a limit keeps some of each."""
    corpus, queries = (_Source(_beir_table(folder, name, key), "text", key) for name in ("corpus", "queries"))
    documents = (Row(_titled(record), "document") for record in _records(corpus, ("title",), skipped))
    asked = (Row(record.get("text"), "query") for record in _records(queries, (), skipped))
    for pair in zip_longest(documents, asked):
        yield from (row for row in pair if row is not None)


def _beir_table(folder: Path, name: str, key: str) -> Path:
    candidates = (folder / f"{name}.parquet", folder / f"{name}.jsonl")
    for path in candidates:
        if path.is_file():
            return path
    expected = " or ".join(path.name for path in candidates)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{key}.source {folder}: expected parquet files, or a BEIR folder with {expected}, found {found}: "
        "name a file of the folder instead"
    )


def _titled(record: Record) -> object:
    title, text = record.get("title"), record.get("text")
    return f"{title} {text}" if isinstance(title, str) and isinstance(text, str) else text


def _records(source: _Source, others: Sequence[str], skipped: Counter[str]) -> Iterator[Record]:
    """Return the records of ``source``, whose table has its text column for certain and ``others`` perhaps."""
    path = source.path
    if not path.is_file():
        raise InputError(f"{source}: no such file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{source}: expected a file that ends in {', '.join(_READERS)}, or a BEIR folder, "
            f"found {path.suffix or 'no ending'!r}"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{source}: the file is empty")
    return reader(source, others, skipped)


def _parquet(source: _Source, others: Sequence[str], _: Counter[str]) -> Iterator[Record]:
    place = "footer"
    try:
        with pq.ParquetFile(source.path) as file:
            names = file.schema_arrow.names
            _require(source, names)
            columns = [source.column, *(name for name in others if name in names)]
            for group in range(file.num_row_groups):
                place = f"row group {group}"
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                    yield from _batch_records(batch)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source}, {place}: broken parquet ({error}): copy or make it anew") from error


def _batch_records(batch: pa.RecordBatch) -> Iterator[Record]:
    columns = [_values(column) for column in batch.columns]
    return (dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: pa.Array) -> Sequence[object]:
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check that a string column is UTF-8
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> object:  # noqa: ANN401  (pyarrow ships no types)
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None


def _jsonl(source: _Source, _: Sequence[str], skipped: Counter[str]) -> Iterator[Record]:
    checked = False
    with _open(source.path) as lines:
        for line in filter(str.strip, lines):
            record = _parse(line)
            if record is None:
                skipped["not JSON"] += 1
                continue
            if not checked:
                _require(source, record)
                checked = True
            yield record


def _parse(line: str) -> Record | None:
    """Return the object on ``line``, or None where there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _csv(source: _Source, _others: Sequence[str], _: Counter[str]) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    with _open(source.path, newline="") as lines:
        # Strict, since a quote that is never closed would otherwise swallow the rest of the file as one text.
        records = csv.DictReader(lines, strict=True)
        try:
            _require(source, records.fieldnames or ())
            yield from records
        except csv.Error as error:
            raise InputError(
                f"{source}, after line {records.line_num}: broken csv ({error}): "
                "close the quotes, and double those inside a text"
            ) from error


def _txt(source: _Source, _others: Sequence[str], _: Counter[str]) -> Iterator[Record]:
    with _open(source.path) as lines:
        for line in lines:
            yield {source.column: line}


def _open(path: Path, newline: str | None = None) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _require(source: _Source, found: Iterable[str]) -> None:
    names = list(found)
    if source.column not in names:
        raise InputError(
            f"{source}: no column {source.column!r}, found {', '.join(names) or 'none'}: "
            f"set {source.key}.text_column to the one that holds the text"
        )


_READERS: dict[str, Callable[[_Source, Sequence[str], Counter[str]], Iterator[Record]]] = {
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".txt": _txt,
}
