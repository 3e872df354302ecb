"""Divergence of a training: NaN and infinite losses, which no later step repairs."""

import math
from collections.abc import Mapping

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from leaf_st.errors import InputError
from leaf_st.models.finite import not_finite_weight


class DivergedError(InputError):
    """A loss, a weight or a vector of the trained student is NaN or infinite."""

    def __init__(self, found: str, state: TrainerState, args: TrainingArguments) -> None:
        super().__init__(
            f"the training diverged: expected finite numbers, found {found} at step {state.global_step}: lower "
            f"learning_rate ({args.learning_rate:g}), or correct other settings of the optimizer"
        )


class StopIfDiverged(TrainerCallback):
    """Ends training when a loss that is logged is NaN or infinite.

    Losses are logged at validations and each ``logging_steps`` steps. A check of each step would let a GPU wait.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """Check the losses in ``logs``; a metric of the user's evaluator may be NaN.

        Raises:
            DivergedError: If a loss is NaN or infinite.
        """
        for name, value in (logs or {}).items():
            if name.endswith("loss") and isinstance(value, int | float) and not math.isfinite(value):
                raise DivergedError(f"{name} {value}", state, args)


@torch.inference_mode()
def require_finite(student: SentenceTransformer, state: TrainerState, args: TrainingArguments) -> None:
    """Check that the trained ``student`` has finite weights and vectors, since the last steps may have no logged loss.

    Raises:
        DivergedError: If a weight, or a number of a vector, is NaN or infinite.
    """
    if name := not_finite_weight(student):
        raise DivergedError(f"NaN or infinite values in the weight {name}", state, args)
    vector = student.encode(["a"], prompt="", show_progress_bar=False, convert_to_tensor=True)
    if not vector.isfinite().all():
        raise DivergedError("NaN or infinite values in a vector of the student", state, args)
