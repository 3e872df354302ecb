"""The tokenization of a student, for the processes that make its batches."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.modules import Module


class Tokenization:
    """Tokenizes texts as the first module of a student does.

    Where Python spawns processes (macOS, Windows, forkserver), each process that makes batches receives a pickle of
    this object. The pickle has no weights: they would be moved into shared memory, which is small in containers.

    Args:
        module: The first module of the student.
    """

    def __init__(self, module: Module) -> None:
        self.module = module

    def __call__(self, texts: Sequence[str], **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the tokens of ``texts`` as tensors, as ``SentenceTransformer.preprocess`` does."""
        tokens: dict[str, Any] = self.module.preprocess(list(texts), **options)
        return tokens

    def __getstate__(self) -> dict[str, Any]:
        # deepcopy takes the copy of an object from this mapping, and tensors of the device "meta" hold no numbers.
        weights = (*self.module.parameters(), *self.module.buffers())
        known = {id(weight): torch.empty_like(weight, device="meta") for weight in weights}
        return {"module": copy.deepcopy(self.module, known)}
