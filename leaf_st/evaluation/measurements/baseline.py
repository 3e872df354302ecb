"""The measurement ``baseline``: what distillation adds to a linear map from another model to the teacher's vectors.

The map is a ridge regression from the vectors of a source model to the teacher's vectors. It is fitted on at most
20,000 training texts of the run, drawn at random with a fixed seed; held-out texts are left out. Sources are the
student's backbone before training (static students have none) and all-MiniLM-L6-v2, unless that is the teacher or the
backbone.
"""

import argparse
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from leaf_st.errors import InputError
from leaf_st.evaluation.display import means, over_sets_text, set_names
from leaf_st.evaluation.measurements.measurement import RUN_ARGUMENT, Measurement, Section, Table, data_argument
from leaf_st.evaluation.measurements.over_sets import measure_over_sets, require_sets
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.results import retention_percent
from leaf_st.recipe import Recipe
from leaf_st.tables import aligned
from leaf_st.zoo import MINILM

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    from leaf_st.evaluation.embedder import QueriesAndDocuments, TeacherOrStudent
    from leaf_st.teacher.protocol import Teacher
    from leaf_st.teacher.store import EmbeddingStore

    Vector = NDArray[np.float64]

STUDENT = "student"
_FITTED_TEXTS = 20_000  # training texts for the fit: 50 per dimension of a source with 384 dimensions
# Relative to the mean variance of the source's vectors, as for the closed-form start of a student.
_RIDGE = 1e-4
_BLOCK = 1024  # texts whose vectors are in memory during the fit
_QUERIES = 256  # queries whose similarities are in memory

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaselineRow:
    """The student, or a linear map, in one mode on one set.

    Attributes:
        set: Name of the set.
        map: "student", or the name of the map, such as "linear map from NAME".
        mode: The mode; the map takes the student's place.
        score: nDCG@10 in percent, 0 to 100, not rounded.
        teacher_score: The teacher's nDCG@10 in percent.
        recall: Share of the teacher's ten nearest documents that this row's ten nearest documents contain, in percent.
        l2: Mean distance to the teacher's vectors of the held-out texts.
        fitted_on: Number of texts that the map was fitted on; None for the student.
        model: Name of the student.
        teacher: Name of the teacher.
    """

    set: str
    map: str
    mode: Mode
    score: float
    teacher_score: float
    recall: float
    l2: float
    fitted_on: int | None
    model: str
    teacher: str


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map from the vectors of a source model to the teacher's vectors.

    Attributes:
        source: The source model; its prompts are used.
        weights: Matrix of shape (source dimension, teacher dimension).
        offset: Vector of shape (teacher dimension,).
        normalized: Whether the mapped vectors are scaled to norm 1, like the teacher's vectors.
        fitted_on: Number of texts.
        l2: Mean distance to the teacher's vectors of the held-out texts.
    """

    source: "SentenceTransformer"
    weights: "Vector"
    offset: "Vector"
    normalized: bool
    fitted_on: int
    l2: float

    def apply(self, vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Map n vectors of the source, shape (n, source dimension), to shape (n, teacher dimension)."""
        import numpy as np

        from leaf_st.models.vectors import normalized

        mapped = vectors.astype(np.float64) @ self.weights + self.offset
        return (normalized(mapped) if self.normalized else mapped).astype(np.float32)


def fit_ridge(
    pairs: "Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]", ridge: float = _RIDGE
) -> "tuple[Vector, Vector]":
    """Fit a ridge regression with an intercept from blocks of vectors; only sums stay in memory.

    Args:
        pairs: Blocks of source vectors, shape (n, a), and target vectors, shape (n, b); at least one block.
        ridge: Regularisation, relative to the mean variance of the source vectors.

    Returns:
        The weights, shape (a, b), and the offset, shape (b,).
    """
    import numpy as np

    count, sums = 0, [np.zeros(())] * 4
    for block in pairs:
        x, y = (part.astype(np.float64) for part in block)
        count += len(x)
        sums = [
            total + part for total, part in zip(sums, (x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y), strict=True)
        ]
    mean_x, mean_y, product_xx, product_xy = (total / count for total in sums)
    covariance = product_xx - np.outer(mean_x, mean_x)
    covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve(covariance, product_xy - np.outer(mean_x, mean_y)).astype(np.float64)
    return weights, mean_y - mean_x @ weights


