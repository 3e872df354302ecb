"""How near the vectors of an exported form are to those of the model, and what retrieval keeps with them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.beir import BeirSet, load_beir
from leaf_st.evaluation.ranking import document_text, exact_ndcg
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.recipe import Kind

LARGEST_ERROR = 1e-5  # of float32
LEAST_COSINE, LEAST_KEPT = 0.99, 99.0  # of int8
BATCH = 16  # texts of different lengths, so that padding is compared too

Texts = Mapping[Kind, Sequence[str]]


@dataclass(frozen=True)
class Parity:
    """A form beside the model in torch, in float32.

    Attributes:
        error: Largest difference of a coordinate; where vectors are longer than 1, as a share of their mean norm.
        cosine: Mean over the texts.
    """

    error: float
    cosine: float


def parity(encode: OnnxEncoder, model: SentenceTransformer, texts: Texts) -> Parity:
    """Compare the vectors of ``texts``, with the model's prompts."""
    encoders = {"query": model.encode_query, "document": model.encode_document}
    ours = np.concatenate([encode_all(encode, side, of_side) for side, of_side in texts.items()])
    torchs = np.concatenate(
        [
            encoders[side](list(of_side), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False)
            for side, of_side in texts.items()
        ]
    )
    norms = np.linalg.norm(torchs, axis=1)
    cosines = (ours * torchs).sum(axis=1) / (norms * np.linalg.norm(ours, axis=1))
    return Parity(float(np.abs(ours - torchs).max() / max(1.0, norms.mean())), float(cosines.mean()))


def encode_all(encode: OnnxEncoder, side: Kind, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of n texts, shape (n, d), in batches of `BATCH`."""
    return np.concatenate([encode(side, texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])


def kept(form: OnnxEncoder, precise: OnnxEncoder, model: SentenceTransformer, sets: Sequence[Path]) -> float | None:
    """Return nDCG@10 of ``form`` in percent of that of ``precise``, the mean over BEIR folders; None without any."""
    if not sets:
        return None
    found = [load_beir(folder) for folder in sets]
    ours, theirs = (statistics.fmean(_ndcg(encode, model, beir) for beir in found) for encode in (form, precise))
    return 100 * ours / theirs if theirs else 100.0


def _ndcg(encode: OnnxEncoder, model: SentenceTransformer, beir: BeirSet) -> float:
    queries = encode_all(encode, "query", [row["text"] for row in beir.queries])
    documents = encode_all(encode, "document", [document_text(row) for row in beir.corpus])
    return exact_ndcg(beir, queries, documents, model)
