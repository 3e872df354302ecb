"""Rows of the measurement ``agreement``: of the held-out texts of a run, and of the user's texts."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import SimilarityFunction
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.display import first_words
from leaf_st.evaluation.embedder import require_finite
from leaf_st.evaluation.measurements.agreement import AGREEMENT, HELD_OUT, AgreementRow, Group
from leaf_st.evaluation.measurements.collection import (
    Collection,
    Survey,
    embed_collection,
    held_out_collection,
    nearest_training_text,
    survey,
)
from leaf_st.evaluation.measurements.list_agreement import Compared, Nearest, Search, terciles
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES, LostHitRow
from leaf_st.evaluation.measurements.over_sets import load_pair
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES, Mode
from leaf_st.evaluation.rows import part_file, read_or_make, write_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.models.identity import hash_files, identify, with_owner
from leaf_st.models.load import load_model
from leaf_st.models.tokens import token_counts
from leaf_st.recipe import Recipe
from leaf_st.run_folder import MODEL, RESULTS, STORE, read_run, run_of
from leaf_st.teacher.protocol import NoVectorError, Teacher
from leaf_st.teacher.store import FINGERPRINT, STORE_MANIFEST, EmbeddingStore
from leaf_st.texts import Text

LOST = 20  # queries that are shown
_HITS = 5  # documents of each list that are shown
_BLOCK = 2048  # documents whose vectors and similarities are in memory
_EQUAL = 1 - 1e-9  # overlap above which two lists are equal

_Distances = Callable[[NDArray[np.float32]], NDArray[np.float32]]

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


def measure_held_out(model: str | Path, results: Path | None = None) -> list[AgreementRow]:
    """Measure the agreement on the held-out texts of a run (see `held_out_collection`) and write the rows.

    The student reads as many tokens as in training, because the teacher's vectors in the store are of such texts.

    Args:
        model: Folder of a run with a trained student, or its model folder.
        results: Results folder; by default ``results/`` of the run.

    Raises:
        InputError: If ``model`` is no run, or its store or student cannot be used.
    """
    run = run_of(Path(model))
    if run is None:
        raise InputError(
            f"{model}: expected a run folder, whose held-out texts are measured: name one, or give --texts"
        )
    recipe = Recipe.from_dict(read_run(run)["resolved"])
    store, student = EmbeddingStore(run / STORE), load_model(str(run / MODEL))
    identity = identify(student)
    if recipe.training.max_length is not None:  # a static student has no length to set
        student.max_seq_length = recipe.training.max_length

    def make() -> list[Measured]:
        collection = held_out_collection(HELD_OUT, store, recipe.training)
        names = identity.name, with_owner(store.fingerprint.teacher)
        return [_measure_collection(collection, student, names, _distances_in(run))]

    texts = hash_files([store.folder / FINGERPRINT, store.folder / STORE_MANIFEST])
    results = results or run / RESULTS
    settings = f"{recipe.training.held_out_rows} {student.max_seq_length}"
    part = part_file(results, "agreement", "held-out", str(identity), texts, settings)
    return _write(results, read_or_make(part, Measured, make))


def measure_texts(model: str, teacher: str | None, sources: Sequence[Path], results: Path) -> list[AgreementRow]:
    """Measure the agreement on each of the user's texts and write the rows.

    A stopped call resumes after the last block of texts that the teacher embedded.

    Args:
        model: The student.
        teacher: Folder or hub id of the teacher; by default the teacher that the student learned from.
        sources: Files or folders of queries and documents (see `survey`).
        results: Results folder.

    Raises:
        InputError: If a source or a model cannot be used, or the results folder belongs to other models.
    """
    surveys = [survey(source) for source in sources]  # reports an unusable source before any text is embedded
    names = [found.source.resolve().name for found in surveys]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--texts: two sources have the same name {twice[0]}: measure them one by one")
    opened, student = load_pair(model, teacher)
    known: Models = {"teacher": (opened.identity, opened), "student": (identify(student), student)}
    require_same_sizes(results, known)
    measured: list[Measured] = []
    for found, name in zip(surveys, names, strict=True):
        made_of = [*(str(identity) for identity, _ in known.values()), found.revision]
        part = part_file(results, "agreement", name, *made_of)
        store = part.with_suffix("")
        try:
            measured += read_or_make(part, Measured, partial(_measure_survey, found, store, opened, student, model))
        except NoVectorError as error:
            raise InputError(
                f"--texts {found.source}: expected queries and documents with given vectors, but {error.problem}: name "
                "texts of the table, leave out --texts to measure the held-out texts of the run, or name a teacher "
                "that can be loaded (--teacher)"
            ) from error
        shutil.rmtree(store, ignore_errors=True)
        write_sizes(results, known)
    return _write(results, measured)


def _write(results: Path, measured: Sequence[Measured]) -> list[AgreementRow]:
    """Write the rows of all sets to ``agreement.json`` and ``lost_queries.json`` in the results folder ``results``."""
    write_rows(results / LOST_QUERIES.file, [row for of_set in measured for row in of_set.lost])
    rows = [row for of_set in measured for row in of_set.agreement]
    write_rows(results / AGREEMENT.file, rows)
    return rows


def _measure_survey(
    found: Survey, folder: Path, teacher: Teacher, student: SentenceTransformer, model: str
) -> list[Measured]:
    collection = embed_collection(found, teacher, folder)
    run = run_of(Path(model))
    distances = None if run is None else _distances_in(run, collection.store)
    return [_measure_collection(collection, student, (identify(student).name, teacher.identity.name), distances)]


def _distances_in(run: Path, other: EmbeddingStore | None = None) -> _Distances | None:
    """Return a function of the teacher's vectors; None if the run has no store, or a store of another teacher."""
    if not (run / STORE / STORE_MANIFEST).is_file():
        return None
    store, recipe = EmbeddingStore(run / STORE), Recipe.from_dict(read_run(run)["resolved"])
    if other is not None and not store.fingerprint.has_files_of(other.fingerprint):
        return None
    return lambda vectors: nearest_training_text(vectors, store, recipe.training)


