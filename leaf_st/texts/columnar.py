"""Parquet and Arrow IPC files as pieces: row groups or record batches, which are read in any order.

The rows of a piece are read in batches, because a parquet file may consist of a single row group. Arrow files are
mapped; both IPC forms are supported, files (Feather, LanceDB, databases) and streams (`datasets`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 1024
_BUFFER = 1 << 20
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}


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
        """Yield some columns of a piece, at most `BATCH_ROWS` rows at a time."""


class _Parquet:
    kind = "row group"

    def __init__(self, path: Path) -> None:
        # By default, pyarrow reads a complete column of a row group into memory.
        self._file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def batches(self, piece: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(BATCH_ROWS, row_groups=[piece], columns=list(columns), use_threads=False)


class _Arrow:
    kind = "record batch"

    def __init__(self, path: Path) -> None:
        source = pa.memory_map(str(path))
        try:
            reader = pa.ipc.open_file(source)
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except pa.ArrowInvalid:  # no IPC file, so it must be a stream
            source.seek(0)
            reader = pa.ipc.open_stream(source)
            self._batches = list(reader)
        self.schema = reader.schema
        self.sizes = [len(batch) for batch in self._batches]

    def batches(self, piece: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        batch = self._batches[piece].select(list(columns))
        for start in range(0, len(batch), BATCH_ROWS):
            yield _checked(batch.slice(start, BATCH_ROWS))


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch``; an offset of a damaged file beyond the mapped memory, which would end the process, raises."""
    for column in batch.columns:
        # As bytes, because a single text that is not UTF-8 is left out and counted by the reader.
        (column.view(_BYTES[column.type]) if column.type in _BYTES else column).validate(full=True)
    return batch


FORMATS: dict[str, Callable[[Path], Pieces]] = {".parquet": _Parquet, ".arrow": _Arrow, ".feather": _Arrow}


def open_pieces(path: Path) -> Pieces:
    """Open the parquet or Arrow file ``path``.

    Raises:
        OSError: If the file cannot be read.
        pa.ArrowException: If the file is damaged.
    """
    return FORMATS[path.suffix.lower()](path)
