"""Texts that a student must not learn from: the texts of the sets that will measure the student."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.texts.fold import content_id

# The reason under which rows are counted that are left out.
EXCLUDED = "equal to a text of the evaluation sets"


class Contents:
    """The contents of texts: 8 bytes for each text that differs in more than case, punctuation and spaces.

    Args:
        texts: The texts, which are read once.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        ids = array("q", map(content_id, texts))
        self._ids: NDArray[np.int64] = np.unique(np.frombuffer(ids, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._ids)

    def include(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each of n texts is among the contents, shape (n,)."""
        ids = np.fromiter(map(content_id, texts), dtype=np.int64, count=len(texts))
        if not len(self._ids):
            return np.zeros(len(texts), dtype=bool)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        found: NDArray[Any] = self._ids[places] == ids
        return found
