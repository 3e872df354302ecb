"""The teacher-aligned loss (paper Eq. 3)."""

from typing import get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor

from leaf_st.errors import InputError
from leaf_st.recipe import Distance


class TeacherAlignedLoss(EmbedDistillLoss):
    """Distance between the student's and the teacher's vectors, averaged over the batch.

    With ``l2`` it is the mean of ``||y_i - y^_i||_2``, not squared (paper Eq. 3). It is sentence-transformers'
    ``EmbedDistillLoss``, but computed in float32 whatever the autocast dtype: in bfloat16 the distance of
    vectors of norm 1 keeps two digits.

    Inputs are one text column and ``label``, the teacher's vectors, shape (batch, d).

    Args:
        model: The student.
        distance: ``l2`` (the paper's), ``mse`` or ``cosine``.

    Raises:
        InputError: If the distance is unknown, or, when called, if the widths of student and teacher differ.
    """

    def __init__(self, model: SentenceTransformer, distance: Distance = "l2") -> None:
        if distance not in get_args(Distance):
            raise InputError(f"distance {distance!r} is unknown: expected one of {', '.join(get_args(Distance))}")
        super().__init__(model, distance_metric=distance)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], teacher_embeddings: list[Tensor]) -> Tensor:
        """Return the scalar loss of one batch.

        Args:
            embeddings: One tensor of shape (batch, d), any float dtype.
            teacher_embeddings: One tensor of shape (batch, d), any float dtype.
        """
        for ours, theirs in zip(embeddings, teacher_embeddings, strict=True):
            if ours.shape != theirs.shape:
                raise InputError(
                    f"teacher gives {theirs.shape[-1]} dimensions, student gives {ours.shape[-1]}: "
                    f"build the student with dimension={theirs.shape[-1]}"
                )
        with torch.autocast(embeddings[0].device.type, enabled=False):
            loss: Tensor = super().compute_loss_from_embeddings(
                [ours.float() for ours in embeddings], [theirs.float() for theirs in teacher_embeddings]
            )
        return loss
