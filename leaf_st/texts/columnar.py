"""Parquet and Arrow IPC files as pieces: row groups or record batches, which are read in any order.

The rows of a piece are read in batches, because a parquet file may consist of a single row group. Batches are bounded
in bytes too: a few KB of a file can hold a long text many times, as entries of a dictionary or compressed. Arrow files
are mapped; both IPC forms are supported, files (Feather, LanceDB, databases) and streams (`datasets`).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 1024
_BATCH_BYTES = 1 << 24  # a batch may have more if a single row has more
_BUFFER = 1 << 20
# Rows that pyarrow decodes at once. A step takes 20 microseconds, and may expand each row to the longest value.
_STEP_ROWS = 32
_UNEVEN = 256  # the longest value of a row group is estimated as this many times its mean
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


class Pieces(Protocol):
    """An open file.

    Attributes:
        kind: Name of a piece in errors.
        schema: The columns and their types.
        sizes: Number of rows of each piece.
    """

    kind: str
    schema: pa.Schema
    sizes: list[int]

    def batches(self, piece: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield some columns of a piece, dictionaries decoded, at most `BATCH_ROWS` rows at a time.

        Raises:
            pa.ArrowException: If the piece is damaged, or several columns have the same one of these names.
        """


class _Parquet:
    kind = "row group"

    def __init__(self, path: Path) -> None:
        # By default, pyarrow reads a complete column of a row group into memory.
        self._file = pq.ParquetFile(pa.OSFile(os.fsencode(path)), buffer_size=_BUFFER, pre_buffer=False)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._readable: set[tuple[str, ...]] = set()

    def batches(self, piece: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        _require_once(self.schema, columns)
        self._require_readable(piece, columns)
        rows = self._rows_at_once(piece, columns)
        steps = self._file.iter_batches(rows, row_groups=[piece], columns=list(columns), use_threads=False)
        return _merged(map(_decoded, steps))

    def _require_readable(self, piece: int, columns: Sequence[str]) -> None:
        """Read a row first: pyarrow ends the process if it is asked for the size of an encrypted column."""
        if tuple(columns) in self._readable:
            return
        try:
            next(self._file.iter_batches(1, row_groups=[piece], columns=list(columns), use_threads=False), None)
        except OSError as error:
            if "decrypt" not in str(error).lower():
                raise
            names = ", ".join(columns)
            raise pa.ArrowInvalid(f"expected columns without encryption among {names}: decrypt the file") from error
        self._readable.add(tuple(columns))

    def _rows_at_once(self, piece: int, columns: Sequence[str]) -> int:
        group = self._file.metadata.row_group(piece)
        schema = self._file.schema
        chunks = [group.column(n) for n in range(group.num_columns) if schema.column(n).path.split(".")[0] in columns]
        # Repeated numbers need fewer bytes in the file than in memory.
        stored = sum(max(chunk.total_uncompressed_size, 8 * chunk.num_values) for chunk in chunks)
        return _step(stored, group.num_rows)


class _Arrow:
    kind = "record batch"

    def __init__(self, path: Path) -> None:
        self._source = pa.memory_map(os.fsencode(path))
        self._ahead: Iterator[tuple[int, pa.RecordBatch]] = iter(())  # of a stream
        try:
            self._file: pa.RecordBatchFileReader | None = pa.ipc.open_file(self._source)
            self.schema = self._file.schema
        except pa.ArrowInvalid:  # no IPC file, so it must be a stream
            self._file = None
            self.schema = self._stream().schema
        # Batches are not kept, because those of a compressed file are in memory.
        self.sizes = [len(batch) for batch in self._all()]
        if self._file is None and self._source.tell() < self._source.size():
            raise pa.ArrowInvalid("expected one stream, found several in the file: write each to a file of its own")

    def batches(self, piece: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        _require_once(self.schema, columns)
        batch = self._batch(piece).select(list(columns))
        for start in range(0, len(batch), BATCH_ROWS):
            part = _checked(batch.slice(start, BATCH_ROWS))
            if part.nbytes <= _BATCH_BYTES and not _has_dictionary(part):
                yield part
                continue
            held = [column.dictionary if pa.types.is_dictionary(column.type) else column for column in part.columns]
            step = min(_step(values.nbytes, len(values)) for values in held)
            yield from _merged(_decoded(part.slice(row, step)) for row in range(0, len(part), step))

    def _batch(self, piece: int) -> pa.RecordBatch:
        if self._file is not None:
            return self._file.get_batch(piece)
        for number, batch in self._ahead:
            if number == piece:
                return batch
        self._ahead = enumerate(self._all())  # a stream is read from its start
        return self._batch(piece)

    def _all(self) -> Iterator[pa.RecordBatch]:
        if self._file is not None:
            return map(self._file.get_batch, range(self._file.num_record_batches))
        return iter(self._stream())

    def _stream(self) -> pa.RecordBatchStreamReader:
        self._source.seek(0)
        return pa.ipc.open_stream(self._source)


def _require_once(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Check that no other column has the name of one of ``columns``: the choice would be a guess."""
    for name in columns:
        if (count := schema.names.count(name)) > 1:
            raise pa.ArrowInvalid(f"expected one column {name!r}, found {count}")


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch``; an offset of a damaged file beyond the mapped memory, which would end the process, raises."""
    for column in batch.columns:
        # As bytes, because a single text that is not UTF-8 is left out and counted by the reader.
        (column.view(_BYTES[column.type]) if column.type in _BYTES else column).validate(full=True)
    return batch


def _step(stored: int, values: int) -> int:
    """Return how many rows to expand at once, where ``values`` values are stored in so many bytes."""
    longest = max(1, min(stored, _UNEVEN * stored // max(1, values)))
    return max(1, min(_STEP_ROWS, _BATCH_BYTES // longest))


def _has_dictionary(batch: pa.RecordBatch) -> bool:
    return any(map(pa.types.is_dictionary, batch.schema.types))


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch`` with values in place of indices in a dictionary."""
    if not _has_dictionary(batch):
        return batch
    columns = [_expanded(column) if isinstance(column, pa.DictionaryArray) else column for column in batch.columns]
    return pa.record_batch(columns, names=batch.schema.names)


def _expanded(column: pa.DictionaryArray) -> pa.Array:
    values = column.dictionary
    if values.type in _VIEWS:  # as polars writes categories; pyarrow cannot decode a dictionary of views
        column = pa.DictionaryArray.from_arrays(column.indices, values.cast(_VIEWS[values.type]))
    return column.dictionary_decode()


def _merged(steps: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield ``steps``, consecutive rows, together as batches of bounded rows and bytes."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for step in steps:
        held.append(step)
        rows, size = rows + len(step), size + step.nbytes
        if rows >= BATCH_ROWS or size >= _BATCH_BYTES:
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_batches(held)


FORMATS: dict[str, Callable[[Path], Pieces]] = {".parquet": _Parquet, ".arrow": _Arrow, ".feather": _Arrow}


def open_pieces(path: Path) -> Pieces:
    """Open the parquet or Arrow file ``path``.

    Raises:
        OSError: If the file cannot be read.
        pa.ArrowException: If the file is damaged.
    """
    return FORMATS[path.suffix.lower()](path)
