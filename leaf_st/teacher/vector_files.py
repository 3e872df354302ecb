"""Reading the vectors of a table: every form of a vector, block by block, in the order of the rows.

| file | forms |
|---|---|
| parquet, Arrow | lists and fixed-size lists of float16, float32 or float64; binary; the forms of jsonl |
| jsonl | lists of numbers; the forms of csv |
| csv, tsv | `[0.1, ...]` as pgvector writes it; base64 |
| npy beside any table | an array of shape (rows, d) in float16, float32 or float64 |

Binary and base64 values are float32 numbers in little-endian order.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from leaf_st.errors import FieldError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.columnar import BATCH_ROWS, FORMATS, open_pieces
from leaf_st.texts.files import broken_columns, read_values, require_column, table_files

FIELD = ("teacher", "vector_column")
_ROW_FORMATS = (".jsonl", ".csv", ".tsv")
_NONE = np.empty(0, dtype=np.float32)
_Item = TypeVar("_Item")


class Raw(NamedTuple):
    """The vectors of n consecutive rows, which may differ in width.

    Attributes:
        widths: Width of each row's vector, shape (n,); 0 if the row has no readable vector.
        values: The numbers of all rows, one row after another.
    """

    widths: NDArray[np.int64]
    values: NDArray[np.float32]


class VectorFiles(Protocol):
    """The vectors of a table.

    Attributes:
        paths: The files, in order.
        rows: Number of rows; None if the number is known only after reading.
    """

    paths: list[Path]
    rows: int | None

    def start_of(self, row: int) -> int:
        """Return the first row of the piece in which ``row`` lies: reading can start there."""

    def read(self, start: int) -> Iterator[Raw]:
        """Yield the vectors from row ``start`` on, the first row of a piece, at most `BATCH_ROWS` rows at a time."""


def open_vectors(table: TextsSpec, column: str) -> VectorFiles:
    """Open the vectors of ``table`` in its ``column``, or in the file ``column`` if its name ends in .npy.

    Raises:
        InputError: If a file is missing or damaged, or has no vectors.
    """
    source = Path(table.source)
    if not source.exists():
        raise FieldError(
            "texts",
            "source",
            "expected the table of the teacher's vectors, found no such file: run the command where the table is, or "
            "name the teacher if it can be loaded (--teacher)",
            source,
        )
    paths = table_files(source)
    if not paths:
        raise FieldError("texts", "source", "expected a table with vectors, found a BEIR folder: name a file", source)
    if column.endswith(".npy"):
        return _Array(Path(column).expanduser())
    endings = {path.suffix.lower() for path in paths}
    if endings <= set(FORMATS):
        return _Columns(paths, column)
    if endings <= set(_ROW_FORMATS):
        return _Records(paths[0], column)
    raise FieldError(
        "texts",
        "source",
        f"expected a file that ends in {', '.join((*FORMATS, *_ROW_FORMATS))}, because it contains the vectors too, "
        f"found {paths[0].suffix or 'no ending'!r}: convert the file, or name a .npy file in teacher.vector_column",
        source,
    )


class _Columns:
    """A column of parquet or Arrow files."""

    def __init__(self, paths: list[Path], column: str) -> None:
        self.paths, self._column = paths, column
        self._pieces: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for path in paths:
            with broken_columns(path, "footer", *FIELD):
                file = open_pieces(path)
            require_column(path, column, file.schema.names, *FIELD)
            _require_form(path, column, file.schema.field(column).type)
            self._pieces += [(path, piece) for piece in range(len(file.sizes))]
            sizes += file.sizes
        self._starts = [0, *accumulate(sizes)]
        self.rows: int | None = self._starts[-1]

    def start_of(self, row: int) -> int:
        return self._starts[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def read(self, start: int) -> Iterator[Raw]:
        opened, file = None, None
        for path, piece in self._pieces[self._starts.index(start) :]:
            with broken_columns(path, f"piece {piece}", *FIELD):
                if file is None or path != opened:
                    opened, file = path, open_pieces(path)
                for batch in file.batches(piece, [self._column]):
                    yield decode(batch.column(0))


class _Records:
    """A column of a file that is read row by row."""

    def __init__(self, path: Path, column: str) -> None:
        self.paths, self._column = [path], column
        self.rows: int | None = None

    def start_of(self, row: int) -> int:
        return 0

    def read(self, start: int) -> Iterator[Raw]:
        for values in blocks(read_values(self.paths[0], self._column, *FIELD)):
            yield _joined([parse(value) for value in values])


class _Array:
    """A .npy file; row i belongs to row i of the table.

    The file is mapped for each block, so that the pages of earlier blocks do not count as memory of the process.
    """

    def __init__(self, path: Path) -> None:
        self.paths = [path]
        array = self._map()
        if array.ndim != 2 or array.dtype.kind != "f":
            raise FieldError(
                *FIELD,
                f"expected floating-point numbers of shape (rows, d), found {array.dtype} of shape {array.shape}: save "
                "one vector for each row of the table",
                path,
            )
        self.rows: int | None = len(array)

    def start_of(self, row: int) -> int:
        return row - row % BATCH_ROWS

    def read(self, start: int) -> Iterator[Raw]:
        for first in range(start, self.rows or 0, BATCH_ROWS):
            block = _float32(self._map()[first : first + BATCH_ROWS])
            yield Raw(np.full(len(block), block.shape[1], dtype=np.int64), block.reshape(-1))

    def _map(self) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(self.paths[0], mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FieldError(*FIELD, f"cannot be read ({error}): name a .npy file", self.paths[0]) from error
        return array


def blocks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield lists of `BATCH_ROWS` consecutive items; the last list may be shorter."""
    iterator = iter(items)
    while block := list(islice(iterator, BATCH_ROWS)):
        yield block


