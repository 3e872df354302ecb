"""Two optimizations that make training steps faster on a CPU without changing the computed values."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_MAPPED_FROM = 1 << 25  # bytes; glibc's malloc maps a larger block again at each allocation
_FUSED_ABOVE = 256  # tokens; above, the fused kernel saves the memory of a matrix of tokens by tokens


def attention_kernel(inputs: dict[str, Any], args: TrainingArguments) -> AbstractContextManager[None]:
    """Select plain matrix products for short texts in bfloat16 on a CPU.

    For such texts the backward pass of torch's fused kernel is slow: a step of three layers takes 1.4 times as long for
    32 texts of 20 tokens, and 1.7 times as long for 32 texts of 120 tokens.
    """
    # A static student has its ids in one row for all texts, and no attention, so either kernel is right.
    tokens = max(value.shape[-1] for name, value in inputs.items() if name.endswith("input_ids"))
    if args.bf16 and args.device.type == "cpu" and tokens <= _FUSED_ABOVE:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


class ReusedGradients(TrainerCallback):
    """Reuses the memory of the gradient of a large table of token vectors on a CPU.

    A batch touches few rows of the table, but autograd allocates the complete gradient in each step, and the system
    clears the pages each time. Allocation takes a third of a step of three layers on 32 texts of 20 tokens. Here a
    sparse gradient is added to an existing dense gradient instead.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[torch.nn.Embedding | torch.nn.EmbeddingBag, torch.Tensor]] = []

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Allocate the gradients of the large tables, and make the gradient of each batch sparse."""
        if args.device.type != "cpu" or args.world_size > 1:
            return
        kinds = torch.nn.Embedding | torch.nn.EmbeddingBag
        tables = (part for part in more["model"].modules() if isinstance(part, kinds))
        large = [table for table in tables if table.weight.requires_grad and table.weight.nbytes >= _MAPPED_FROM]
        self._kept = [(table, torch.zeros_like(table.weight)) for table in large]
        for table in large:
            table.sparse = True

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Set the gradient of each table to the reused memory, filled with 0."""
        for table, gradient in self._kept:
            table.weight.grad = gradient.zero_()

    def on_train_end(self, *_: object, **__: object) -> None:
        """Restore dense gradients and release the memory."""
        for table, _gradient in self._kept:
            table.sparse = False
        self._kept = []
