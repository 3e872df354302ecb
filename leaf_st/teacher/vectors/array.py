"""Vectors in a .npy file beside a table."""

from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.atomic import require_file
from leaf_st.errors import FieldError
from leaf_st.teacher.vectors.raw import FIELD, Raw, as_float32
from leaf_st.texts.columnar import BATCH_ROWS


class Array:
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
        """Return a multiple of the block size."""
        return row - row % BATCH_ROWS

    def read(self, start: int) -> Iterator[Raw]:
        """Yield the vectors from row ``start`` on, in blocks."""
        for first in range(start, self.rows or 0, BATCH_ROWS):
            block = as_float32(self._map()[first : first + BATCH_ROWS])
            yield Raw(np.full(len(block), block.shape[1], dtype=np.int64), block.reshape(-1))

    def _map(self) -> NDArray[Any]:
        try:
            require_file(self.paths[0])
            array: NDArray[Any] = np.lib.format.open_memmap(self.paths[0], mode="r")
        # numpy parses the header as Python, and maps as many bytes as the header says.
        except (OSError, ValueError, EOFError, OverflowError, TokenError) as error:
            problem = f"cannot be read ({error}): name a .npy file of numbers"
            raise FieldError(*FIELD, problem, self.paths[0]) from error
        return array
