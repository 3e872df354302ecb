"""The linear map from the student's pooled vectors into the teacher's space (paper Eq. 1, W_out)."""

import torch
from sentence_transformers.sentence_transformer.modules import Dense
from torch import Tensor, nn

from leaf_st.errors import InputError


class Projection(Dense):
    """``Dense`` as LEAF needs it: no bias and no activation (paper Eq. 1).

    It is saved under the type of ``Dense``, because sentence-transformers loads only its own module types
    without ``trust_remote_code``; whoever loads the model gets a plain ``Dense`` with the same weights.

    Args:
        in_features: Width d' of the student's pooled vectors.
        out_features: Width d of the teacher's vectors.
        bias: Must stay False.
        activation_function: Must stay None or the identity.
        module_input_name: Feature to read, shape (batch, d').
        module_output_name: Feature to write, shape (batch, d); the one read if None.

    Raises:
        InputError: If a bias or an activation is asked for.
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
                f"a projection has no bias and no activation (paper Eq. 1), got bias={bias} and "
                f"{activation_function}: use sentence-transformers' Dense for another layer"
            )
        super().__init__(
            in_features,
            out_features,
            bias=False,
            activation_function=nn.Identity(),
            module_input_name=module_input_name,
            module_output_name=module_output_name,
        )

    @torch.no_grad()
    def fit(self, pooled: Tensor, targets: Tensor, ridge: float) -> None:
        """Set the weight to the ridge regression of the targets on the pooled vectors (closed-form start).

        Solved in float64 from the normal equations, ``(X^T X + lambda I) W = X^T Y`` with lambda relative to the
        mean diagonal of ``X^T X``, so that the strength does not depend on the number or scale of the rows.

        Args:
            pooled: Student's pooled vectors X, shape (n, d').
            targets: Teacher's vectors Y, shape (n, d).
            ridge: Strength of the penalty, relative, >= 0.
        """
        x, y = pooled.double().cpu(), targets.double().cpu()
        gram = x.T @ x
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        self.linear.weight.copy_(torch.linalg.solve(gram, x.T @ y).T)


# What is saved names the class by module and name: give it those of the stock type.
Projection.__module__, Projection.__name__ = Dense.__module__, Dense.__name__
