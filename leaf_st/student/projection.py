"""The linear map from the student's pooled vectors into the teacher's space (paper Eq. 1, W_out), and its start.

With a random projection, training would spend its first thousands of steps on a map that a ridge regression over a few
thousand texts finds in seconds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import Tensor, nn

from leaf_st.errors import InputError

RIDGE = 1e-3  # relative to the mean variance of the pooled vectors; results are flat between 1e-4 and 1e-2


class Projection(Dense):
    """``Dense`` as LEAF needs it: no bias and no activation (paper Eq. 1).

    The projection is saved under the type of ``Dense``, because sentence-transformers loads only its own module types
    without ``trust_remote_code``. A loaded model has a plain ``Dense`` with the same weights.

    Args:
        in_features: Width d' of the student's pooled vectors.
        out_features: Width d of the teacher's vectors.
        bias: Must stay False.
        activation_function: Must stay None or the identity.
        module_input_name: Feature to read, shape (batch, d').
        module_output_name: Feature to write, shape (batch, d); ``module_input_name`` if None.

    Raises:
        InputError: If ``bias`` or ``activation_function`` is given.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        activation_function: nn.Module | None = None,
        module_input_name: str = "sentence_embedding",
        module_output_name: str | None = None,
    ) -> None:
        if bias or not isinstance(activation_function, nn.Identity | None):
            raise InputError(
                f"a projection has no bias and no activation (paper Eq. 1), found bias={bias} and "
                f"{activation_function}: use sentence-transformers' Dense instead"
            )
        super().__init__(
            in_features,
            out_features,
            bias=False,
            activation_function=nn.Identity(),
            module_input_name=module_input_name,
            module_output_name=module_output_name,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that Python spawns reads the student from a pickle, which would look the class up under its name.
        return _empty_projection, (), self.__dict__

    @torch.no_grad()
    def fit(self, pooled: Tensor, targets: Tensor, ridge: float) -> None:
        """Set the weight to the ridge regression of the targets on the pooled vectors (closed-form start).

        The normal equations ``(X^T X + lambda I) W = X^T Y`` are solved in float64. Lambda is relative to the mean
        diagonal of ``X^T X``, so the strength does not depend on the number or scale of the rows.

        Args:
            pooled: The student's pooled vectors X, shape (n, d').
            targets: The teacher's vectors Y, shape (n, d).
            ridge: Relative strength of the penalty, at least 0.
        """
        x, y = pooled.cpu().double(), targets.cpu().double()  # the GPU of a Mac has no float64
        gram = x.T @ x
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        self.linear.weight.copy_(torch.linalg.solve(gram, x.T @ y).T)


def _empty_projection() -> Projection:
    return Projection.__new__(Projection)


# A saved model stores the module and name of the class: use those of the stock type.
Projection.__module__, Projection.__name__ = Dense.__module__, Dense.__name__


def fit_projection(student: SentenceTransformer, texts: Sequence[str], targets: NDArray[np.floating]) -> None:
    """Fit the student's projection to ``targets`` by ridge regression, in place.

    Args:
        student: From `build_student`: Transformer, Pooling, Projection.
        texts: n texts, each after its prompt.
        targets: The teacher's vectors of ``texts``, shape (n, d).

    Raises:
        InputError: If the targets and the projection do not have the same width.
    """
    projection = next(module for module in student if isinstance(module, Projection))
    if targets.shape[1] != projection.out_features:
        raise InputError(
            f"teacher gives {targets.shape[1]} dimensions, projection gives {projection.out_features}: "
            f"build the student with dimension={targets.shape[1]}"
        )
    pooled = SentenceTransformer(modules=[student[0], student[1]], device=str(student.device)).encode(
        list(texts), convert_to_tensor=True, show_progress_bar=False
    )
    projection.fit(pooled, torch.from_numpy(np.asarray(targets, dtype=np.float32)), RIDGE)
