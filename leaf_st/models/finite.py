"""Whether the weights of a model are finite numbers."""

from torch import nn


def not_finite_weight(model: nn.Module) -> str | None:
    """Return the name of a weight of ``model`` with NaN or infinite values; None if all weights are finite."""
    return next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
