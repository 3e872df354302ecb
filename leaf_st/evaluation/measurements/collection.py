"""Queries and documents without judgments, in a store with the teacher's vectors: held-out rows or the user's texts."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet, beir_files, document_text, load_beir
from leaf_st.recipe import Kind, TextsSpec, TrainingSpec
from leaf_st.teacher.compared import compared
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Targets
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text
from leaf_st.texts.check import flaw, log_left_out
from leaf_st.texts.fold import text_id
from leaf_st.texts.read import read_texts
from leaf_st.training.trainer import held_out_rows, untrained_rows

QUERIES = 2000  # the standard error of a recall is then at most 1.1 points
DOCUMENTS = 5000  # of a run: a small student on 2 cores needs some minutes for more
_NEAREST = 200_000  # training texts among which the nearest one is looked for
_BLOCK = 4096

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Collection:
    """Rows of a store that search other rows.

    Attributes:
        name: Name in results.
        store: The store.
        queries: Rows of the queries, in ascending order.
        documents: Rows of the documents, in ascending order. If the queries are among them, a query does not find
            itself.
        trained: Number of documents that the student was trained on.
        judged_own: Place among the documents of the document that is the query of a judged set, or -1; shape (q,).
    """

    name: str
    store: EmbeddingStore
    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    trained: int = 0
    judged_own: NDArray[np.int64] | None = None

    @property
    def own(self) -> NDArray[np.int64]:
        """Place of each query among the documents, or -1; shape (q,)."""
        if self.judged_own is not None:
            return self.judged_own
        places = np.searchsorted(self.documents, self.queries)
        found = self.documents[np.minimum(places, len(self.documents) - 1)] == self.queries
        return np.where(found, places, -1)

    @property
    def asked(self) -> Kind:
        """Kind of the queries: "document" if documents search other documents."""
        return self.store.texts(self.queries[:1].tolist())[0].kind


@dataclass(frozen=True)
class Survey:
    """The texts of a file or folder, read once.

    Attributes:
        source: The file or folder.
        counts: Number of texts by kind.
        queries: `text_id` of the queries to use.
        revision: Hash of all texts.
    """

    source: Path
    counts: Counter[str]
    queries: frozenset[int]
    revision: str


def held_out_collection(
    name: str, store: EmbeddingStore, spec: TrainingSpec, most_queries: int = QUERIES, most_documents: int = DOCUMENTS
) -> Collection:
    """Return the held-out queries and documents of a run's ``store``, with training documents up to ``most_documents``.

    Training documents make the search harder; without them, a small run has too few documents. Without held-out
    queries, the held-out documents search the other documents.
    """
    held_out = held_out_rows(store, spec)
    documents = _rows_of_kind(store, "document")
    if len(documents) < 2:
        documents = np.arange(len(store))
    queries = np.setdiff1d(held_out, documents)
    unseen, trained = np.intersect1d(held_out, documents), np.setdiff1d(documents, untrained_rows(store, spec))
    unseen = _draw(unseen, most_documents)
    trained = _draw(trained, most_documents - len(unseen))
    return Collection(
        name=name,
        store=store,
        queries=_draw(queries if len(queries) else unseen, most_queries),
        documents=np.union1d(unseen, trained),
        trained=len(trained),
    )


def survey(source: Path) -> Survey:
    """Read ``source`` once and choose at most `QUERIES` queries, by their hashes.

    Raises:
        InputError: If the source cannot be read, or has fewer than two texts.
    """
    counts, skipped, digest = Counter[str](), Counter[str](), hashlib.sha256()

    def query_ids() -> Iterator[int]:
        for row in _read(source, skipped):
            counts[row.kind] += 1
            digest.update(f"{row.kind}\0{row.text}\0".encode())
            if row.kind == "query":
                yield text_id(row.text)

    queries = frozenset(nsmallest(QUERIES, query_ids()))
    log_left_out(_logger, source, skipped)
    if counts.total() < 2:
        raise InputError(f"--texts {source}: expected queries and documents, found one text: name a larger file")
    return Survey(source, counts, queries, digest.hexdigest()[:16])


def embed_collection(found: Survey, teacher: Targets, folder: Path) -> Collection:
    """Embed the texts of a survey with ``teacher`` into a store at ``folder``, which a second call completes.

    Without queries, at most `QUERIES` of the documents search the other documents.
    """
    alone = found.counts["document"] < 2  # then the queries search each other
    rows = _read(found.source, Counter())  # `survey` has reported the rows that are left out
    texts = (row for row in rows if alone or row.kind != "query" or text_id(row.text) in found.queries)
    total = found.counts.total() if alone else found.counts["document"] + len(found.queries)
    with compared():
        store = precompute(texts, teacher, folder, dtype="float32", total=total)
    assert store is not None  # this process embeds all shards
    documents = np.arange(len(store)) if alone else _rows_of_kind(store, "document")
    queries = np.setdiff1d(np.arange(len(store)), documents)
    if not len(queries):
        queries = _draw(documents, QUERIES)
    own = None
    if _is_judged(found.source):
        own = _judged_own(load_beir(found.source, unjudged=True), store, queries, documents)
    return Collection(found.source.resolve().name, store, queries, documents, judged_own=own)


def _judged_own(
    beir: BeirSet, store: EmbeddingStore, queries: NDArray[np.int64], documents: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the place among ``documents`` of the document that is the query itself, or -1; shape (q,)."""
    texts = {row["id"]: text_id(row["text"].strip()) for row in beir.queries}
    own = {texts[key]: text_id(document_text(beir.corpus[place])) for key, place in beir.own.items()}
    ids = np.concatenate(list(store.ids()))
    places = {identity: place for place, identity in enumerate(ids[documents].tolist())}
    return np.array([places.get(own.get(identity), -1) for identity in ids[queries].tolist()], np.int64)


