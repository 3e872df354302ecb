"""An ONNX graph of a student as an encoder: onnxruntime runs the graph without torch."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.prompts import prompt_for
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import KINDS, Kind

if TYPE_CHECKING:
    from tqdm import tqdm

INPUTS = ("input_ids", "attention_mask")


def onnxruntime_is_installed() -> bool:
    """Return whether graphs can be run."""
    return find_spec("onnxruntime") is not None


class FormEncoder(Protocol):
    """Encodes texts by an exported file."""

    def __call__(self, kind: Kind, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n texts as one batch, shape (n, d), with the model's prompt for ``kind``."""

    def encode(
        self, kind: Kind, texts: Sequence[str], batch_size: int, bar: "tqdm[None] | None" = None
    ) -> NDArray[np.float32]:
        """Return the vectors of n texts, shape (n, d), in batches of ``batch_size``; ``bar`` counts the texts."""


class OnnxEncoder:
    """Encodes texts by a graph that maps ``input_ids`` and ``attention_mask``, both (n, tokens), to vectors (n, d).

    onnxruntime uses as many threads as torch.

    Args:
        graph: The ONNX file.
        model: The model that was exported; its tokenizer and its prompts are used.

    Raises:
        InputError: If the file is not a graph with these inputs, or onnxruntime is not installed.
    """

    def __init__(self, graph: Path, model: SentenceTransformer) -> None:
        if not onnxruntime_is_installed():
            raise InputError(f"{graph}: onnxruntime is not installed: pip install 'leaf-st[onnx]'")
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        unusable = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except unusable as error:
            raise InputError(f"{graph} cannot be loaded: {error}: export the model again") from error
        found = [value.name for value in self._session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            raise InputError(
                f"{graph}: expected the inputs {', '.join(INPUTS)}, found {', '.join(found)}: export the model again"
            )
        self._width: int = self._session.get_outputs()[0].shape[1]
        self._tokenizer = copy_tokenizer(model)
        self._tokenizer.enable_padding(pad_id=model.tokenizer.pad_token_id, pad_token=model.tokenizer.pad_token)
        self._prompts = {kind: prompt_for(model.prompts, kind) for kind in KINDS}

    def __call__(self, kind: Kind, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n texts as one batch, shape (n, d), with the model's prompt for ``kind``.

        A text without a token, where the tokenizer adds none, has the zero vector.
        """
        encoded = self._tokenizer.encode_batch([self._prompts[kind] + text for text in texts])
        if not any(text.ids for text in encoded):  # no graph takes a batch without a token
            return np.zeros((len(texts), self._width), dtype=np.float32)
        ids = np.array([text.ids for text in encoded], dtype=np.int64)
        mask = np.array([text.attention_mask for text in encoded], dtype=np.int64)
        vectors: NDArray[np.float32] = self._session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return vectors

    def encode(
        self, kind: Kind, texts: Sequence[str], batch_size: int, bar: "tqdm[None] | None" = None
    ) -> NDArray[np.float32]:
        """Return the vectors of n texts, shape (n, d), in batches of ``batch_size``; ``bar`` counts the texts."""
        batches = [texts[start : start + batch_size] for start in range(0, max(len(texts), 1), batch_size)]
        found = []
        for batch in batches:
            found.append(self(kind, batch))
            if bar is not None:
                bar.update(len(batch))
        return np.concatenate(found)
