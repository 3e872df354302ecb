"""Reading of one file in any format: parquet, Arrow, jsonl, csv, tsv, txt (one text per line).

A reader yields blocks of rows as lists, one list for each column: up to 1,024 rows of a columnar file, one row of
another file. A file whose format differs from its suffix is an error. A single bad line in a large file is not an
error: the line is counted and left out, here ("not a JSON object") or by `leaf_st.texts.check`. Text files are UTF-8,
unless a byte-order mark announces another encoding. Bytes that are not in the encoding of the file become lone
surrogates, which `leaf_st.texts.check` leaves out. Binary columns contain UTF-8, as Impala, ClickHouse and older Spark
write texts. Compressed text files are not supported, because parquet compresses.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa

from leaf_st.texts.columnar import FORMATS
from leaf_st.texts.content import content_problem, doubt_about, encoding_of
from leaf_st.texts.lines import read_csv, read_jsonl, read_tsv, read_txt
from leaf_st.texts.progress import PartProgress, ReadProgress
from leaf_st.texts.source import Block, SourceFile, broken_columns, open_columns

_logger = logging.getLogger(__name__)
_warn_once = cache(_logger.warning)  # a command opens a file several times


def open_source(path: Path, column: str, key: str, progress: ReadProgress) -> SourceFile:
    """Check that ``path`` is a file of a known format with content, and add the file to ``progress``."""
    source = SourceFile(path, column, key, PartProgress(0), (key, "text_column"))
    if path.is_symlink() and not path.exists():
        raise source.error(f"a link to {path.readlink()}, which does not exist: restore that file, or remove the link")
    if not path.is_file():
        raise source.error(_not_a_file(path))
    ending, size = path.suffix.lower(), path.stat().st_size
    known = f"a file that ends in {', '.join(READERS)}, or a BEIR folder"
    if ending in READERS and size == 0:
        raise source.error("the file is empty: name a file with texts")
    if problem := content_problem(path, known):
        raise source.error(problem)
    if ending not in READERS:
        raise source.error(
            f"expected {known}, found {path.suffix or 'no ending'!r}: convert the file, or, if each "
            "line is a text, rename the file so that its name ends in .txt"
        )
    if ending in FORMATS:
        return source._replace(progress=progress.add(size, sum(open_columns(path, key, "source").sizes)))
    if ending == ".txt" and (doubt := doubt_about(path)):
        _warn_once("%s: %s", path, doubt)
    return source._replace(progress=progress.add(size), encoding=encoding_of(path))


def _not_a_file(path: Path) -> str:
    """Return what is wrong with ``path``, and the remedy."""
    if path.exists():
        return "a pipe or device, which cannot be read twice: write its content to a file, and name the file"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and path.suffix.lower() not in READERS:
        return f"no such file: name an existing file or folder, or a data set on the hub as hf://datasets/{path}"
    return "no such file: name an existing file, or a folder of parquet or Arrow files"


def read_blocks(source: SourceFile, others: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
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


def _columns(source: SourceFile, columns: Sequence[str], _: Counter[str]) -> Iterator[Block]:
    file = open_columns(source.path, source.key, "source")
    if not file.schema.names and not sum(file.sizes):  # an empty DataFrame, such as a piece that Dask left empty
        return
    source.require(file.schema.names)
    _require_decoded(source, file.schema.types[file.schema.names.index(source.column)])
    source.require_kinds(file.schema.names)
    source.refuse_similar(file.schema.names, columns)
    present = [name for name in columns if name in file.schema.names]
    for piece in range(len(file.sizes)):
        with broken_columns(source.path, f"{file.kind} {piece}", source.key, "source"):
            for batch in file.batches(piece, present):
                yield [_values(batch.column(name)) if name in present else [None] * len(batch) for name in columns]


def _require_decoded(source: SourceFile, kind: pa.DataType) -> None:
    """Check that the column does not hold JSON, whose texts are in quotes and have escapes."""
    if getattr(kind, "extension_name", None) == "arrow.json":
        raise source.error(
            f"expected texts in the column {source.column!r}, found JSON, in which texts have quotes and escapes: "
            "write the column as text, in SQL with ->> in place of ->"
        )


def _values(column: pa.Array) -> list[object]:
    if _is_binary(column.type):
        return [value if value is None else value.decode(errors="surrogateescape") for value in column.to_pylist()]
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check whether a string column is UTF-8
        return _values(column.cast(pa.large_binary()))
    return values


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(test(kind) for test in tests)


READERS: dict[str, Callable[[SourceFile, Sequence[str], Counter[str]], Iterator[Block]]] = {
    **dict.fromkeys(FORMATS, _columns),
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_txt,
}