def nearest_training_text(
    queries: NDArray[np.float32], store: EmbeddingStore, spec: TrainingSpec
) -> NDArray[np.float32]:
    """Return the distance of q vectors, shape (q, d), to the nearest target of a training text, shape (q,).

    At most 200,000 training texts are considered, drawn at random with a fixed seed.
    """
    rows = _draw(np.setdiff1d(np.arange(len(store)), untrained_rows(store, spec)), _NEAREST)
    squares = (queries**2).sum(axis=1, keepdims=True)
    nearest = np.full(len(queries), np.inf, np.float32)
    with tqdm(desc="nearest training texts", unit=" texts", total=len(rows)) as bar:
        for start in range(0, len(rows), _BLOCK):
            targets = store.embeddings(rows[start : start + _BLOCK].tolist()).astype(np.float32)
            distances = squares + (targets**2).sum(axis=1) - 2 * queries @ targets.T
            nearest = np.minimum(nearest, distances.min(axis=1))
            bar.update(len(targets))
    return np.sqrt(np.maximum(nearest, 0))


def _read(source: Path, skipped: Counter[str]) -> Iterator[Text]:
    """Yield the texts of ``source``; ``skipped`` counts the unusable rows by reason."""
    if _is_judged(source):
        beir = load_beir(source, unjudged=True)
        documents = (Text(document_text(row), "document") for row in beir.corpus)
        queries = (Text(row["text"].strip(), "query") for row in beir.queries)
        for row, number in Counter([*documents, *queries]).items():
            if reason := flaw(*row):
                skipped[reason] += number
                continue
            if number > 1:
                skipped["duplicate"] += number - 1
            yield row
        return
    try:
        yield from read_texts(TextsSpec(source=str(source)), skipped)
    except InputError as error:
        raise InputError(str(error).replace("texts.source", "--texts")) from error


def _is_judged(source: Path) -> bool:
    with suppress(InputError):
        return bool(beir_files(source))
    return False


def _rows_of_kind(store: EmbeddingStore, kind: Kind) -> NDArray[np.int64]:
    """Return the rows of ``kind``, in ascending order."""
    found, first = [np.empty(0, np.int64)], 0
    for index, ids in enumerate(store.ids()):
        kinds = store.shard(index).kinds.to_numpy(zero_copy_only=False)
        found.append(np.flatnonzero(kinds == kind) + first)
        first += len(ids)
    return np.concatenate(found)


def _draw(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most ``count`` of ``rows``, drawn at random with a fixed seed, in ascending order."""
    if len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, max(count, 0), replace=False))
