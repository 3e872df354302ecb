"""Embedding of texts of both kinds, each kind with its own method of the teacher."""

import numpy as np
from numpy.typing import NDArray

from leaf_st.teacher.protocol import Targets
from leaf_st.texts import Text


def embed_rows(teacher: Targets, rows: list[Text]) -> NDArray[np.float32]:
    """Embed texts of mixed kinds; returns shape (n, d), row i for text i."""
    encoders = {"query": teacher.encode_query, "document": teacher.encode_document}
    if len(kinds := {row.kind for row in rows}) == 1:  # without a copy
        return np.asarray(encoders[kinds.pop()]([row.text for row in rows]), dtype=np.float32)
    vectors = np.empty((len(rows), teacher.fingerprint.dimension), dtype=np.float32)
    for kind, encode in encoders.items():
        places = [place for place, row in enumerate(rows) if row.kind == kind]
        if places:
            vectors[places] = encode([rows[place].text for place in places])
    return vectors
