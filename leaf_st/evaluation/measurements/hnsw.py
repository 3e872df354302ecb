"""Building and searching an HNSW index of usearch, with one thread so that the same vectors yield the same numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet
from leaf_st.evaluation.ranking import K, compare, ndcg, rank, tenth_best, without_own
from leaf_st.teacher.protocol import Teacher

EXPANSION_ADD = 128  # usearch's default
_METRICS = {"cosine": "cos", "dot": "ip", "euclidean": "l2sq"}
_SAME = 1e-6  # relative tolerance, because the index rounds differently and equally near documents are equally correct


def index_class() -> Any:  # noqa: ANN401  (usearch is optional)
    """Return the index class of usearch.

    Raises:
        InputError: If usearch is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise InputError("search in an index needs usearch: pip install 'leaf-st[index]'") from error
    return Index


def metric_of(model: Teacher) -> str:
    """Return the name of the similarity function of ``model`` in usearch.

    Raises:
        InputError: If usearch does not support the function.
    """
    name = model.similarity_fn_name
    if name not in _METRICS:
        raise InputError(
            f"the teacher compares by {name}: expected one of {', '.join(_METRICS)}, which usearch supports: "
            "skip the measurement"
        )
    return _METRICS[name]


def build(new_index: Any, documents: NDArray[Any], metric: str, connectivity: int) -> Any:  # noqa: ANN401  (as above)
    """Return an index of documents from `code`: float32, shape (n, d), or bits, shape (n, ceil(d / 8)).

    An index of decoded int8 documents finds the documents that an index of codes finds that decodes while it compares.
    """
    bits = documents.dtype == np.uint8
    index = new_index(
        ndim=documents.shape[1] * (8 if bits else 1),
        metric="hamming" if bits else metric,
        dtype="b1" if bits else "f32",
        connectivity=connectivity,
        expansion_add=EXPANSION_ADD,
    )
    index.add(np.arange(len(documents)), documents, threads=1)
    return index


def search_index(
    index: Any,  # noqa: ANN401  (as above)
    beir: BeirSet,
    queries: NDArray[Any],
    documents: NDArray[Any],
    model: Teacher,
    expansions: Sequence[int],
) -> list[tuple[int | None, float, float, float]]:
    """Return expansion, recall, nDCG@10 and comparisons of exact search and of each of ``expansions``."""
    own = beir.own_places
    scores = without_own(compare(queries, documents, model), own)
    tenth = tenth_best(scores)
    near = (scores >= tenth - _SAME * np.abs(tenth)) & (scores > -np.inf)
    names = [row["id"] for row in beir.queries]
    possible = np.minimum(K, len(documents) - (own >= 0))  # documents that each query can find
    # The index also finds the document that is the query itself.
    asked = min(K + int((own >= 0).any()), len(documents))
    best = ndcg(beir, rank(names, beir, scores, [np.flatnonzero(row) for row in near]))
    rows: list[tuple[int | None, float, float, float]] = [(None, 100.0, best, float(len(documents)))]
    for expansion in expansions:
        index.expansion_search = expansion
        batch = index.search(queries, asked, threads=1)
        keys_by_query = [match.keys.astype(np.int64) for match in ([batch] if len(queries) == 1 else batch)]
        found = [keys[keys != own[place]][:K] for place, keys in enumerate(keys_by_query)]
        hits = [near[place, keys].sum() for place, keys in enumerate(found)]
        score = ndcg(beir, rank(names, beir, scores, found))
        rows.append(
            (expansion, 100 * float(np.sum(hits) / np.sum(possible)), score, batch.computed_distances / len(queries))
        )
    return rows
