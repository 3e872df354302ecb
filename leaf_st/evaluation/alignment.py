"""The distance between a student's vectors and its teacher's vectors, as an evaluator for the trainer."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation.evaluator import BaseEvaluator

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.alignment import ALIGNMENT, Alignment, Histogram
from leaf_st.evaluation.rows import write_rows
from leaf_st.models.load import load_model
from leaf_st.recipe import Recipe
from leaf_st.run_folder import GENERAL, MODEL, RESULTS, STORE, read_run
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.trainer import held_out_rows

_BINS = 40

_logger = logging.getLogger(__name__)


class AlignmentEvaluator(BaseEvaluator):
    """Measures the mean distance and the mean cosine between a model's vectors and the targets of the same texts.

    The primary metric is ``l2``, which training minimises (paper Eq. 3), computed in float32; smaller is better.

    Args:
        texts: n texts with their prompts in front.
        targets: The teacher's vectors of these texts, shape (n, d), any float dtype.
        name: Prefix of the metrics' names, followed by an underscore.
        batch_size: Texts per batch.

    Raises:
        InputError: If there are no texts, or the numbers of texts and targets differ.
    """

    def __init__(
        self, texts: Sequence[str], targets: NDArray[np.floating], name: str = "", batch_size: int = 32
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not len(texts) or len(texts) != len(targets):
            raise InputError(
                f"alignment: expected at least one text and one target for each text, "
                f"found {len(texts)} texts and {len(targets)} targets: pass the store's rows of the texts"
            )
        self.texts = list(texts)
        self.targets = targets
        self.name = name
        self.batch_size = batch_size
        self.greater_is_better = False
        self.primary_metric = f"{name}_l2" if name else "l2"

    def __call__(  # type: ignore[override]  # narrows the model, as the stock evaluators do
        self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return ``l2`` and ``cosine`` of ``model``; the trainer's other arguments have no effect.

        Raises:
            InputError: If the model's vectors and the targets have different widths.
        """
        distances, cosines = self._compare(model)
        metrics = {"l2": float(distances.mean()), "cosine": float(cosines.mean())}
        prefixed: dict[str, float] = self.prefix_name_to_metrics(metrics, self.name)
        return prefixed

    def measure(self, model: SentenceTransformer, name: str) -> Alignment:
        """Return the row of ``model`` on the texts, under the name ``name`` of the set.

        Raises:
            InputError: If the model's vectors and the targets have different widths.
        """
        distances, cosines = self._compare(model)
        means = float(distances.mean()), float(cosines.mean())
        return Alignment(name, len(self.texts), *means, _histogram(distances), _histogram(cosines))

    def _compare(self, model: SentenceTransformer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the distance and the cosine of each text, both of shape (n,)."""
        # The empty prompt keeps the model from adding its default prompt a second time.
        encoded = model.encode(self.texts, prompt="", batch_size=self.batch_size, show_progress_bar=False)
        found, targets = np.asarray(encoded, np.float32), np.asarray(self.targets, np.float32)
        if found.shape[1] != targets.shape[1]:
            raise InputError(
                f"teacher gives {targets.shape[1]} dimensions, student gives {found.shape[1]}: "
                f"build the student with dimension={targets.shape[1]}"
            )
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(targets, axis=1)
        return np.linalg.norm(found - targets, axis=1), (found * targets).sum(axis=1) / norms


def _histogram(values: NDArray[np.float32]) -> Histogram:
    counts, edges = np.histogram(values, _BINS)
    return Histogram(float(edges[0]), float(edges[-1]), counts.tolist())


def measure_alignment(run: Path, results: Path | None = None) -> list[Alignment]:
    """Measure the distance of a run's student to the targets of the held-out rows (paper Eq. 2).

    If the recipe names general texts, they are measured too. The rows are written to ``alignment.json``.

    Args:
        run: Folder of a run with a trained student.
        results: Results folder; by default ``results/`` of the run.

    Returns:
        The row of the held-out texts, then the row of the general texts if there are any.

    Raises:
        InputError: If the folder holds no run, or its store or student is missing.
    """
    recipe = Recipe.from_dict(read_run(run)["resolved"])
    store = EmbeddingStore(run / STORE)
    student = load_model(str(run / MODEL))
    # As in training: a target may belong to the head of a text that the final student reads in full.
    if recipe.training.max_length is not None:
        student.max_seq_length = recipe.training.max_length
    rows = [_measure("held-out texts", store, held_out_rows(store, recipe.training).tolist(), student)]
    if recipe.general is not None:
        general = EmbeddingStore(run / GENERAL, store.fingerprint)
        rows.append(_measure("general texts", general, range(len(general)), student))
    write_rows((results or run / RESULTS) / ALIGNMENT.file, rows)
    return rows


def _measure(name: str, store: EmbeddingStore, rows: Sequence[int], student: SentenceTransformer) -> Alignment:
    found = AlignmentEvaluator(store.prompted(rows), store.embeddings(rows)).measure(student, name)
    _logger.info("%s %s: mean L2 %.4f, mean cosine %.4f", f"{found.rows:,}", name, found.l2, found.cosine)
    return found
