"""A student with a smaller vocabulary: tokenizer and table of embeddings with some of the tokens.

For a multilingual model, the table is most of the weights. Tokens keep their order, so that ids that models expect at
the beginning, such as RoBERTa's 1 for padding, stay where they are.
"""

import json
import string
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from transformers import PreTrainedTokenizerFast

from leaf_st.atomic import read_json, write_json
from leaf_st.errors import InputError
from leaf_st.models.tokens import forget_last_call
from leaf_st.student.tokens_to_keep import Pieces

_TOLERANCE = 1e-4  # of hidden states, whose values are about 1
_TEXT = " ".join(string.ascii_lowercase)  # each vocabulary keeps the tokens of single letters


def trim_vocabulary(transformer: Transformer, tokens: Sequence[str], name: str) -> None:
    """Remove all tokens except ``tokens`` from tokenizer and embeddings of ``transformer``, in place.

    Args:
        transformer: An encoder with a fast tokenizer.
        tokens: From `leaf_st.student.tokens_to_keep.select_tokens` for the same tokenizer.
        name: What errors call the encoder.

    Raises:
        InputError: If ``tokens`` are those of another tokenizer, or the encoder depends on removed tokens.
    """
    fast = cast(PreTrainedTokenizerFast, transformer.tokenizer)
    ids = fast.backend_tokenizer.get_vocab()
    _require_own(Pieces(fast.backend_tokenizer), tokens, name)
    kept = {*tokens, *_named_by_config(transformer, fast)}
    before = _encoded(transformer)
    forget_last_call(transformer)
    settings: dict[str, Any] = json.loads(fast.backend_tokenizer.to_str())
    own = _own_tokens(settings["model"])
    order = sorted(kept, key=lambda token: (token not in own, ids[token]))  # the library numbers added tokens last
    numbers = {ids[token]: number for number, token in enumerate(order)}
    transformer.processor = _with_settings(fast, _renumbered(settings, kept, numbers))
    _keep_rows(transformer, [ids[token] for token in order], numbers)
    _require_same(before, _encoded(transformer), kept, name)


def _require_own(pieces: Pieces, tokens: Sequence[str], name: str) -> None:
    if not pieces.needed() <= set(tokens) <= pieces.ids.keys():
        raise InputError(
            f"student.tokens: expected tokens of the tokenizer of {name} that leaf-st selected, found those of another "
            "tokenizer: remove student.tokens, so that the run counts the tokens of its texts"
        )


def _named_by_config(transformer: Transformer, fast: PreTrainedTokenizerFast) -> set[str]:
    """Return the tokens that the config names by their ids; some configs name an id that the tokenizer lacks."""
    named = {number for values in _token_ids(transformer).values() for number in values}
    return {token for token, number in fast.get_vocab().items() if number in named}


def _token_ids(transformer: Transformer) -> dict[str, list[int]]:
    """Return the ids of tokens in the config by their keys, such as ``pad_token_id``."""
    found: dict[str, list[int]] = {}
    for key, value in vars(transformer.model.config).items():
        if key.endswith("_token_id") and value is not None:
            found[key] = list(value) if isinstance(value, list | tuple) else [value]
    return found


def _own_tokens(model: Mapping[str, Any]) -> set[str]:
    """Return the tokens of the model in a tokenizer.json, without those that were only added."""
    vocabulary = model["vocab"]
    return set(vocabulary) if isinstance(vocabulary, dict) else {token for token, _ in vocabulary}