def measure_baseline(
    folder: Path,
    *,
    teacher: "Teacher",
    student: "SentenceTransformer",
    fitted: "Callable[[], tuple[Mapping[str, LinearMap], float]]",
    batch_size: int = 32,
) -> list[BaselineRow]:
    """Measure the student and linear maps in both modes of a student on the BEIR folder ``folder``.

    Args:
        folder: Retrieval set, see `leaf_st.evaluation.beir`.
        teacher: The teacher.
        student: The student.
        fitted: Returns the maps by name, and the student's mean distance on the held-out texts.
        batch_size: Texts per batch.

    Raises:
        InputError: If the folder or the models' vectors cannot be used.
    """
    from leaf_st.evaluation.beir import document_text, load_beir
    from leaf_st.evaluation.embedder import embed_set
    from leaf_st.evaluation.ranking import exact_ndcg

    beir, (maps, student_l2) = load_beir(folder), fitted()
    modes: tuple[Mode, ...] = ("teacher", "standard")
    embedder, vectors = embed_set(beir, teacher=teacher, student=student, modes=modes, batch_size=batch_size)
    expected = vectors["teacher"]
    candidates: dict[str, tuple[QueriesAndDocuments, float, int | None]] = {
        STUDENT: (vectors["standard"], student_l2, None)
    }
    queries, documents = [row["text"] for row in beir.queries], [document_text(row) for row in beir.corpus]
    for name, fit in maps.items():
        encoders = (fit.source.encode_query, queries), (fit.source.encode_document, documents)
        first, second = (fit.apply(encode(texts, show_progress_bar=False)) for encode, texts in encoders)
        candidates[name] = (first, second), fit.l2, fit.fitted_on
    names = {role: identity.name for role, identity in embedder.identities().items()}
    teacher_score = exact_ndcg(beir, *expected, teacher)
    rows = []
    for name, (sides, l2, fitted_on) in candidates.items():
        for mode in STUDENT_MODES:
            pair = sides if mode == "standard" else (sides[0], expected[1])
            score, found = exact_ndcg(beir, *pair, teacher), recall(pair, expected, teacher, beir.own_places)
            identities = names["student"], names["teacher"]
            rows.append(BaselineRow(beir.name, name, mode, score, teacher_score, found, l2, fitted_on, *identities))
    return rows


def recall(
    found: "QueriesAndDocuments",
    expected: "QueriesAndDocuments",
    teacher: "TeacherOrStudent",
    own: "NDArray[np.int64] | None" = None,
) -> float:
    """Return the share of the teacher's ten nearest documents that are also among the ten nearest found, in percent.

    Args:
        found: Vectors of queries, shape (q, d), and documents, shape (n, d).
        expected: The teacher's vectors of the same texts.
        teacher: The teacher, or a student with its similarity function, which compares the vectors.
        own: Place of the document that is the query itself and that no query finds, or -1; shape (q,). None if no
            query is a document.
    """
    import numpy as np

    from leaf_st.evaluation.ranking import K, compare, tenth_best, without_own

    own = np.full(len(expected[0]), -1) if own is None else own
    k, hits = min(K, len(expected[1])), 0
    for start in range(0, len(expected[0]), _QUERIES):
        block = slice(start, start + _QUERIES)
        right, ours = (
            without_own(compare(queries[block], documents, teacher), own[block])
            for queries, documents in (expected, found)
        )
        nearest = np.argpartition(ours, -k, axis=1)[:, -k:]
        scores = np.take_along_axis(right, nearest, axis=1)
        hits += int(((scores >= tenth_best(right)) & (scores > -np.inf)).sum())
    return 100 * hits / int(np.minimum(K, len(expected[1]) - (own >= 0)).sum())


