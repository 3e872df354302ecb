"""A static student without torch: NumPy, tokenizers and safetensors read the folder of the student."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer


def open_static(folder: str) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Return a function that turns n texts, each after its prompt, into vectors of norm 1, shape (n, d)."""
    part = next(Path(folder).rglob("*_StaticEmbedding"), Path(folder))  # `save_pretrained` writes no subfolder
    table = load_file(part / "model.safetensors")["embedding.weight"]
    tokenizer = Tokenizer.from_file(str(part / "tokenizer.json"))

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = tokenizer.encode_batch([*texts], add_special_tokens=False)
        sums = np.stack([table[text.ids].sum(axis=0) for text in tokens])  # of norm 1, sum and mean are equal
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)

    return encode
