"""Agreement of two rankings: which of the teacher's nearest documents the student finds, without relevance judgments.

Documents come in blocks. For each query and mode, only the `DEPTH` nearest documents stay in memory, so memory does not
grow with the number of documents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.evaluation.modes import ROLES, Mode

DEPTH = 100  # documents per list
PERSISTENCE = 0.9  # p of rank-biased overlap: the first ten ranks have 86 % of the weight
CUTOFFS = (1, 10, 100)
_MODES: tuple[Mode, ...] = tuple(ROLES)
_QUERIES = 256  # queries whose similarities to a block are sorted at a time

Floats = NDArray[np.floating[Any]]
Similarity = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest documents of q queries in one mode.

    Attributes:
        documents: Indices of the k nearest documents, the nearest first, shape (q, k).
        scores: Similarity of these documents in this mode and all other modes, each of shape (q, k).
    """

    documents: NDArray[np.int64]
    scores: Mapping[Mode, Floats]


@dataclass(frozen=True, eq=False)
class Compared:
    """Agreement of one mode with the teacher, each array of shape (q,).

    Attributes:
        recalls: Share of the teacher's k nearest documents that are found, by k. A cutoff of the number of documents or
            more is left out, because every list would contain all documents.
        overlap: Rank-biased overlap.
        correlation: Correlation of the scores; NaN where one side has the same score for all documents.
    """

    recalls: Mapping[int, Floats]
    overlap: Floats
    correlation: Floats


def similarities(
    of_teacher: Similarity, of_student: Similarity, queries: tuple[Floats, Floats], documents: tuple[Floats, Floats]
) -> dict[Mode, Floats]:
    """Return the similarity of each query to each document in every mode, each of shape (queries, documents).

    Args:
        of_teacher: The teacher's similarity function.
        of_student: The student's similarity function.
        queries: Vectors of the queries by the teacher and by the student.
        documents: Vectors of the documents by the teacher and by the student.
    """
    return {
        "teacher": np.asarray(of_teacher(queries[0], documents[0])),
        "standard": np.asarray(of_student(queries[1], documents[1])),
        "asymmetric": np.asarray(of_teacher(queries[1], documents[0])),
    }


class Search:
    """Exact search of q queries in every mode, over documents that are added in blocks.

    Args:
        own: Index of the document that is the query itself and is left out of its list, or -1; shape (q,).
        documents: Number of all documents.
    """

    def __init__(self, own: NDArray[np.int64], documents: int) -> None:
        self._own = own
        self._documents = documents - int((own >= 0).any())  # that each query can find
        self._first = 0
        depth = min(DEPTH, self._documents)
        self._found = {mode: np.full((len(own), depth), -1, np.int64) for mode in _MODES}
        self._scores = {mode: np.full((len(own), depth, len(_MODES)), -np.inf, np.float32) for mode in _MODES}

    def add(self, scores: Mapping[Mode, Floats]) -> None:
        """Add the next n documents by their similarities in every mode, each of shape (q, n)."""
        count = scores["teacher"].shape[1]
        rows = np.arange(self._first, self._first + count)
        for start in range(0, len(self._own), _QUERIES):
            part = slice(start, start + _QUERIES)
            block = np.stack([scores[mode][part] for mode in _MODES], axis=2).astype(np.float32)
            block[rows == self._own[part, np.newaxis]] = -np.inf
            for mode in _MODES:
                self._merge(mode, part, rows, block)
        self._first += count

    def _merge(self, mode: Mode, part: slice, rows: NDArray[np.int64], block: NDArray[np.float32]) -> None:
        """Keep the best of the earlier documents and the documents ``rows`` for the queries of ``part``."""
        scores = np.concatenate([self._scores[mode][part], block], axis=1)
        documents = np.concatenate([self._found[mode][part], np.broadcast_to(rows, block.shape[:2])], axis=1)
        depth, own = self._found[mode].shape[1], scores[:, :, _MODES.index(mode)]
        best = np.argpartition(own, -depth, axis=1)[:, -depth:]
        self._found[mode][part] = np.take_along_axis(documents, best, axis=1)
        self._scores[mode][part] = np.take_along_axis(scores, best[:, :, np.newaxis], axis=1)

    def nearest(self) -> dict[Mode, Nearest]:
        """Return the lists of all modes after all documents were added; of equal scores the first document leads."""
        assert self._first >= self._documents, "documents are missing"
        lists = {}
        for place, mode in enumerate(_MODES):
            order = np.lexsort((self._found[mode], -self._scores[mode][:, :, place]), axis=1)
            scores = np.take_along_axis(self._scores[mode], order[:, :, np.newaxis], axis=1)
            by_mode = {other: scores[:, :, number] for number, other in enumerate(_MODES)}
            lists[mode] = Nearest(np.take_along_axis(self._found[mode], order, axis=1), by_mode)
        return lists

    def compare(self, lists: Mapping[Mode, Nearest], mode: Mode) -> Compared:
        """Return the agreement of ``mode`` with the teacher, from the lists of `nearest`."""
        teacher, student = lists["teacher"], lists[mode]
        return Compared(
            {k: recall(teacher, student, k) for k in CUTOFFS if k < self._documents},
            rank_biased_overlap(teacher.documents, student.documents),
            correlation(teacher, student, mode),
        )


