"""Models with random weights, made without a network.

`save_random_weights` saves a model of a given shape, whose speed can be measured. `save_tiny_teacher` saves a tiny
model, which smoke runs and tests distil.
"""

import string
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerFast

from leaf_st.atomic import read_json
from leaf_st.errors import InputError
from leaf_st.models.find import find_model
from leaf_st.zoo import ARCHITECTURES, Architecture

WIDTH = 32  # of the tiny teacher
LAYERS = 6
# Pieces of words of up to eight letters, and punctuation: for English within 3 % of the number of BERT's tokens.
_PIECES = r"\w{1,8}|[^\w\s]"
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def shape_if_missing(name: str, revision: str | None) -> tuple[str, Architecture] | None:
    """Return why the model ``name`` cannot be found, and its architecture; None if the model is available.

    Raises:
        InputError: If the model cannot be found and its architecture is unknown.
    """
    try:
        find_model(name, revision)
    except InputError as error:
        if (architecture := _architecture(name)) is None:
            raise
        return str(error), architecture
    return None


def _architecture(name: str) -> Architecture | None:
    """Return the shape of ``name``: a model of the zoo, or a folder that holds only the config.json of a BERT."""
    path = Path(name) / "config.json"
    if not path.is_file():
        return ARCHITECTURES.get(name)
    try:
        config = read_json(path)
        shape = Architecture(**{part.name: config[part.name] for part in fields(Architecture)})
        return shape if config["model_type"] == "bert" else None
    except (ValueError, KeyError, TypeError):
        return None


def save_random_weights(folder: Path, architecture: Architecture) -> Path:
    """Save a BERT of ``architecture`` with random weights to ``folder`` and return the folder.

    Every word is an unknown token, but a text has about as many tokens as with BERT's tokenizer.
    """
    # bfloat16 halves the size on disk; the loader chooses the dtype.
    model = BertModel(BertConfig(**asdict(architecture)))
    nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    _tokenizer(architecture).save_pretrained(folder)
    return folder


def _tokenizer(architecture: Architecture) -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(_SPECIAL.values())}
    vocabulary |= {f"[unused{index}]": index for index in range(len(vocabulary), architecture.vocab_size)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex(_PIECES), "removed", invert=True)
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=architecture.max_position_embeddings, **_SPECIAL
    )


def save_tiny_teacher(folder: Path, normalized: bool = True) -> Path:
    """Save a teacher, a BERT of 6 layers and width 32, to ``folder`` and return the folder.

    Args:
        folder: Folder of the model.
        normalized: Whether the vectors have norm 1.
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