def fit_map(
    source: "SentenceTransformer",
    store: "EmbeddingStore",
    rows: Sequence[int],
    held_out: Sequence[int],
    max_length: int | None = None,
) -> LinearMap:
    """Fit the map from ``source`` to the vectors of ``store`` on ``rows``, and measure it on the rows ``held_out``.

    Args:
        source: The source model.
        store: The training texts with the teacher's vectors.
        rows: Rows of the fit.
        held_out: Rows for the mean distance.
        max_length: Tokens read of a text, as in training, or as many as the source has positions for; the source's own
            length if None.
    """
    import numpy as np

    from leaf_st.models.tokens import positions_of

    length = source.max_seq_length
    if max_length is not None:
        positions = positions_of(cast("Transformer", source[0]))
        source.max_seq_length = max_length if positions is None else min(max_length, positions)
    normalized = store.fingerprint.normalized
    weights, offset = fit_ridge(vector_blocks(source, store, rows))
    unmeasured = LinearMap(source, weights, offset, normalized, len(rows), l2=float("nan"))
    distances = [np.linalg.norm(unmeasured.apply(x) - y, axis=1) for x, y in vector_blocks(source, store, held_out)]
    source.max_seq_length = length
    return replace(unmeasured, l2=float(np.concatenate(distances).mean()))


def vector_blocks(
    source: "SentenceTransformer", store: "EmbeddingStore", rows: Sequence[int]
) -> "Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]":
    """Yield the source's and the teacher's vectors of ``rows``, a block at a time."""
    import numpy as np
    from tqdm import tqdm

    from leaf_st.models.prompts import prompt_for

    with tqdm(desc="linear map", unit=" texts", total=len(rows)) as bar:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            texts = [prompt_for(source.prompts, row.kind) + row.text for row in store.texts(block)]
            # The empty prompt keeps the source from adding its default prompt a second time.
            vectors = source.encode(texts, prompt="", show_progress_bar=False)
            yield np.asarray(vectors, np.float32), store.embeddings(block).astype(np.float32)
            bar.update(len(block))


def sources(recipe: Recipe, store: "EmbeddingStore") -> "dict[str, SentenceTransformer]":
    """Return the source models by name of the map: the student's backbone before training, and all-MiniLM-L6-v2."""
    from leaf_st.models.load import load_model
    from leaf_st.student.new import new_student

    spec, found = recipe.student, {}
    if not spec.static:
        found[f"linear map from {backbone_name(recipe)}"] = backbone_of(new_student(recipe, store.fingerprint))
    if MINILM not in (recipe.teacher.name, spec.backbone, spec.start):
        try:
            found[f"linear map from {_short(MINILM)}"] = load_model(MINILM)
        except InputError as error:
            _logger.info("skipping the map from %s: %s", MINILM, error)
    return found


def backbone_of(student: "SentenceTransformer") -> "SentenceTransformer":
    """Return encoder and pooling of ``student``, with the student's prompts; the modules are shared and not copied."""
    from sentence_transformers import SentenceTransformer

    backbone = SentenceTransformer(modules=[student[0], student[1]], device=str(student.device))
    backbone.prompts = student.prompts
    return backbone


def backbone_name(recipe: Recipe) -> str:
    """Return the name of the student's backbone, such as "layers 0, 4, 5 of all-MiniLM-L6-v2"."""
    spec = recipe.student
    kept = spec.layers
    layers = f"layer{'s'[: len(kept) - 1]} {', '.join(map(str, kept))} of " if kept is not None else ""
    return layers + _short(spec.start or spec.backbone or recipe.teacher.name)


def _short(name: str) -> str:
    """Return the name of a model without owner or folder."""
    return name.rstrip("/").rpartition("/")[2]


def training_rows(store: "EmbeddingStore", held_out: Sequence[int]) -> list[int]:
    """Return at most 20,000 rows of ``store`` that are not held out, drawn at random with a fixed seed."""
    import numpy as np

    size = min(len(store), _FITTED_TEXTS + len(held_out))
    drawn = np.random.default_rng(0).choice(len(store), size, replace=False, shuffle=False)
    rows: list[int] = np.sort(drawn[~np.isin(drawn, held_out)][:_FITTED_TEXTS]).tolist()
    return rows