def recall(teacher: Nearest, student: Nearest, k: int) -> Floats:
    """Return the share of the teacher's k nearest documents among the student's k nearest, shape (q,).

    A document counts if the teacher's score of it is at least the score of the teacher's document k, so that equally
    near documents are interchangeable.
    """
    least = teacher.scores["teacher"][:, k - 1, np.newaxis]
    found: Floats = (student.scores["teacher"][:, :k] >= least).mean(axis=1)
    return found


def rank_biased_overlap(first: NDArray[np.int64], second: NDArray[np.int64], p: float = PERSISTENCE) -> Floats:
    """Return the extrapolated rank-biased overlap of two lists of documents, each of shape (q, k), as shape (q,).

    RBO_EXT of Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28(4), 2010 (Eq. 32,
    for lists of equal length k): X_k / k * p^k + (1 - p) / p * sum of X_d / d * p^d over d = 1 ... k. X_d is the number
    of documents that the first d ranks of both lists share. The value is 1 for equal lists and 0 for disjoint lists.
    """
    depth = first.shape[1]
    ranks = np.arange(depth)
    depths = np.arange(1, depth + 1)
    overlap = np.empty(len(first))
    for start in range(0, len(first), _QUERIES):
        same = first[start : start + _QUERIES, :, np.newaxis] == second[start : start + _QUERIES, np.newaxis, :]
        queries, ours, theirs = np.nonzero(same)
        met = np.zeros((len(same), depth))  # documents that the lists share for the first time at a depth
        np.add.at(met, (queries, np.maximum(ranks[ours], ranks[theirs])), 1)
        shares = met.cumsum(axis=1) / depths
        overlap[start : start + _QUERIES] = shares[:, -1] * p**depth + (1 - p) / p * (shares * p**depths).sum(axis=1)
    return overlap


def correlation(teacher: Nearest, student: Nearest, mode: Mode) -> Floats:
    """Return Pearson's correlation of the teacher's and the student's scores, shape (q,).

    The scores of a query are those of the union of both lists: a document in only one of them has scores in both modes.
    This selection lowers the correlation: a document with a low score in one mode is in the union only if its score in
    the other mode is high. The result is negative for weak students, and NaN where all scores of a side are equal.
    """
    found = np.empty(len(teacher.documents))
    sides: tuple[Mode, Mode] = (mode, "teacher")
    for query, (expected, documents) in enumerate(zip(teacher.documents, student.documents, strict=True)):
        new = ~np.isin(documents, expected)
        ours, theirs = (
            np.concatenate([teacher.scores[of][query], student.scores[of][query][new]]).astype(np.float64)
            for of in sides
        )
        varies = np.ptp(ours) > 0 and np.ptp(theirs) > 0
        found[query] = np.corrcoef(ours, theirs)[0, 1] if varies else np.nan
    return found


def terciles(values: Floats) -> list[NDArray[np.bool_]]:
    """Return masks of the smallest, middle and largest third of ``values``, all of shape (q,).

    Equal values are in the same third, so the thirds may have unequal sizes; empty thirds are left out.
    """
    first, second = np.quantile(values, [1 / 3, 2 / 3], method="inverted_cdf")
    masks = [values <= first, (values > first) & (values <= second), values > second]
    return [mask for mask in masks if mask.any()]
