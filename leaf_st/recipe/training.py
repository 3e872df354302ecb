"""The part of a recipe that says how the student is trained."""

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from numbers import Integral, Real
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from leaf_st.recipe.part import CONFIG, part
from leaf_st.recipe.types import AtLeast1, AtLeast2

Distance = Literal["l2", "mse", "cosine"]


def _plain(value: Any) -> Any:  # noqa: ANN401  (any value)
    """Return ``value`` with Python's numbers in place of NumPy's and of decimals, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real | Decimal) else value


@part("training")
@dataclass(frozen=True, config=CONFIG)
class TrainingSpec:
    """How the student is trained."""

    distance: Distance = "l2"
    """Loss between the student's and the teacher's vectors (paper Eq. 3: "l2")."""
    end_learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    """Learning rate at the end of a cycle (paper 2.2: 1e-5)."""
    cycles: AtLeast1 = 1
    """Number of learning rate cycles (paper 2.2: 3)."""
    decay: Literal["step", "epoch"] = "step"
    """When the learning rate decreases: after each step or after each epoch (paper 2.2: "epoch")."""
    held_out_rows: AtLeast1 = 4096
    """Number of validation texts, selected by a hash of the content (paper 2.2: 128 batches of 32)."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text during training; the student's maximum if None."""
    budget_minutes: Annotated[float, Field(gt=0)] | None = None
    """Approximate training time: a short trial determines the number of steps, unless max_steps is set.

    If num_train_epochs is set too, the lower number of steps counts.
    """
    arguments: Annotated[Mapping[str, Any], AfterValidator(_plain)] = field(default_factory=dict)
    """Keywords of SentenceTransformerTrainingArguments. In --set, use the keyword as the key: learning_rate=2e-5."""

    @property
    def has_budget(self) -> bool:
        """Whether the time budget, and not max_steps, limits the steps; -1 is no limit, as in transformers."""
        return self.budget_minutes is not None and self.arguments.get("max_steps", -1) == -1
