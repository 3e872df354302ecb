"""Models with random weights: as fast as the real ones, where nothing but their speed matters.

They are made without a network, and saved as any other model is, so that what runs on them is the real code.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from leaf_st.errors import InputError
from leaf_st.models.find import resolve_model
from leaf_st.zoo import ARCHITECTURES, Architecture

# Words in pieces of eight letters, and what stands between them: of English, within 3 % of the tokens of BERT.
_PIECES = r"\w{1,8}|[^\w\s]"
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def missing(name: str, revision: str | None) -> tuple[str, Architecture] | None:
    """Return why the model ``name`` cannot be had, and its architecture; None if it is at hand.

    Raises:
        InputError: If it cannot be had and its architecture is not known.
    """
    try:
        resolve_model(name, revision)
    except InputError as error:
        if (architecture := _architecture(name)) is None:
            raise
        return str(error), architecture
    return None


def _architecture(name: str) -> Architecture | None:
    """Return the shape of ``name``: a model of the zoo, or a folder that holds the config.json of a BERT alone."""
    path = Path(name) / "config.json"
    if not path.is_file():
        return ARCHITECTURES.get(name)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        shape = Architecture(**{part.name: config[part.name] for part in fields(Architecture)})
        return shape if config["model_type"] == "bert" else None
    except (ValueError, KeyError, TypeError):
        return None


def save_unlearned(folder: Path, architecture: Architecture) -> Path:
    """Save a BERT of ``architecture`` with random weights to ``folder`` and return it.

    Its tokenizer knows no word, but counts as that of BERT does.
    """
    # In half of the size of float32; whoever loads it asks for the dtype it wants.
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
