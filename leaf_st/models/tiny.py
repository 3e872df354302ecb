"""A tiny teacher with random weights: real in every way but size, made in a second without a network.

``--smoke`` runs and the tests distil it.
"""

import string
import tempfile
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer

WIDTH = 32
LAYERS = 6


def save_tiny_teacher(folder: Path, normalized: bool = True) -> Path:
    """Save a BERT of 6 layers and width 32 to ``folder`` and return it.

    Args:
        folder: New folder.
        normalized: Whether its vectors have norm 1.
    """
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_vocabulary()),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=128,
        initializer_range=0.3,  # wide enough that different texts get different vectors
    )
    with tempfile.TemporaryDirectory() as backbone:
        BertModel(config).save_pretrained(backbone)
        BertTokenizer(vocab=_vocabulary(), do_lower_case=True).save_pretrained(backbone)
        modules: list[nn.Module] = [Transformer(backbone, max_seq_length=64), Pooling(WIDTH, "mean")]
    if normalized:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def _vocabulary() -> dict[str, int]:
    """Return a WordPiece vocabulary of single characters, so that every ASCII text has tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, *characters, *(f"##{character}" for character in characters)]
    return {piece: index for index, piece in enumerate(pieces)}
