"""Models in which the vector of a text depends on other texts: on the padding of its batch, or on earlier batches."""

from typing import cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from leaf_st.errors import InputError

_TEXTS = ["a", "a a a a a a a a"]
# Relative to the norm. Masked padding changes nothing, but sums over the tokens of a batch may round differently.
_LARGEST = 0.01


@torch.inference_mode()
def require_masked_padding(model: SentenceTransformer, role: str, name: str) -> None:
    """Check that other tokens in place of the padding of a batch change no vector.

    FNet, ConvBERT and CANINE have layers that mix all positions and ignore the mask.

    Args:
        model: The model; one that does not begin with a Transformer is not checked.
        role: What errors call the model, as in `leaf_st.models.load.load_model`.
        name: The model's name.

    Raises:
        InputError: If a vector changes, or if the attention of the model changes with the first short texts.
    """
    if not isinstance(model[0], Transformer):
        return
    config = getattr(model[0].model, "config", None)
    if getattr(config, "attention_type", None) == "block_sparse":  # BigBird; short texts switch it off for good
        raise InputError(
            f"{role} {name}: expected a model whose vector of a text does not depend on other texts, found "
            "attention_type=block_sparse in config.json, which the first batch of short texts replaces by full "
            f"attention: set attention_type to original_full, or name another {role}"
        )
    features = model.preprocess(_TEXTS)
    padding = _padding(cast(Transformer, model[0]), features)
    if padding is None or not padding.any():
        return
    ids = features["input_ids"]
    expected = _vectors(model, features)
    found = _vectors(model, {**features, "input_ids": ids.masked_fill(padding, int(ids[~padding].max()))})
    change = float(((expected - found).norm(dim=1) / expected.norm(dim=1).clamp(min=1e-12)).max())
    if change > _LARGEST:
        kind = getattr(config, "model_type", "unknown")
        raise InputError(
            f"{role} {name}: expected a model that ignores the padding of a batch, found a model (type {kind}) whose "
            f"vector of a text changes by {change:.1%} with the padding, so that the texts of its batch would change "
            f"the vector: name another {role}"
        )


def _padding(transformer: Transformer, features: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Return where ``features`` are padded, shape (texts, tokens); None if that is unknown."""
    ids, mask = features.get("input_ids"), features.get("attention_mask")
    pad = getattr(transformer.tokenizer, "pad_token_id", None)
    if ids is None or (mask is None and pad is None):
        return None
    return cast(torch.Tensor, ids == pad if mask is None else mask == 0)


def _vectors(model: SentenceTransformer, features: dict[str, torch.Tensor]) -> torch.Tensor:
    on_device = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in features.items()}
    return cast(torch.Tensor, model(on_device)["sentence_embedding"]).float()
