"""Vectors by text, kept in a file, because the vectors of a corpus of millions of texts do not fit into memory."""

import tempfile
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class KeptVectors:
    """The vectors of texts, in a file without a name, which ends with this object or the process.

    Memory holds a number for each text.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with this object)
        weakref.finalize(self, self._file.close)
        self._rows: dict[str, int] = {}
        self._width = 0

    def __contains__(self, text: str) -> bool:
        return text in self._rows

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors, shape (n, d), of n ``texts`` that are not kept yet.

        Raises:
            OSError: If the folder of temporary files is full.
        """
        try:
            self._file.write(np.ascontiguousarray(vectors, dtype=np.float32).data)
            self._file.flush()
        except OSError as error:  # the file has no name that the error could carry
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self._width = vectors.shape[1]
        self._rows.update(zip(texts, range(len(self._rows), len(self._rows) + len(texts)), strict=True))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of ``texts``, shape (n, d)."""
        rows = [self._rows[text] for text in texts]
        mapped = np.memmap(self._file, np.float32, "r", shape=(len(self._rows), self._width))
        return np.asarray(mapped[rows])
