"""How close the vectors of an exported form are to the vectors of the model in torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.export.encoder import FormEncoder
from leaf_st.models.vectors import cosines
from leaf_st.recipe import Kind

if TYPE_CHECKING:
    from tqdm import tqdm

BATCH_SIZE = 16  # texts of different lengths in one batch, so that the comparison covers padding

TextsByKind = Mapping[Kind, Sequence[str]]


@dataclass(frozen=True)
class Parity:
    """The difference between the vectors of a form and the vectors of torch in float32.

    Attributes:
        error: Largest difference of a coordinate; for vectors longer than 1, divided by their mean norm.
        cosine: Mean cosine over the texts.
    """

    error: float
    cosine: float


def parity(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    """Compare the vectors of a form with the vectors of torch, both of shape (n, d), row by row."""
    scale = max(1.0, np.linalg.norm(expected, axis=1).mean())
    return Parity(float(np.abs(found - expected).max() / scale), float(cosines(found, expected).mean()))


def torch_vectors(
    model: SentenceTransformer, texts: TextsByKind, bar: "tqdm[None] | None" = None
) -> NDArray[np.float32]:
    """Return the vectors of all ``texts`` by torch, with the model's prompts, shape (n, d)."""
    encoders = {"query": model.encode_query, "document": model.encode_document}
    found = []
    for kind, of_kind in texts.items():
        for start in range(0, len(of_kind), BATCH_SIZE):
            batch = list(of_kind[start : start + BATCH_SIZE])
            found.append(encoders[kind](batch, batch_size=BATCH_SIZE, convert_to_numpy=True, show_progress_bar=False))
            if bar is not None:
                bar.update(len(batch))
    return np.concatenate(found)


def form_vectors(encoder: FormEncoder, texts: TextsByKind, bar: "tqdm[None] | None" = None) -> NDArray[np.float32]:
    """Return the vectors of all ``texts`` by an exported form, in the order of `torch_vectors`, shape (n, d)."""
    return np.concatenate([encoder.encode(kind, of_kind, BATCH_SIZE, bar) for kind, of_kind in texts.items()])
