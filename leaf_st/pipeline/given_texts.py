"""A caller's in-memory texts, saved to a file in the run folder, so that the run can resume from its folder.

A second call must pass the same texts: `keep_texts` compares them with the file, one block at a time. Memory does not
grow with the number of texts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from leaf_st.atomic import make_folder, require_file, write_whole
from leaf_st.errors import InputError
from leaf_st.teacher.vectors.parse import parse
from leaf_st.texts.columnar import open_pieces

_BLOCK = 1024
_SCHEMA = pa.schema({"text": pa.string(), "kind": pa.string()})


class _Row(NamedTuple):
    """One row of the file; the reader of the file counts and skips rows without a text.

    Attributes:
        text: The text, or None if the caller's text is missing or cannot be encoded as UTF-8.
        kind: "query", "document", or None for the default.
        vector: The teacher's vector in float32, if the caller gives vectors; empty if it cannot be read.
    """

    text: str | None
    kind: str | None
    vector: bytes | None = None


def keep_texts(texts: Iterable[Any], path: Path, vector_column: str | None = None) -> None:
    """Write ``texts`` to the parquet file ``path``, or check that the file contains these texts.

    Args:
        texts: Strings, mappings with ``text`` and optionally ``kind``, or a data set with columns of these names.
        path: The file.
        vector_column: Key or column of the teacher's vectors, which are kept under the same name; None without vectors.

    Raises:
        InputError: If an item is not a text, ``texts`` is empty, or the file contains other texts.
    """
    rows = _rows(texts, vector_column)
    if path.exists():
        _require_same(rows, path, vector_column)
        return
    first = next(rows, None)
    if first is None:
        raise InputError("texts: expected at least one text, found none: pass a list of strings or the path of a file")
    make_folder(path.parent)
    write_whole(path, lambda temporary: _write(first, rows, temporary, vector_column))


def _rows(texts: Iterable[Any], vector_column: str | None) -> Iterator[_Row]:
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise InputError(
            f"texts: expected a list of strings, a data set or a path, found {type(texts).__name__}: "
            "pass one of its parts, such as texts['train']"
        )
    if isinstance(texts, datasets.Dataset | datasets.IterableDataset):
        required = ["text", *([vector_column] if vector_column else [])]
        if (names := texts.column_names) is None:  # a stream, for example after `map` or of a csv file
            texts = _of_unknown_columns(texts, required)
        else:
            _require_columns(names, required)
            texts = texts.select_columns([name for name in (*required, "kind") if name in names])
    elif hasattr(texts, "columns") or hasattr(texts, "column_names"):  # iteration would give the names of the columns
        raise InputError(
            f"texts: expected texts, found a {type(texts).__name__}: pass one column, such as list(frame['text']), or "
            "datasets.Dataset.from_pandas(frame) for columns 'text' and 'kind'"
        )
    elif isinstance(texts, Set):
        raise InputError(
            f"texts: expected texts in a fixed order, found a {type(texts).__name__}, whose order differs between "
            "processes, so that a run could not be resumed: pass sorted(texts)"
        )
    for number, item in enumerate(texts):
        row = _row(item, number)
        if number == 0 and row.text is not None and _is_file(row.text):
            raise InputError(
                f"texts: expected texts, found the name of a file, {row.text}: pass the content of the files, or the "
                "path of one file or folder"
            )
        yield row if vector_column is None else row._replace(vector=_vector(item, vector_column, number))


def _of_unknown_columns(stream: Iterable[Any], required: Sequence[str]) -> Iterator[Any]:
    """Yield the rows of ``stream``, whose first row shows the columns."""
    for number, row in enumerate(stream):
        if number == 0 and isinstance(row, Mapping):
            _require_columns(list(row), required)
        yield row


def _require_columns(names: Sequence[str], required: Sequence[str]) -> None:
    for name in required:
        if name not in names:
            found = ", ".join(names) or "none"
            raise InputError(f"texts: expected a column {name!r}, found {found}: rename the column")


def _vector(item: object, column: str, number: int) -> bytes:
    if not isinstance(item, Mapping) or column not in item:
        raise InputError(f"texts: expected mappings with 'text' and {column!r}, found {item!r:.100} at index {number}")
    value = item[column]
    # As MySQL and Postgres return binary values; the `tolist` of bytes would give the numbers 0 to 255.
    if isinstance(value, bytearray) or (isinstance(value, memoryview) and value.itemsize == 1):
        value = bytes(value)
    # Arrays have the first method; vectors of pgvector and series of polars have the second.
    to_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    return parse(value if to_list is None else to_list()).tobytes()


def _row(item: object, number: int) -> _Row:
    text, kind = (item.get("text"), item.get("kind")) if isinstance(item, Mapping) else (item, None)
    if not isinstance(text, str | None) or not isinstance(kind, str | None):
        raise InputError(
            f"texts: expected strings, or mappings with 'text' and 'kind', found {item!r:.100} at index {number}"
        )
    return _Row(text if text is not None and _is_unicode(text) else None, kind)


def _is_file(text: str) -> bool:
    path = Path(text)
    try:
        return bool(path.suffix) and path.is_file()  # a word of a list may be the name of a file such as LICENSE
    except (OSError, ValueError):  # too long, or with characters that no name has
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(first: _Row, others: Iterator[_Row], path: Path, vector_column: str | None) -> None:
    schema = _SCHEMA if vector_column is None else _SCHEMA.append(pa.field(vector_column, pa.binary()))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        block = [first, *islice(others, _BLOCK - 1)]
        while block:
            columns = list(zip(*block, strict=True))[: len(schema)]
            writer.write_batch(pa.record_batch(list(map(pa.array, columns, schema.types)), schema=schema))
            block = list(islice(others, _BLOCK))


def _require_same(rows: Iterator[_Row], path: Path, vector_column: str | None) -> None:
    for number, (given, kept) in enumerate(zip_longest(rows, _read(path, vector_column))):
        if given != kept:
            found = "no more texts" if given is None else f"{given.text!r:.60}"
            if given is not None and kept is not None and given.text == kept.text:
                found += " with another kind or vector"
            expected = "no more texts" if kept is None else f"{kept.text!r:.60}"
            raise InputError(
                f"{path.parent.parent} is a run on other texts: expected {expected} at index {number}, found {found}; "
                "name another output, or delete the folder"
            )


def _read(path: Path, vector_column: str | None) -> Iterator[_Row]:
    names = ["text", "kind", *([vector_column] if vector_column else [])]
    try:
        require_file(path)
        file = open_pieces(path)
        for piece in range(len(file.sizes)):
            for batch in file.batches(piece, names):
                yield from map(_Row, *(batch.column(name).to_pylist() for name in names))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}): delete the file, then make the same call again") from error