def _renumbered(settings: dict[str, Any], kept: set[str], numbers: Mapping[int, int]) -> dict[str, Any]:
    """Return the content of a tokenizer.json with only the tokens in ``kept``.

    Args:
        settings: The content.
        kept: Tokens.
        numbers: New id by old id.
    """
    model = dict(settings["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: numbers[old] for token, old in model["vocab"].items() if token in kept}
    else:  # Unigram: tokens and scores, in the order of the ids
        model["vocab"] = [row for row in model["vocab"] if row[0] in kept]
        model["unk_id"] = None if model["unk_id"] is None else numbers[model["unk_id"]]
    if "merges" in model:
        prefix = model["continuing_subword_prefix"] or ""
        results = ((first, second, first + second.removeprefix(prefix)) for first, second in model["merges"])
        model["merges"] = [list(merge[:2]) for merge in results if kept.issuperset(merge)]
    added = [{**token, "id": numbers[token["id"]]} for token in settings["added_tokens"]]
    ends = _renumbered_ends(settings["post_processor"], numbers)
    return {**settings, "model": model, "added_tokens": added, "post_processor": ends}


def _renumbered_ends(value: Any, numbers: Mapping[int, int]) -> Any:  # noqa: ANN401  (any JSON value)
    """Return a post-processor with new ids: lists under "ids", and pairs of token and id under "cls" and "sep"."""
    if isinstance(value, list):
        return [_renumbered_ends(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _renumbered_ends(item, numbers) for key, item in value.items()}
    if isinstance(value.get("ids"), list):
        found["ids"] = [numbers[old] for old in value["ids"]]
    for key in ("cls", "sep"):
        if isinstance(value.get(key), list):
            found[key] = [value[key][0], numbers[value[key][1]]]
    return found


def _with_settings(fast: PreTrainedTokenizerFast, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return ``fast`` with the content ``settings`` of its tokenizer.json, read as a program that loads it reads it."""
    with tempfile.TemporaryDirectory(prefix="leaf-st-tokenizer-") as temporary:
        fast.save_pretrained(temporary)
        write_json(Path(temporary) / "tokenizer.json", settings)
        path = Path(temporary) / "tokenizer_config.json"
        config = read_json(path)
        config.pop("added_tokens_decoder", None)  # old ids; tokenizer.json has the added tokens too
        write_json(path, config)
        return cast(PreTrainedTokenizerFast, type(fast).from_pretrained(temporary))


@torch.no_grad()
def _keep_rows(transformer: Transformer, rows: Sequence[int], numbers: Mapping[int, int]) -> None:
    """Keep ``rows`` of the table of embeddings, in this order, and change the ids in model and config."""
    model = transformer.model
    table = cast(nn.Embedding, model.get_input_embeddings())
    rows = [row for row in rows if row < table.num_embeddings]  # some tokens have no row, and never occur
    table.weight[: len(rows)] = table.weight[rows].clone()
    model.resize_token_embeddings(len(rows))
    for module in model.modules():
        if isinstance(padding := getattr(module, "padding_idx", None), int):
            setattr(module, "padding_idx", numbers.get(padding, padding))  # noqa: B010  (a module types its attributes)
    for key, old in _token_ids(transformer).items():
        new = [numbers.get(number, number) for number in old]
        setattr(model.config, key, new if isinstance(getattr(model.config, key), list | tuple) else new[0])


@torch.no_grad()
def _encoded(transformer: Transformer) -> tuple[list[str], torch.Tensor]:
    """Return tokens and hidden states of a text of single letters."""
    features = {
        key: value.to(transformer.model.device)
        for key, value in transformer.preprocess([_TEXT]).items()
        if isinstance(value, torch.Tensor)
    }
    tokens = cast(PreTrainedTokenizerFast, transformer.tokenizer).convert_ids_to_tokens(
        features["input_ids"][0].tolist()
    )
    return cast(list[str], tokens), transformer(features)["token_embeddings"][0]


def _require_same(
    before: tuple[list[str], torch.Tensor], after: tuple[list[str], torch.Tensor], kept: set[str], name: str
) -> None:
    """Check that a text that loses no token has the same tokens and hidden states as before."""
    if not kept.issuperset(before[0]):
        return
    if before[0] != after[0] or (before[1] - after[1]).abs().max() > _TOLERANCE:
        raise InputError(
            f"student.vocabulary: expected an encoder that gives the same vectors without its unused tokens, found "
            f"other vectors by {name}: remove student.vocabulary, or name another student.backbone"
        )
