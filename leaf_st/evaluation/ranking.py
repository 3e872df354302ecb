"""From a retrieval set to its vectors, and from coded vectors to nDCG@10, both as mteb does it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytrec_eval
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.evaluation.beir import BeirSet
from leaf_st.evaluation.coding import compare
from leaf_st.evaluation.modes import Embedder, Mode, Model
from leaf_st.teacher.protocol import Teacher

K = 10
_BLOCK = 256  # queries: what is kept of their similarities is for so many alone

Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]


def embed_set(
    beir: BeirSet,
    *,
    teacher: Teacher | None,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    batch_size: int,
) -> tuple[Embedder, dict[Mode, Vectors]]:
    """Embed the queries and documents of ``beir`` for all ``modes``, each text once per model and side.

    Returns:
        The embedder, and by mode the vectors of queries, shape (q, d), and documents, shape (n, d).

    Raises:
        InputError: If the modes or the models' vectors cannot be used.
    """
    queries, documents = [row["text"] for row in beir.queries], [document_text(row) for row in beir.corpus]
    with tqdm(desc=beir.name, unit="text") as bar:
        embedder = Embedder(teacher=teacher, student=student, modes=modes, batch_size=batch_size, progress=bar.update)
        bar.total = len(documents) * embedder.passes("document") + len(queries) * embedder.passes("query")
        vectors = {
            mode: (embedder.embed(mode, "query", queries), embedder.embed(mode, "document", documents))
            for mode in modes
        }
    return embedder, vectors


def document_text(row: Mapping[str, str]) -> str:
    """Return the text of a document, its title in front."""
    return f"{row['title']} {row['text']}".strip()


def exact_ndcg(beir: BeirSet, queries: NDArray[Any], documents: NDArray[Any], model: Model) -> float:
    """Return nDCG@10 in percent of comparing all coded queries, shape (q, d), with all documents, shape (n, d)."""
    found: dict[str, dict[str, float]] = {}
    for start in range(0, len(queries), _BLOCK):
        scores = compare(queries[start : start + _BLOCK], documents, model)
        names = [row["id"] for row in beir.queries[start : start + _BLOCK]]
        found |= rank(names, beir, scores, [np.flatnonzero(near) for near in scores >= tenth_best(scores)])
    return ndcg(beir, found)


def tenth_best(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tenth largest of each row, or the smallest of fewer; shape (q, n) to (q, 1)."""
    k = min(K, scores.shape[1])
    return np.partition(scores, -k, axis=1)[:, -k, np.newaxis]


def rank(
    names: Sequence[str], beir: BeirSet, scores: NDArray[np.float32], found: Sequence[NDArray[Any]]
) -> dict[str, dict[str, float]]:
    """Return the score of each found document by query id and document id.

    Args:
        names: Ids of q queries.
        beir: The set.
        scores: Similarities, shape (q, n).
        found: Rows of documents that each query found, in any order.
    """
    return {
        name: {beir.corpus[row]["id"]: float(scores[place, row]) for row in rows.tolist()}
        for place, (name, rows) in enumerate(zip(names, found, strict=True))
    }


def ndcg(beir: BeirSet, found: Mapping[str, Mapping[str, float]]) -> float:
    """Return nDCG@10 in percent by pytrec_eval, as mteb calls it: of equal scores the larger document id goes first."""
    metric = f"ndcg_cut_{K}"
    scores = pytrec_eval.RelevanceEvaluator(beir.qrels, {metric.replace("cut_", "cut.")}).evaluate(found)
    return 100 * float(np.mean([score[metric] for score in scores.values()]))
