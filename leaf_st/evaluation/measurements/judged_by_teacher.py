"""A retrieval set for a run without judgments: the teacher's vectors decide which documents are relevant."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util import SimilarityFunction

from leaf_st.evaluation.beir import BeirSet
from leaf_st.evaluation.measurements.agreement_row import HELD_OUT
from leaf_st.evaluation.measurements.collection import Collection, held_out_collection
from leaf_st.evaluation.ranking import tenth_best, without_own
from leaf_st.recipe import Recipe
from leaf_st.run_folder import STORE, read_run
from leaf_st.teacher.store import intact_store


def judged_by_teacher(run: Path, most: int) -> BeirSet:
    """Return held-out queries of ``run`` and documents, of which the ten nearest by the teacher's vectors are relevant.

    The documents are held-out and, as in `held_out_collection`, training documents. The vectors come from the store.

    Args:
        run: The folder of a run with a store.
        most: Largest number of queries, and of documents.

    Raises:
        InputError: If the record or the store of the run is damaged.
    """
    training = Recipe.from_dict(read_run(run)["resolved"]).training
    found = held_out_collection(HELD_OUT, intact_store(run / STORE), training, most, most)
    queries, documents = found.queries.tolist(), found.documents.tolist()
    query_texts, document_texts = found.store.texts(queries), found.store.texts(documents)
    return BeirSet(
        name="held-out texts judged by the teacher",
        corpus=[
            {"id": str(row), "title": "", "text": text.text}
            for row, text in zip(documents, document_texts, strict=True)
        ],
        queries=[{"id": str(row), "text": text.text} for row, text in zip(queries, query_texts, strict=True)],
        qrels={
            str(query): {str(documents[place]): 1 for place in np.flatnonzero(near)}
            for query, near in zip(queries, _nearest(found), strict=True)
        },
        own={str(query): place for query, place in zip(queries, found.own.tolist(), strict=True) if place >= 0},
    )


def _nearest(collection: Collection) -> NDArray[np.bool_]:
    """Return whether a document is among the ten nearest to a query, shape (q, n); a query is not near to itself."""
    store = collection.store
    similarity = SimilarityFunction.to_similarity_fn(store.fingerprint.similarity_fn_name or "cosine")
    queries, documents = (
        store.embeddings(rows.tolist()).astype(np.float32) for rows in (collection.queries, collection.documents)
    )
    scores = without_own(np.asarray(similarity(queries, documents)), collection.own)
    near: NDArray[np.bool_] = (scores >= tenth_best(scores)) & (scores > -np.inf)
    return near
