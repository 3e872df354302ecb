"""Reading the vectors of a table: every form of a vector, block by block, in the order of the rows.

| file | forms |
|---|---|
| parquet, Arrow | lists and fixed-size lists of float16, float32 or float64; binary; the forms of jsonl |
| jsonl | lists of numbers; the forms of csv |
| csv, tsv | `[0.1, ...]` as pgvector writes it; base64 |
| npy beside any table | an array of shape (rows, d) in float16, float32 or float64 |

Binary and base64 values are float32 numbers in little-endian order.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from leaf_st.errors import FieldError
from leaf_st.recipe import TextsSpec
from leaf_st.teacher.vectors.array import Array
from leaf_st.teacher.vectors.columns import Columns
from leaf_st.teacher.vectors.raw import FIELD, Raw
from leaf_st.teacher.vectors.records import Records
from leaf_st.texts.columnar import FORMATS
from leaf_st.texts.files import local_source
from leaf_st.texts.folder import table_files

_ROW_FORMATS = (".jsonl", ".csv", ".tsv")
_DIGITS = re.compile(r"\d+")

_warn_once = cache(logging.getLogger(__name__).warning)  # a run opens the vectors several times


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


def is_here(table: TextsSpec, column: str) -> bool:
    """Return whether ``table`` and the vectors in its ``column`` are files on this machine, not on the hub."""
    places = [table.source, column] if column.endswith(".npy") else [table.source]
    return all(Path(place).expanduser().exists() for place in places)


def open_vectors(table: TextsSpec, column: str) -> VectorFiles:
    """Open the vectors of ``table`` in its ``column``, or in the file ``column`` if its name ends in .npy.

    Raises:
        InputError: If a file is missing or damaged, or has no vectors.
    """
    source = local_source(table.source)
    if not source.exists():
        raise FieldError(
            "texts",
            "source",
            "expected the table of the teacher's vectors, found no such file: run the command where the table is; a "
            "command with --teacher can load the model that made the vectors",
            source,
        )
    paths = table_files(source)
    if not paths:
        raise FieldError("texts", "source", "expected a table with vectors, found a BEIR folder: name a file", source)
    if column.endswith(".npz"):
        raise FieldError(*FIELD, f"expected a column or a .npy file, found {column}: save its array with np.save")
    if column.endswith(".npy"):
        _warn_of_order(paths)
        return Array(Path(column).expanduser())
    endings = {path.suffix.lower() for path in paths}
    if endings <= set(FORMATS):
        return Columns(paths, column)
    if endings <= set(_ROW_FORMATS):
        return Records(paths[0], column)
    raise FieldError(
        "texts",
        "source",
        f"expected a file that ends in {', '.join((*FORMATS, *_ROW_FORMATS))}, because it contains the vectors too, "
        f"found {paths[0].suffix or 'no ending'!r}: convert the file, or name a .npy file in teacher.vector_column",
        source,
    )


def _warn_of_order(paths: Sequence[Path]) -> None:
    """Warn if the order of ``paths`` by name is not their order by number, as Dask counts part.10."""
    for first, second in pairwise(map(str, paths)):
        numbers = [[int(digits) for digits in _DIGITS.findall(path)] for path in (first, second)]
        if _DIGITS.sub("", first) == _DIGITS.sub("", second) and numbers[0] > numbers[1]:
            _warn_once(
                f"{first} is read before {second}: row i of the array belongs to row i of all files in the order of "
                "their names; if the array is in the order of the numbers, write the rows into one file in that order"
            )
            return
