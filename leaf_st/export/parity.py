"""How close the vectors of an exported form are to the vectors of the model in torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.export.encoder import FormEncoder
from leaf_st.models.vectors import cosines
from leaf_st.recipe import Kind

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


def torch_vectors(model: SentenceTransformer, texts: TextsByKind) -> NDArray[np.float32]:
    """Return the vectors of all ``texts`` by torch, with the model's prompts, shape (n, d)."""
    encoders = {"query": model.encode_query, "document": model.encode_document}
    return np.concatenate(
        [
            encoders[kind](list(of_kind), batch_size=BATCH_SIZE, convert_to_numpy=True, show_progress_bar=False)
            for kind, of_kind in texts.items()
            if of_kind
        ]
    )


def form_vectors(encoder: FormEncoder, texts: TextsByKind) -> NDArray[np.float32]:
    """Return the vectors of all ``texts`` by an exported form, in the order of `torch_vectors`, shape (n, d)."""
    return np.concatenate([encoder.encode(kind, of_kind, BATCH_SIZE) for kind, of_kind in texts.items()])