def _measure(options: argparse.Namespace) -> list[BaselineRow]:
    from leaf_st.evaluation.alignment import AlignmentEvaluator
    from leaf_st.models.identity import identify
    from leaf_st.models.load import load_model
    from leaf_st.run_folder import MODEL, STORE, read_run, run_of
    from leaf_st.teacher.open import open_teacher_of_run
    from leaf_st.teacher.store import intact_store
    from leaf_st.training.trainer import held_out_rows, untrained_rows

    run = run_of(Path(options.model)) or Path(options.model)
    recipe, sets = Recipe.from_dict(read_run(run)["resolved"]), require_sets(options.model, options.data)
    store = intact_store(run / STORE)
    models = open_teacher_of_run(run), load_model(run / MODEL)
    held_out = held_out_rows(store, recipe.training).tolist()
    untrained = untrained_rows(store, recipe.training).tolist()
    rows, found, length = training_rows(store, untrained), sources(recipe, store), recipe.training.max_length

    @cache
    def fitted() -> tuple[dict[str, LinearMap], float]:
        _logger.info("fitting on %s texts: %s", f"{len(rows):,}", ", ".join(found) or "no linear map")
        student = load_model(run / MODEL)
        if length is not None:  # a static student has no length to set
            student.max_seq_length = length
        evaluator = AlignmentEvaluator(store.prompted(held_out), store.embeddings(held_out))
        maps = {name: fit_map(source, store, rows, held_out, length) for name, source in found.items()}
        return maps, evaluator(student)["l2"]

    texts = hashlib.sha256("\0".join(store.prompted([*rows, *held_out])).encode(errors="surrogatepass")).hexdigest()
    made_of = [texts, *(f"{name} {identify(source).revision}" for name, source in found.items())]
    measure = partial(measure_baseline, fitted=fitted)
    return measure_over_sets("baseline", BaselineRow, measure, models, sets, options.output, made_of)


def baseline_lines(rows: Sequence[BaselineRow]) -> list[list[str]]:
    """Return the means over the sets as cells, a line per map and mode.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    keys = list(dict.fromkeys((row.map, row.mode) for row in rows))
    values = [means(rows, lambda row: (row.map, row.mode), value) for value in _VALUES]
    lines = [["model", "mode", "nDCG@10", "retention", "recall@10", "mean L2"]]
    for key in keys:
        score, teacher, found, l2 = (of_value.get(key) for of_value in values)
        share = None if score is None or teacher is None else retention_percent(score, teacher)
        forms = (score, "{:.2f}"), (share, "{:.1f}%"), (found, "{:.1f}%"), (l2, "{:.4f}")
        lines.append([*key, *("-" if value is None else form.format(value) for value, form in forms)])
    return lines


_VALUES: tuple[Callable[[BaselineRow], float], ...] = (
    lambda row: row.score,
    lambda row: row.teacher_score,
    lambda row: row.recall,
    lambda row: row.l2,
)


def _section(rows: Sequence[BaselineRow]) -> Section:
    header, *lines = baseline_lines(rows)
    count = max((row.fitted_on or 0 for row in rows), default=0)
    text = (
        "This table compares the student with linear maps, which need no training of a model. A map is a ridge "
        "regression from the vectors of another model to the teacher's vectors, fitted on "
        f"{count:,} training texts. In the rows of a map, the map replaces the student. nDCG@10, "
        f"retention and recall@10 (share of the teacher's ten nearest documents that are found) in percent, "
        f"{over_sets_text(rows)}; mean L2 to the teacher's vectors of the held-out texts."
    )
    return Section([text], tables=[Table("baseline", header, lines, left=2)])


BASELINE = Measurement(
    name="baseline",
    row=BaselineRow,
    title="Compared with a linear map",
    help="compare the student with a linear map to the teacher's vectors from another model (nDCG@10, recall, L2)",
    command=("measure", "baseline"),
    arguments=(RUN_ARGUMENT, data_argument()),
    measure=_measure,
    table=lambda rows: aligned(baseline_lines(rows), left=2),
    section=_section,
    words=lambda rows: ["--data", *set_names(rows)],
    needs="The measurement needs the store of the run.",
)
