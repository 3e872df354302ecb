"""The closed-form start of a student, measured: a ridge map from the untrained backbone to the teacher's vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.baseline import LinearMap, backbone_of, fit_ridge, vector_blocks
from leaf_st.models.identity import model_name
from leaf_st.pipeline.screening.search import agreement, plan_search
from leaf_st.pipeline.screening.spectrum import Spectrum, spectrum
from leaf_st.recipe import Recipe
from leaf_st.teacher.different import require_different
from leaf_st.teacher.store import EmbeddingStore

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ClosedForm:
    """Figures of a teacher and an untrained student.

    Attributes:
        spectrum: Effective dimension of the teacher's vectors.
        layers: Number of encoder layers of the student.
        r2: Share of the variance of the held-out vectors that the map explains.
        l2: Mean distance between mapped vectors and the teacher's vectors of the held-out texts.
        agreement: Share of the teacher's ten nearest documents that the mapped queries find among the teacher's
            documents, in percent.
        queries: Number of queries of the agreement.
        documents: Number of documents of the agreement.
        fitted_on: Number of texts of the fit.
        held_out: Number of held-out texts.
    """

    spectrum: Spectrum
    layers: int
    r2: float
    l2: float
    agreement: float
    queries: int
    documents: int
    fitted_on: int
    held_out: int


def measure_closed_form(
    recipe: Recipe, store: EmbeddingStore, student: SentenceTransformer, fitted: Sequence[int], held_out: Sequence[int]
) -> ClosedForm:
    """Fit the map on some rows of ``store`` and measure it on others.

    Args:
        recipe: The recipe; its training may read fewer tokens than the student.
        store: Texts with the teacher's vectors.
        student: The untrained student.
        fitted: Rows of the fit.
        held_out: Rows of the measurement.

    Raises:
        InputError: If the teacher's vectors of all these rows are the same.
    """
    source = backbone_of(student)
    source.max_seq_length = recipe.training.max_length or source.max_seq_length
    (x, y), (unseen, expected) = (_vectors(source, store, rows) for rows in (fitted, held_out))
    vectors = np.concatenate([y, expected])
    require_different(store.fingerprint.teacher, vectors, whole=True)  # rows that differ may be in neither part
    weights, offset = fit_ridge([(x, y)])
    ridge = LinearMap(source, weights, offset, store.fingerprint.normalized, len(fitted), l2=float("nan"))
    mapped, search = ridge.apply(unseen), plan_search(store, fitted, held_out)
    return ClosedForm(
        spectrum=spectrum(vectors),
        layers=layers_of(student),
        r2=_explained(expected, unseen @ weights + offset),
        l2=float(np.linalg.norm(mapped - expected, axis=1).mean()),
        agreement=agreement(mapped, expected, search, store, student),
        queries=len(search.queries),
        documents=len(search.documents),
        fitted_on=len(fitted),
        held_out=len(held_out),
    )


def layers_of(model: SentenceTransformer) -> int:
    """Return the number of encoder layers of ``model``.

    Raises:
        InputError: If the first module of ``model`` has no layers.
    """
    transformer: Any = model[0]  # nn.Module types its attributes as tensors or modules
    try:
        return int(transformer.model.config.num_hidden_layers)
    except AttributeError:
        found = type(transformer).__name__
        raise InputError(
            f"model {model_name(model)}: expected encoder layers, found a {found} without layers: name another backbone"
        ) from None


def _vectors(
    source: SentenceTransformer, store: EmbeddingStore, rows: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    first, second = zip(*vector_blocks(source, store, rows), strict=True)
    return np.concatenate(first), np.concatenate(second)


def _explained(expected: Floats, found: Floats) -> float:
    unexplained = ((expected - found) ** 2).sum()
    return 1 - float(unexplained / ((expected - expected.mean(axis=0)) ** 2).sum())


def encode_rows(student: SentenceTransformer, store: EmbeddingStore, rows: Sequence[int]) -> NDArray[np.float32]:
    """Return the vectors of n rows by ``student``, shape (n, d)."""
    # The empty prompt keeps the student from adding its default prompt a second time.
    return np.asarray(student.encode(store.prompted(rows), prompt="", show_progress_bar=False), np.float32)
