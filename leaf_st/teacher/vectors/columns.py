"""Vectors in a column of parquet or Arrow files."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leaf_st.errors import FieldError
from leaf_st.teacher.vectors.parse import joined, parse
from leaf_st.teacher.vectors.raw import FIELD, Raw, as_float32
from leaf_st.texts.columnar import open_pieces
from leaf_st.texts.source import broken_columns, open_columns, require_column


class Columns:
    """A column of parquet or Arrow files."""

    def __init__(self, paths: list[Path], column: str) -> None:
        self.paths, self._column = paths, column
        self._pieces: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for path in paths:
            file = open_columns(path, *FIELD)
            if not sum(file.sizes):  # such as an empty DataFrame, whose columns have no types
                continue
            require_column(path, column, file.schema.names, *FIELD)
            _require_form(path, column, file.schema.field(column).type)
            self._pieces += [(path, piece) for piece in range(len(file.sizes))]
            sizes += file.sizes
        self._starts = [0, *accumulate(sizes)]
        self.rows: int | None = self._starts[-1]

    def start_of(self, row: int) -> int:
        """Return the first row of the row group or record batch of ``row``."""
        return self._starts[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def read(self, start: int) -> Iterator[Raw]:
        """Yield the vectors from row ``start`` on, in blocks."""
        opened, file = None, None
        for path, piece in self._pieces[self._starts.index(start) :]:
            with broken_columns(path, f"piece {piece}", *FIELD):
                if file is None or path != opened:
                    opened, file = path, open_pieces(path)
                for batch in file.batches(piece, [self._column]):
                    yield decode(batch.column(0))


def decode(column: pa.Array) -> Raw:
    """Return the vectors of an Arrow column in one of the forms of `leaf_st.teacher.vectors.files`."""
    if not _is_list(column.type):
        return joined([parse(value) for value in column.to_pylist()])
    widths = pc.list_value_length(column)
    if column.null_count:
        widths = pc.if_else(column.is_valid(), widths, 0)
    values = column.flatten()  # without the null rows
    return Raw(
        widths.to_numpy(zero_copy_only=False).astype(np.int64), as_float32(values.to_numpy(zero_copy_only=False))
    )


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _require_form(path: Path, column: str, kind: pa.DataType) -> None:
    types = pa.types
    others = (
        types.is_null,  # as pandas writes rows without a vector
        types.is_string,
        types.is_large_string,
        types.is_string_view,  # as polars writes texts in Arrow files
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_fixed_size_binary,
    )
    if (_is_list(kind) and types.is_floating(kind.value_type)) or any(test(kind) for test in others):
        return
    raise FieldError(
        *FIELD,
        f"expected lists of float16, float32 or float64, binary or text, found {kind} in {path}: convert the column "
        "or name another one",
        column,
    )
