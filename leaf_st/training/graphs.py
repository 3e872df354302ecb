"""The forward and backward pass of a training step as one CUDA graph.

A step of six layers on 32 short texts launches hundreds of kernels, and Python takes several times as long to launch
them as a GPU takes to compute them. A CUDA graph launches all of them at once. Batches are padded to
multiples of eight tokens, so a few graphs serve all batches.

A graph computes with the kernels of an ordinary step. Clipping, the optimizer, the schedule, logging and checkpoints
remain the trainer's.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import Tensor, nn

from leaf_st.student.static import is_static

_MULTIPLE = 8  # tokens to which a batch is padded; each length that occurs has a graph of its own
_PADDED = ("input_ids", "attention_mask", "token_type_ids")
_WARM_UP = 2  # ordinary passes before a capture, in which libraries allocate their workspaces

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pass:
    """A captured pass.

    Attributes:
        inputs: The tensors that the graph reads, by name.
        padding: The value of the padding, by name; tensors without padding are not listed.
        graph: The graph.
        loss: The tensor that the graph writes the loss to.
        gradients: Each parameter that has a gradient, and the tensor that the graph writes the gradient to.
    """

    inputs: Mapping[str, Tensor]
    padding: Mapping[str, int]
    graph: torch.cuda.CUDAGraph
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Compute loss and gradients of ``batch``."""
        fill(self.inputs, batch, self.padding)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss.clone()


class GraphedPasses:
    """Computes losses and gradients of full batches with CUDA graphs, one for each length.

    Args:
        compute_loss: Function from the inputs of a batch to the loss.
        student: The student.
        rows: Rows of a full batch.
    """

    def __init__(
        self, compute_loss: Callable[[dict[str, Any]], Tensor], student: SentenceTransformer, rows: int
    ) -> None:
        self._compute_loss = compute_loss
        self._rows = rows
        self._parameters = [weight for weight in student.parameters() if weight.requires_grad]
        self._longest = student.max_seq_length
        self._pad = student.tokenizer.pad_token_id or 0
        self._pool = torch.cuda.graph_pool_handle()  # one graph runs at a time, so all graphs share their memory
        self._passes: dict[int, _Pass] = {}
        self._is_refused = False

    def __call__(self, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return the loss of a batch, and set the gradients of the student.

        Args:
            inputs: The inputs of `compute_loss`; values that are no tensors are the same in all batches.

        Returns:
            The loss, or None, without gradients, if the batch needs an ordinary step.
        """
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        ids = next((value for name, value in tensors.items() if name.endswith("input_ids")), None)
        if self._is_refused or ids is None or len(ids) != self._rows:
            return None
        length = padded_length(ids.shape[1], self._longest)
        if length not in self._passes:
            try:
                self._passes[length] = self._capture(inputs, tensors, length)
            except RuntimeError as error:
                self._is_refused = True
                _logger.warning(
                    "training runs without CUDA graphs, because the student's passes cannot be captured: %s", error
                )
        if self._is_refused:
            self._release()  # after the error, whose traceback holds tensors of the failed capture
            return None
        return self._passes[length].replay(tensors)

    def _capture(self, inputs: Mapping[str, Any], tensors: Mapping[str, Tensor], length: int) -> _Pass:
        padding = {name: self._pad if name.endswith("input_ids") else 0 for name in tensors if name.endswith(_PADDED)}
        static = {
            name: value.new_empty((len(value), length)) if name in padding else torch.empty_like(value)
            for name, value in tensors.items()
        }
        fill(static, tensors, padding)
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._compute_loss({**inputs, **static}).backward()  # type: ignore[no-untyped-call]
                self._forget_gradients()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            loss = self._compute_loss({**inputs, **static})
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = [(weight, weight.grad) for weight in self._parameters if weight.grad is not None]
        return _Pass(static, padding, graph, loss.detach(), gradients)

    def _release(self) -> None:
        """Free the memory of all graphs: an ordinary step may need it, and graphs share it with nothing else."""
        self._forget_gradients()
        self._passes.clear()
        torch.cuda.empty_cache()

    def _forget_gradients(self) -> None:
        for weight in self._parameters:
            weight.grad = None


def graphs_apply(student: SentenceTransformer, args: SentenceTransformerTrainingArguments) -> bool:
    """Return whether the passes of a training can be CUDA graphs.

    Other processes, accumulated gradients, a scaled loss, compiled models and recomputed activations need work between
    the kernels of a pass. A static student reads texts of different lengths in one row.
    """
    return (
        args.device.type == "cuda"
        and args.world_size == 1
        and args.n_gpu == 1
        and args.gradient_accumulation_steps == 1
        and not (args.fp16 or args.torch_compile or args.gradient_checkpointing or args.deepspeed or args.fsdp)
        and not is_static(student)
    )


def padded_length(tokens: int, longest: int | None) -> int:
    """Return the length of the graph for ``tokens``: a multiple of eight, unless a student reads fewer tokens."""
    multiple = -(-tokens // _MULTIPLE) * _MULTIPLE
    return multiple if longest is None else max(tokens, min(multiple, longest))


def fill(static: Mapping[str, Tensor], batch: Mapping[str, Tensor], padding: Mapping[str, int]) -> None:
    """Copy ``batch`` into the tensors ``static``, and pad the tensors that ``padding`` lists at their end."""
    for name, value in batch.items():
        if name in padding:
            static[name][:, : value.shape[1]].copy_(value, non_blocking=True)
            static[name][:, value.shape[1] :].fill_(padding[name])
        else:
            static[name].copy_(value, non_blocking=True)
