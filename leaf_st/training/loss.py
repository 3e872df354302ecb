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

    With ``l2`` the loss is the mean of ``||y_i - y^_i||_2``, not squared (paper Eq. 3). The class is
    sentence-transformers' ``EmbedDistillLoss``, computed in float32 whatever the autocast dtype: in bfloat16 the
    distance between vectors of norm 1 has two significant digits.

    The inputs are one column of texts and ``label``, the teacher's vectors, shape (batch, d).

    Args:
        model: The student.
        distance: ``l2`` (the paper's loss), ``mse`` or ``cosine``.

    Raises:
        InputError: If the distance is unknown, or, in a call, if student and teacher have different dimensions.
    """

    def __init__(self, model: SentenceTransformer, distance: Distance = "l2") -> None:
        if distance not in get_args(Distance):
            raise InputError(
                f"distance: expected one of {', '.join(get_args(Distance))}, found {distance!r}: change the value"
            )
        super().__init__(model, distance_metric=distance)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], teacher_embeddings: list[Tensor]) -> Tensor:
        """Return the scalar loss of one batch.

        Args:
            embeddings: The student's vectors: one tensor of shape (batch, d), any float dtype.
            teacher_embeddings: The teacher's vectors: one tensor of shape (batch, d), any float dtype.
        """
        for student, teacher in zip(embeddings, teacher_embeddings, strict=True):
            if student.shape != teacher.shape:
                raise InputError(
                    f"student: expected vectors of the teacher's {teacher.shape[-1]} dimensions, found "
                    f"{student.shape[-1]}: build the student with dimension={teacher.shape[-1]}"
                )
        with torch.autocast(embeddings[0].device.type, enabled=False):
            loss: Tensor = super().compute_loss_from_embeddings(
                [student.float() for student in embeddings], [teacher.float() for teacher in teacher_embeddings]
            )
        return loss
