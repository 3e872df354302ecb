"""Coded vectors, their similarities, and nDCG@10 as mteb computes it.

Vectors can be cut to their first coordinates (MRL) and stored as float32, int8 or bits (paper 3.1, Figures 5 and 6).
The paper does not specify the codes. This module uses the codes of sentence-transformers' `quantize_embeddings`:

- float32: the vectors themselves.
- int8: 256 steps between the smallest and the largest value of each coordinate in any document. With one range for all
  coordinates, a coordinate of large values would leave few steps for the others. A search compares the float32 query
  with decoded documents, as FAISS does (``QT_8bit``): products of codes would weight the coordinates differently, and
  a student's queries may exceed the range of the teacher's documents.
- binary: the signs of queries and documents, eight to a byte; codes are similar if few bits differ.

No search rescores the documents that it found.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytrec_eval
from numpy.typing import NDArray
from sentence_transformers.util.quantization import quantize_embeddings

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet
from leaf_st.evaluation.embedder import TeacherOrStudent
from leaf_st.evaluation.modes import CODINGS, Coding
from leaf_st.models.vectors import have_norm_1, normalized

K = 10
_STEPS = 255  # between the smallest and the largest code of int8
_BLOCK = 256  # queries whose similarities are in memory at a time


def check_codings(codings: Sequence[str]) -> None:
    """Check that all ``codings`` exist.

    Raises:
        InputError: If a coding is unknown.
    """
    for coding in codings:
        if coding not in CODINGS:
            raise InputError(f"precision {coding!r} is unknown: expected some of {', '.join(CODINGS)}")


def length_is_free(model: TeacherOrStudent, *vectors: NDArray[np.float32]) -> bool:
    """Return whether the length of a vector carries no information, so that cut vectors can be normalised.

    This holds if ``model`` compares by cosine, even where it does not normalise, or if all ``vectors``, each of shape
    (n, d), have norm 1. It does not hold for a dot product of vectors of different lengths.
    """
    if model.similarity_fn_name == "cosine":
        return True
    return all(have_norm_1(side, 1e-3) for side in vectors)


def cut(vectors: NDArray[np.float32], dimension: int, unit: bool) -> NDArray[np.float32]:
    """Return the first ``dimension`` coordinates of n vectors, shape (n, dimension), of norm 1 if ``unit``."""
    head = vectors[:, :dimension]
    return normalized(head) if unit else head


def code(
    queries: NDArray[np.float32], documents: NDArray[np.float32], coding: Coding
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return queries, shape (q, d), and documents, shape (n, d), as a search compares them.

    Returns:
        float32 of the same shapes, decoded if ``coding`` is int8; or bits: uint8 of shapes (q, ceil(d / 8)) and
        (n, ceil(d / 8)).
    """
    if coding == "float32":
        return queries, documents
    if coding == "binary":
        return np.packbits(queries > 0, axis=1), np.packbits(documents > 0, axis=1)
    return queries, _coarse(documents)


def _coarse(documents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``documents``, shape (n, d), after coding as int8: each coordinate is the middle of its step.

    A zero vector stays zero. Its decoded value is noise, which a cosine would scale to norm 1.
    """
    codes, low, steps = int8_codes(documents)
    found: NDArray[np.float32] = low + (codes + np.float32(128.5)) * steps
    found[~documents.any(axis=1)] = 0
    return found


def int8_codes(
    documents: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Return the int8 codes of ``documents``, shape (n, d), and the smallest value and step of each coordinate, (d,).

    A coordinate is decoded as ``low + (code + 128.5) * step``.
    """
    low, high = documents.min(axis=0), documents.max(axis=0)
    # Where all values are equal, as of a single document, the step is 0, by which codes cannot be computed.
    least = np.float32(1e-4) * np.maximum(1, np.abs(low))
    ranges = np.stack([low, np.where(high > low, high, low + least)])
    codes = np.asarray(quantize_embeddings(documents, "int8", ranges=ranges))
    return codes, low, (high - low) / _STEPS


def code_bytes(dimension: int, coding: Coding) -> int:
    """Return the size of a stored document vector with ``dimension`` coordinates."""
    return {"float32": 4 * dimension, "int8": dimension, "binary": -(-dimension // 8)}[coding]


def compare(queries: NDArray[Any], documents: NDArray[Any], model: TeacherOrStudent) -> NDArray[np.float32]:
    """Return the similarity of queries and documents from `code`, shape (q, n); more is better.

    Bits are compared by the number of equal bits minus the number of different bits, which is exact: equally near
    documents have equal scores. Other vectors are compared by the function of ``model``, which embedded the documents.
    """
    if queries.dtype == np.uint8:
        return _signs(queries) @ _signs(documents).T
    found: NDArray[np.float32] = np.asarray(model.similarity(queries.astype(np.float32), documents.astype(np.float32)))
    return found


def _signs(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    return 2 * np.unpackbits(bits, axis=1).astype(np.float32) - 1


def exact_ndcg(beir: BeirSet, queries: NDArray[Any], documents: NDArray[Any], model: TeacherOrStudent) -> float:
    """Return nDCG@10 in percent of exact search with coded queries, shape (q, d), over documents, shape (n, d)."""
    found: dict[str, dict[str, float]] = {}
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores = without_own(compare(queries[block], documents, model), beir.own_places[block])
        names = [row["id"] for row in beir.queries[block]]
        found |= rank(names, beir, scores, [np.flatnonzero(near) for near in scores >= tenth_best(scores)])
    return ndcg(beir, found)


def without_own(scores: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.float32]:
    """Leave out of each ranking the document that is the query itself, by the score -inf, and return ``scores``.

    Args:
        scores: Similarities, shape (q, n), which are changed.
        own: Place of this document, or -1; shape (q,).
    """
    queries = np.flatnonzero(own >= 0)
    scores[queries, own[queries]] = -np.inf
    return scores


def tenth_best(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tenth largest score of each row, shape (q, n) to (q, 1); the smallest score if n is below ten."""
    k = min(K, scores.shape[1])
    return np.partition(scores, -k, axis=1)[:, -k, np.newaxis]


def rank(
    names: Sequence[str], beir: BeirSet, scores: NDArray[np.float32], found: Sequence[NDArray[Any]]
) -> dict[str, dict[str, float]]:
    """Return the score of each document that was found and is not left out, by query id and document id.

    Args:
        names: Ids of q queries.
        beir: The set.
        scores: Similarities, shape (q, n); -inf for documents that are left out.
        found: Indices of the documents that each query found, in any order.
    """
    return {
        name: {
            beir.corpus[row]["id"]: float(scores[place, row]) for row in rows[scores[place, rows] > -np.inf].tolist()
        }
        for place, (name, rows) in enumerate(zip(names, found, strict=True))
    }


def ndcg(beir: BeirSet, found: Mapping[str, Mapping[str, float]]) -> float:
    """Return nDCG@10 in percent by pytrec_eval, as mteb calls it; among equal scores, the larger id comes first."""
    metric = f"ndcg_cut_{K}"
    scores = pytrec_eval.RelevanceEvaluator(beir.qrels, {metric.replace("cut_", "cut.")}).evaluate(found)
    return 100 * float(np.mean([score[metric] for score in scores.values()]))
