"""Agreement@10 of vectors in place of the teacher's: the held-out rows of a store search other rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.measurements.baseline import recall
from leaf_st.teacher.store import EmbeddingStore


@dataclass(frozen=True, eq=False)
class HeldOutSearch:
    """Held-out rows of a store that search other rows.

    Attributes:
        queries: Positions of the queries in the held-out rows.
        documents: Rows of the documents.
    """

    queries: NDArray[np.int64]
    documents: list[int]


def plan_search(store: EmbeddingStore, fitted: Sequence[int], held_out: Sequence[int]) -> HeldOutSearch:
    """Return the held-out queries and all documents among the rows.

    Texts of one kind search the other texts: the held-out rows are then the queries, and no query finds itself.
    """
    kinds = [np.array([row.kind for row in store.texts(rows)]) for rows in (held_out, fitted)]
    queries = np.flatnonzero(kinds[0] == "query")
    documents = [row for row, kind in zip([*held_out, *fitted], np.concatenate(kinds), strict=True) if kind != "query"]
    if len(queries) and documents:
        return HeldOutSearch(queries, documents)
    return HeldOutSearch(np.arange(len(held_out)), list(fitted))


def agreement(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    search: HeldOutSearch,
    store: EmbeddingStore,
    student: SentenceTransformer,
) -> float:
    """Return the share of the teacher's ten nearest documents that the queries find, in percent.

    Args:
        found: Vectors of the held-out rows, shape (n, d), by a student or a map.
        expected: The teacher's vectors of these rows, shape (n, d).
        search: Queries and documents.
        store: The store of the rows; its documents are the teacher's.
        student: A student of the teacher, which has the teacher's similarity function.
    """
    documents = store.embeddings(search.documents).astype(np.float32)
    ours, theirs = ((vectors[search.queries], documents) for vectors in (found, expected))
    return recall(ours, theirs, student)