def decode(column: pa.Array) -> Raw:
    """Return the vectors of an Arrow column of one of the forms above."""
    if not _is_list(column.type):
        return _joined([parse(value) for value in column.to_pylist()])
    widths = pc.list_value_length(column)
    if column.null_count:
        widths = pc.if_else(column.is_valid(), widths, 0)
    values = column.flatten()  # without the null rows
    return Raw(widths.to_numpy(zero_copy_only=False).astype(np.int64), _float32(values.to_numpy(zero_copy_only=False)))


def parse(value: object) -> NDArray[np.float32]:
    """Return the vector that ``value`` is or encodes, shape (d,); an empty array if it is no vector."""
    read = _PARSERS.get(type(value))
    if read is None:
        return _NONE
    try:
        vector = read(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _NONE
    return vector if vector.ndim == 1 else _NONE


def _parse_text(value: str) -> NDArray[np.float32]:
    text = value.strip()
    if text.startswith("["):
        return _parse_list(json.loads(text))
    return _parse_bytes(base64.b64decode(text, validate=True))


def _parse_list(value: list[float]) -> NDArray[np.float32]:
    return _float32(np.asarray(value, dtype=np.float64))


def _parse_bytes(value: bytes) -> NDArray[np.float32]:
    return np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False)


_PARSERS: dict[type, Callable[[Any], NDArray[np.float32]]] = {
    list: _parse_list,
    str: _parse_text,
    bytes: _parse_bytes,
}


def _joined(vectors: list[NDArray[np.float32]]) -> Raw:
    return Raw(np.array([len(vector) for vector in vectors], dtype=np.int64), np.concatenate([_NONE, *vectors]))


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, which is counted
        return values.astype(np.float32, copy=False)


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _require_form(path: Path, column: str, kind: pa.DataType) -> None:
    types = pa.types
    encoded = (
        types.is_string,
        types.is_large_string,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
    )
    if (_is_list(kind) and types.is_floating(kind.value_type)) or any(test(kind) for test in encoded):
        return
    raise FieldError(
        *FIELD,
        f"expected lists of float16, float32 or float64, binary or text, found {kind} in {path}: convert the column "
        "or name another one",
        column,
    )


class Cursor:
    """Fetches vectors by row number; rows in rising order are read once, in bounded memory.

    Args:
        files: The vectors.
        width: Width that a vector must have.
    """

    def __init__(self, files: VectorFiles, width: int) -> None:
        self._files, self.width = files, width
        self._blocks: Iterator[Raw] = iter(())
        self._first, self._end = 0, 0  # rows of the current block
        self._vectors, self._widths = np.empty((0, width), dtype=np.float32), np.empty(0, dtype=np.int64)

    def fetch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of n rows, which rise, shape (n, d), and their widths; 0 is the width of no vector.

        A vector of another width is replaced by NaN. The arrays may be views of a file.
        """
        if len(rows):
            self._advance(int(rows[0]))
            first = int(rows[0]) - self._first
            if rows[-1] < self._end and (np.diff(rows) == 1).all():
                return self._vectors[first : first + len(rows)], self._widths[first : first + len(rows)]
        vectors, widths = np.empty((len(rows), self.width), dtype=np.float32), np.empty(len(rows), dtype=np.int64)
        done = 0
        while done < len(rows):
            self._advance(int(rows[done]))
            end = int(np.searchsorted(rows, self._end))
            places = rows[done:end] - self._first
            vectors[done:end], widths[done:end] = self._vectors[places], self._widths[places]
            done = end
        return vectors, widths

    def _advance(self, row: int) -> None:
        """Make the block with ``row`` the current block."""
        start = self._files.start_of(row)
        if row < self._first or start > self._end or self._end == 0:
            self._blocks, self._first, self._end = _read_ahead(self._files.read(start)), start, start
        while row >= self._end:
            raw = next(self._blocks, None)
            if raw is None:
                raise FieldError(
                    *FIELD,
                    f"expected a vector for row {row} (counted from 0), found {self._end} rows: give each row of the "
                    "table a vector",
                    self._files.paths[0],
                )
            self._vectors, self._widths = _matrix(raw, self.width), raw.widths
            self._first, self._end = self._end, self._end + len(raw.widths)


def _read_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield ``items``; a thread reads the next item in the meantime."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item


def _matrix(raw: Raw, width: int) -> NDArray[np.float32]:
    right = raw.widths == width
    if right.all():
        return raw.values.reshape(-1, width)
    vectors = np.full((len(right), width), np.nan, dtype=np.float32)
    vectors[right] = raw.values[np.repeat(right, raw.widths)].reshape(-1, width)
    return vectors
