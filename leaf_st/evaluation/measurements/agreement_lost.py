"""Rows of the queries whose lists differ most from the teacher's."""

from collections.abc import Sequence

import numpy as np

from leaf_st.evaluation.display import first_words
from leaf_st.evaluation.measurements.agreement_search import SearchedCollection
from leaf_st.evaluation.measurements.lost_queries import LostHitRow
from leaf_st.evaluation.modes import ROLES, Mode

LOST = 20  # queries that are shown
_HITS = 5  # documents of each list that are shown
_EQUAL = 1 - 1e-9  # overlap above which two lists are equal


def lost_rows(searched: SearchedCollection, queries: Sequence[str]) -> list[LostHitRow]:
    """Return the first documents of the queries with the lowest mean overlap of both modes."""
    overlap = np.mean([compared.overlap for compared in searched.compared.values()], axis=0)
    worst = [query for query in np.argsort(overlap, kind="stable").tolist()[:LOST] if overlap[query] < _EQUAL]
    return [
        hit
        for place, query in enumerate(worst, 1)
        for mode in ROLES
        for hit in _hits(searched, mode, query, place, queries[query])
    ]


def _hits(searched: SearchedCollection, mode: Mode, query: int, place: int, asked: str) -> list[LostHitRow]:
    collection, nearest = searched.collection, searched.lists[mode]
    documents = nearest.documents[query, :_HITS]
    texts = collection.store.texts(collection.documents[documents].tolist())
    expected = {document: rank for rank, document in enumerate(searched.lists["teacher"].documents[query].tolist(), 1)}
    return [
        LostHitRow(
            set=collection.name,
            place=place,
            asked=first_words(asked),
            mode=mode,
            overlap=1.0 if mode == "teacher" else float(searched.compared[mode].overlap[query]),
            rank=rank,
            score=float(nearest.scores[mode][query, rank - 1]),
            teacher_rank=expected.get(document),
            text=first_words(row.text),
            model=searched.student,
            teacher=searched.teacher,
        )
        for rank, (document, row) in enumerate(zip(documents.tolist(), texts, strict=True), 1)
    ]
