"""The agreement of a collection's queries: of all, by length, and by distance from the training texts."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.measurements.agreement_lost import lost_rows
from leaf_st.evaluation.measurements.agreement_row import AgreementRow, Group
from leaf_st.evaluation.measurements.agreement_search import SearchedCollection, search_collection
from leaf_st.evaluation.measurements.collection import Collection
from leaf_st.evaluation.measurements.list_agreement import terciles
from leaf_st.evaluation.measurements.lost_queries import LostHitRow
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.models.tokens import token_counts

Distances = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """All rows of one set of texts.

    Attributes:
        agreement: The agreement by mode and group.
        lost: Documents of the queries that lose most.
    """

    agreement: Sequence[AgreementRow]
    lost: Sequence[LostHitRow]


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of the queries: the name of a group, its smallest and largest value, and a mask of shape (q,)."""

    group: Group
    low: float | None
    high: float | None
    mask: NDArray[np.bool_]


def measure_collection(
    collection: Collection, student: SentenceTransformer, names: tuple[str, str], distances: Distances | None
) -> Measured:
    """Search the documents of ``collection`` in all modes and compare the lists.

    Args:
        collection: Queries and documents with the teacher's vectors.
        student: The student.
        names: Names of student and teacher in the rows.
        distances: Returns the distance of the teacher's vectors of q queries, shape (q, d), to the training texts.
    """
    searched = search_collection(collection, student, names)
    asked = collection.queries.tolist()
    texts = [row.text for row in collection.store.texts(asked)]
    parts = [_Part("all", None, None, np.full(len(asked), True))]
    unit: Group = "tokens" if callable(student.tokenizer) else "characters"
    parts += _thirds(unit, token_counts(student, texts).astype(np.float64))
    if distances is not None:
        vectors = collection.store.embeddings(asked).astype(np.float32)
        parts += _thirds("distance", distances(vectors).astype(np.float64))
    rows = [_row(searched, mode, part) for part in parts for mode in STUDENT_MODES]
    for row in rows[: len(STUDENT_MODES)]:
        found = f"{row.recall_10 or 0:.1f}%"
        if row.recall_10 is None:
            found = f"undefined: 10 is not less than the documents that a query searches ({row.documents:,} in all)"
        _logger.info("%s, %s mode: recall@10 of the teacher's documents %s", row.set, row.mode, found)
    return Measured(rows, lost_rows(searched, texts))


def _thirds(group: Group, values: NDArray[np.float64]) -> list[_Part]:
    return [_Part(group, float(values[mask].min()), float(values[mask].max()), mask) for mask in terciles(values)]


def _row(searched: SearchedCollection, mode: Mode, part: _Part) -> AgreementRow:
    collection, compared = searched.collection, searched.compared[mode]
    recalls = {k: 100 * float(values[part.mask].mean()) for k, values in compared.recalls.items()}
    correlations = compared.correlation[part.mask]
    defined = correlations[np.isfinite(correlations)]
    return AgreementRow(
        set=collection.name,
        mode=mode,
        group=part.group,
        low=part.low,
        high=part.high,
        queries=int(part.mask.sum()),
        documents=len(collection.documents),
        recall_1=recalls.get(1),
        recall_10=recalls.get(10),
        recall_100=recalls.get(100),
        overlap=float(compared.overlap[part.mask].mean()),
        correlation=float(defined.mean()) if len(defined) else None,
        asked=collection.asked,
        trained=collection.trained,
        model=searched.student,
        teacher=searched.teacher,
    )
