"""The nearest documents of the queries of a collection in all modes, and how they agree with the teacher's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import SimilarityFunction
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import require_finite
from leaf_st.evaluation.measurements.collection import Collection
from leaf_st.evaluation.measurements.list_agreement import Compared, Nearest, Search, similarities
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text

_BLOCK = 2048  # documents whose vectors and similarities are in memory


@dataclass(frozen=True, eq=False)
class SearchedCollection:
    """The lists of all queries of a collection.

    Attributes:
        collection: Queries and documents.
        lists: The nearest documents by mode.
        compared: Agreement with the teacher's lists by mode.
        student: Name of the student.
        teacher: Name of the teacher.
    """

    collection: Collection
    lists: Mapping[Mode, Nearest]
    compared: Mapping[Mode, Compared]
    student: str
    teacher: str


def search_collection(
    collection: Collection, student: SentenceTransformer, names: tuple[str, str]
) -> SearchedCollection:
    """Search the documents of ``collection`` for its queries in all modes and compare the lists.

    Args:
        collection: Queries and documents with the teacher's vectors.
        student: The student.
        names: Names of student and teacher in the rows.

    Raises:
        InputError: If the student's vectors have another width than the teacher's, or are not finite.
    """
    _require_same_width(collection.store, student)
    lists, compared = _search(collection, student)
    return SearchedCollection(collection, lists, compared, *names)


def _search(collection: Collection, student: SentenceTransformer) -> tuple[dict[Mode, Nearest], dict[Mode, Compared]]:
    store, asked, documents = collection.store, collection.queries.tolist(), collection.documents.tolist()
    similarity = SimilarityFunction.to_similarity_fn(store.fingerprint.similarity_fn_name or student.similarity_fn_name)
    search = Search(collection.own, len(documents))
    with tqdm(desc=f"agreement, {collection.name}", unit=" texts", total=len(asked) + len(documents)) as bar:
        expected = store.embeddings(asked).astype(np.float32)
        queries = _encode(student, store.texts(asked))
        bar.update(len(asked))
        for start in range(0, len(documents), _BLOCK):
            rows = documents[start : start + _BLOCK]
            targets, vectors = store.embeddings(rows).astype(np.float32), _encode(student, store.texts(rows))
            search.add(similarities(similarity, student.similarity, (expected, queries), (targets, vectors)))
            bar.update(len(rows))
    lists = search.nearest()
    return lists, {mode: search.compare(lists, mode) for mode in STUDENT_MODES}


def _encode(student: SentenceTransformer, rows: Sequence[Text]) -> NDArray[np.float32]:
    """Return the student's vectors of n texts of one kind, shape (n, d)."""
    texts, kind = [row.text for row in rows], rows[0].kind
    encode = student.encode_query if kind == "query" else student.encode_document
    vectors = np.asarray(encode(texts, show_progress_bar=False), np.float32)
    require_finite(vectors, texts, "the student", kind)
    return vectors


def _require_same_width(store: EmbeddingStore, student: SentenceTransformer) -> None:
    found = student.get_embedding_dimension()
    if found != store.dimension:
        raise InputError(
            f"the teacher's vectors have {store.dimension} dimensions, the student's have {found}: asymmetric mode "
            "compares their vectors; name the student's own teacher"
        )
