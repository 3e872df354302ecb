"""How near a student's vectors are to its teacher's, as an evaluator for the trainer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation.evaluator import BaseEvaluator

from leaf_st.errors import InputError

_BINS = 40


@dataclass(frozen=True)
class Histogram:
    """How often values lie where.

    Attributes:
        low: Lower end of the first bin.
        high: Upper end of the last one.
        counts: Values in each of the bins, which are equally wide.
    """

    low: float
    high: float
    counts: Sequence[int]


@dataclass(frozen=True)
class Alignment:
    """One measurement.

    Attributes:
        set: Which texts.
        rows: Number of them.
        l2: Mean distance.
        cosine: Mean cosine.
        l2_histogram: Of the distances; None in results of earlier versions.
        cosine_histogram: Of the cosines; likewise.
    """

    set: str
    rows: int
    l2: float
    cosine: float
    l2_histogram: Histogram | None = None
    cosine_histogram: Histogram | None = None


class AlignmentEvaluator(BaseEvaluator):
    """Mean distance and mean cosine between a model's vectors and the targets of the same texts.

    ``l2``, the primary metric, is what training lowers (paper Eq. 3), in float32: smaller is better.

    Args:
        texts: n texts, prompts already in front.
        targets: The teacher's vectors of these texts, shape (n, d), any float dtype.
        name: Set in front of the metrics' names, with an underscore.
        batch_size: Texts that the model encodes at a time.

    Raises:
        InputError: If there are no texts, or another number of them than of targets.
    """

    def __init__(
        self, texts: Sequence[str], targets: NDArray[np.floating], name: str = "", batch_size: int = 32
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not len(texts) or len(texts) != len(targets):
            raise InputError(
                f"alignment: expected one target for each text and at least one, "
                f"found {len(texts)} texts and {len(targets)} targets"
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
        """Return ``l2`` and ``cosine`` of ``model``; the trainer's other arguments change nothing.

        Raises:
            InputError: If the model's vectors are wider or narrower than the targets.
        """
        distances, cosines = self._compare(model)
        metrics = {"l2": float(distances.mean()), "cosine": float(cosines.mean())}
        prefixed: dict[str, float] = self.prefix_name_to_metrics(metrics, self.name)
        return prefixed

    def measure(self, model: SentenceTransformer, name: str) -> Alignment:
        """Return what is kept of ``model`` as a result on the set ``name``.

        Raises:
            InputError: If the model's vectors are wider or narrower than the targets.
        """
        distances, cosines = self._compare(model)
        means = float(distances.mean()), float(cosines.mean())
        return Alignment(name, len(self.texts), *means, _histogram(distances), _histogram(cosines))

    def _compare(self, model: SentenceTransformer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return distance and cosine of each text, both of shape (n,)."""
        # The empty prompt keeps a model's default prompt from coming in front a second time.
        encoded = model.encode(self.texts, prompt="", batch_size=self.batch_size, show_progress_bar=False)
        ours, theirs = np.asarray(encoded, np.float32), np.asarray(self.targets, np.float32)
        if ours.shape[1] != theirs.shape[1]:
            raise InputError(
                f"teacher gives {theirs.shape[1]} dimensions, student gives {ours.shape[1]}: "
                f"build the student with dimension={theirs.shape[1]}"
            )
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        return np.linalg.norm(ours - theirs, axis=1), (ours * theirs).sum(axis=1) / norms


def _histogram(values: NDArray[np.float32]) -> Histogram:
    counts, edges = np.histogram(values, _BINS)
    return Histogram(float(edges[0]), float(edges[-1]), counts.tolist())