@dataclass(frozen=True, eq=False)
class _Searched:
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


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of the queries: the name of a group, its smallest and largest value, and a mask of shape (q,)."""

    group: Group
    low: float | None
    high: float | None
    mask: NDArray[np.bool_]


def _measure_collection(
    collection: Collection, student: SentenceTransformer, names: tuple[str, str], distances: _Distances | None
) -> Measured:
    """Search the documents of ``collection`` in all modes and compare the lists.

    Args:
        collection: Queries and documents with the teacher's vectors.
        student: The student.
        names: Names of student and teacher in the rows.
        distances: Returns the distance of the teacher's vectors of q queries, shape (q, d), to the training texts.
    """
    _require_same_width(collection.store, student)
    lists, compared = _search(collection, student)
    searched = _Searched(collection, lists, compared, *names)
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
        found = "undefined" if row.recall_10 is None else f"{row.recall_10:.1f}%"
        _logger.info("%s, %s mode: recall@10 of the teacher's documents %s", row.set, row.mode, found)
    return Measured(rows, _lost(searched, texts))


def _thirds(group: Group, values: NDArray[np.float64]) -> list[_Part]:
    return [_Part(group, float(values[mask].min()), float(values[mask].max()), mask) for mask in terciles(values)]


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
            search.add(
                {
                    "teacher": np.asarray(similarity(expected, targets)),
                    "standard": np.asarray(student.similarity(queries, vectors)),
                    "asymmetric": np.asarray(similarity(queries, targets)),
                }
            )
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


def _row(searched: _Searched, mode: Mode, part: _Part) -> AgreementRow:
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


def _lost(searched: _Searched, queries: Sequence[str]) -> list[LostHitRow]:
    """Return the first documents of the queries with the lowest mean overlap of both modes."""
    overlap = np.mean([compared.overlap for compared in searched.compared.values()], axis=0)
    worst = [query for query in np.argsort(overlap, kind="stable").tolist()[:LOST] if overlap[query] < _EQUAL]
    return [
        hit
        for place, query in enumerate(worst, 1)
        for mode in ROLES
        for hit in _hits(searched, mode, query, place, queries[query])
    ]


def _hits(searched: _Searched, mode: Mode, query: int, place: int, asked: str) -> list[LostHitRow]:
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
