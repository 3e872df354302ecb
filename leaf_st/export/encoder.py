"""A model's ONNX graphs, from token ids to vectors, run by onnxruntime without torch."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.recipe import KINDS, Kind
from leaf_st.teacher.local import own_prompt
from leaf_st.texts.paper.cut import own_tokenizer

GraphKind = Literal["onnx", "onnx packed", "onnx int8"]

# In the folder of a model. The first and the last have the names that transformers.js knows.
GRAPHS: dict[GraphKind, Path] = {
    "onnx": Path("onnx") / "model.onnx",
    "onnx packed": Path("onnx") / "model_packed.onnx",
    "onnx int8": Path("onnx") / "model_int8.onnx",
}
INPUTS = ("input_ids", "attention_mask")


def onnxruntime_is_here() -> bool:
    """Say whether graphs can be run."""
    return find_spec("onnxruntime") is not None


class OnnxEncoder:
    """Encodes texts by a graph that takes ``input_ids`` and ``attention_mask``, both (n, tokens), to (n, d).

    It takes as many threads as torch does.

    Args:
        graph: The file.
        model: The model it was exported from, for its tokenizer and its prompts.

    Raises:
        InputError: If the file is no such graph, or onnxruntime is not installed.
    """

    def __init__(self, graph: Path, model: SentenceTransformer) -> None:
        if not onnxruntime_is_here():
            raise InputError(f"{graph}: onnxruntime is not installed: pip install 'leaf-st[onnx]'")
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        unusable = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except unusable as error:
            raise InputError(f"{graph} cannot be loaded: {error}: export it again") from error
        found = [value.name for value in self._session.get_inputs()]
        if sorted(found) != sorted(INPUTS):
            raise InputError(f"{graph}: expected the inputs {', '.join(INPUTS)}, found {', '.join(found)}")
        self._tokenizer = own_tokenizer(model)
        self._tokenizer.enable_padding(pad_id=model.tokenizer.pad_token_id, pad_token=model.tokenizer.pad_token)
        self._prompts = {kind: own_prompt(model.prompts, kind) for kind in KINDS}

    def __call__(self, side: Kind, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n texts as one batch, shape (n, d), with the model's own prompt for ``side``."""
        encoded = self._tokenizer.encode_batch([self._prompts[side] + text for text in texts])
        ids = np.array([text.ids for text in encoded], dtype=np.int64)
        mask = np.array([text.attention_mask for text in encoded], dtype=np.int64)
        vectors: NDArray[np.float32] = self._session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return vectors
