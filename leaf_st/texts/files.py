"""Read the rows of local files: parquet, Arrow, jsonl, csv, tsv, txt (one text per line), or a folder of files.

Files are read piece by piece. A file whose format differs from its suffix is an error. A single bad line in a large
file is not an error: the line is counted and left out, here ("not JSON") or by `leaf_st.texts.read`. Bytes that are not
UTF-8 become lone surrogates, which `leaf_st.texts.read` leaves out. Compressed text files are not supported, because
parquet compresses.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from leaf_st.atomic import is_temporary
from leaf_st.errors import FieldError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.columnar import FORMATS, open_pieces
from leaf_st.texts.progress import PartProgress, ReadProgress

_CSV_FIELD_CHARACTERS = 1 << 24  # the csv module's default limit of 128 KiB is shorter than many documents

Record = Mapping[str, object]


class Row(NamedTuple):
    """One row of a file, not yet checked.

    Attributes:
        text: A string, if the row is usable.
        kind: "query" or "document", if the row is usable.
    """

    text: object
    kind: object


class _Source(NamedTuple):
    """A file to read.

    Attributes:
        path: The file.
        column: Column to read.
        key: Name of the recipe part that names the file.
        progress: How far the file has been read.
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


def read_file(
    spec: TextsSpec, skipped: Counter[str], key: str = "texts", progress: ReadProgress | None = None
) -> Iterator[Row]:
    """Yield the rows of the file or folder ``spec.source``; the files of a folder come in order of their paths.

    Args:
        spec: The file and its columns.
        skipped: Counts the lines that are not rows, by reason.
        key: Name of ``spec`` in the recipe, for errors: "texts" or "general".
        progress: Progress to update while the files are read.

    Raises:
        InputError: If the file is missing, empty, broken, of an unknown format, or lacks the text column.
    """
    path, progress = Path(spec.source), progress or ReadProgress()
    parts = table_files(path)
    if not parts:
        yield from _beir_rows(path, skipped, key, progress)
        return
    for source in [_check(part, spec.text_column, key, progress) for part in parts]:
        for record in _records(source, (spec.kind_column,), skipped):
            kind = record.get(spec.kind_column)
            yield Row(record.get(spec.text_column), spec.kind if kind in (None, "") else kind)


def table_files(path: Path) -> list[Path]:
    """Return the files that hold the rows of ``path``, in order; an empty list for a BEIR folder.

    The files below a folder are its parquet files or, if it has none, its Arrow files, in order of their paths.
    """
    if not path.is_dir():
        return [path]
    if any(path.glob("corpus.*")) or any(path.glob("queries.*")):
        return []
    found = (sorted(part for part in path.rglob(f"*{ending}") if not is_temporary(part)) for ending in FORMATS)
    return next(filter(None, found), [])


def read_values(path: Path, column: str, part: str, field: str) -> Iterator[object]:
    """Yield the values of ``column`` in a jsonl, csv or tsv file; row i is row i of `read_file`.

    Args:
        path: The file.
        column: The column.
        part: Part of the recipe that names the column, for errors.
        field: Field of the part that names the column.

    Raises:
        InputError: If the file is missing, empty, broken, or lacks the column.
    """
    source = _check(path, column, "texts", ReadProgress())._replace(setting=(part, field))
    return (record.get(column) for record in _records(source, (), Counter()))


def _beir_rows(folder: Path, skipped: Counter[str], key: str, progress: ReadProgress) -> Iterator[Row]:
    """Yield documents and queries alternately, then the rest of the longer file, so that a limit keeps some of each."""
    paths = [_beir_table(folder, name, key) for name in ("corpus", "queries")]
    corpus, queries = (_check(path, "text", key, progress) for path in paths)
    documents = (Row(_with_title(record), "document") for record in _records(corpus, ("title",), skipped))
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
    raise FieldError(
        key,
        "source",
        f"expected parquet files, or a BEIR folder with {expected}, found {found}: name a file of the folder instead",
        folder,
    )


def _with_title(record: Record) -> object:
    title, text = record.get("title"), record.get("text")
    return f"{title} {text}" if isinstance(title, str) and isinstance(text, str) else text


def _check(path: Path, column: str, key: str, progress: ReadProgress) -> _Source:
    """Check that ``path`` is a file of a known format with content, and add the file to ``progress``."""
    source = _Source(path, column, key, PartProgress(0), (key, "text_column"))
    if not path.is_file():
        raise source.error("no such file: name an existing file or folder")
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise source.error(
            f"expected a file that ends in {', '.join(_READERS)}, or a BEIR folder, "
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


def _records(source: _Source, others: Sequence[str], skipped: Counter[str]) -> Iterator[Record]:
    """Yield the records of ``source``, which must have the text column and may have the ``others``."""
    for record in _READERS[source.path.suffix.lower()](source, others, skipped):
        source.progress.rows += 1
        yield record
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


def _columns(source: _Source, others: Sequence[str], _: Counter[str]) -> Iterator[Record]:
    with broken_columns(source.path, "footer", source.key, "source"):
        file = open_pieces(source.path)
    names = file.schema.names
    _require(source, names)
    columns = [source.column, *(name for name in others if name in names)]
    for piece in range(len(file.sizes)):
        with broken_columns(source.path, f"{file.kind} {piece}", source.key, "source"):
            for batch in file.batches(piece, columns):
                yield from _batch_records(batch)


def _batch_records(batch: pa.RecordBatch) -> Iterator[Record]:
    columns = [_values(column) for column in batch.columns]
    return (dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True))


def _values(column: pa.Array) -> Sequence[object]:
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


def _jsonl(source: _Source, _: Sequence[str], skipped: Counter[str]) -> Iterator[Record]:
    checked = False
    for line in filter(str.strip, _lines(source)):
        record = _parse(line)
        if record is None:
            skipped["not JSON"] += 1
            continue
        if not checked:
            _require(source, record)
            checked = True
        yield record


def _parse(line: str) -> Record | None:
    """Return the JSON object on ``line``, or None if the line is not a JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _csv(source: _Source, _others: Sequence[str], _: Counter[str], delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    # Strict, because an unclosed quote would otherwise turn the rest of the file into one text.
    records = csv.DictReader(_lines(source, newline=""), strict=True, delimiter=delimiter)
    try:
        _require(source, records.fieldnames or ())
        yield from records
    except csv.Error as error:
        raise source.error(
            f"broken csv ({error}): close every quoted text, and double the quotes inside a text",
            f", after line {records.line_num}",
        ) from error


def _txt(source: _Source, _others: Sequence[str], _: Counter[str]) -> Iterator[Record]:
    return ({source.column: line} for line in _lines(source))


def _lines(source: _Source, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, and note how many bytes were read."""
    with (
        source.path.open("rb") as file,
        TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as lines,
    ):
        for line in lines:
            source.progress.done = file.tell()
            yield line


def _require(source: _Source, found: Iterable[str]) -> None:
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


_READERS: dict[str, Callable[[_Source, Sequence[str], Counter[str]], Iterator[Record]]] = {
    **dict.fromkeys(FORMATS, _columns),
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": partial(_csv, delimiter="\t"),
    ".txt": _txt,
}
