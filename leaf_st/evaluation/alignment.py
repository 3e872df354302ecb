"""The distance between a student's vectors and its teacher's vectors, as an evaluator for the trainer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation.evaluator import BaseEvaluator

from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import require_finite
from leaf_st.models.vectors import cosines


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
                f"found {len(texts)} texts and {len(targets)} targets: pass the target of each text"
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
        distances, cosines = self.compare(model)
        metrics = {"l2": float(distances.mean()), "cosine": float(cosines.mean())}
        prefixed: dict[str, float] = self.prefix_name_to_metrics(metrics, self.name)
        return prefixed

    def compare(self, model: SentenceTransformer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the distance and the cosine of each text, both of shape (n,).

        Raises:
            InputError: If the model's vectors and the targets have different widths, or a vector contains NaN.
        """
        # The empty prompt keeps the model from adding its default prompt a second time.
        encoded = model.encode(self.texts, prompt="", batch_size=self.batch_size, show_progress_bar=False)
        found, targets = np.asarray(encoded, np.float32), np.asarray(self.targets, np.float32)
        if found.shape[1] != targets.shape[1]:
            raise InputError(
                f"the teacher's vectors have {targets.shape[1]} dimensions, the student's have {found.shape[1]}: "
                f"build the student with dimension={targets.shape[1]}"
            )
        require_finite(found, self.texts, "the student")
        return np.linalg.norm(found - targets, axis=1), cosines(found, targets)
