"""Reading of the files of evaluation sets: their contents are checked, and long texts are cut to their beginning."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from leaf_st.errors import InputError
from leaf_st.texts.columnar import Pieces, open_pieces
from leaf_st.texts.content import content_problem

LONGEST = 1_000_000  # characters of a text; no model reads as many

Row = dict[str, Any]

_logger = logging.getLogger(__name__)
_warn_once = cache(_logger.warning)  # a command reads a set several times


def require_content(path: Path) -> None:
    """Check that ``path`` is a file, and that its content is what its name announces.

    Raises:
        InputError: If the file is missing, a pipe or device, or something else, such as a pointer of git LFS.
    """
    try:
        problem = content_problem(path) if path.stat().st_size or not path.is_file() else "the file is empty: add rows"
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a file") from error
    if problem:
        raise InputError(f"{path}: {problem}")


def open_parquet(path: Path) -> Pieces:
    """Open the parquet file ``path``.

    Raises:
        InputError: If the file is something else or damaged.
    """
    require_content(path)
    try:
        return open_pieces(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of the parquet file ``path``, with those of ``columns`` that the file has; texts are `shortened`.

    Raises:
        InputError: If the file is something else or damaged.
    """
    file = open_parquet(path)
    present = [name for name in columns if name in file.schema.names] or file.schema.names[:1]
    try:
        for piece in range(len(file.sizes)):
            for batch in file.batches(piece, present):
                yield from map(shortened, batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def shortened(row: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """Return ``row`` with the first `LONGEST` characters of each of its texts."""
    if not isinstance(row, dict):
        return row
    values = {key: _decoded(value) for key, value in row.items()}
    return {key: value[:LONGEST] if isinstance(value, str) else value for key, value in values.items()}


def _decoded(value: Any) -> Any:  # noqa: ANN401  (any cell)
    """Return bytes that are UTF-8 as text, because Impala, ClickHouse and older Spark write texts as binary values."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def warn_shortened(path: Path, texts: Iterable[str]) -> None:
    """Log how many ``texts`` of the file ``path`` were shortened, if any."""
    if count := sum(len(text) >= LONGEST for text in texts):
        _warn_once(f"{path}: {count:,} texts have {LONGEST:,} characters or more: the first {LONGEST:,} are read")


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error about a file that cannot be read as what its ending says."""
    return InputError(f"{path} cannot be read as {path.suffix[1:]} ({error}): create the file again")
