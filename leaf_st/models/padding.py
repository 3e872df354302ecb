"""Models in which the vector of a text depends on other texts: on the padding of its batch, or on earlier batches."""

from copy import deepcopy
from inspect import signature
from typing import cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from leaf_st.errors import InputError
from leaf_st.models.tokens import max_length_of

_SHORT, _LONG = "a", "a a a a a a a a"
_MANY = 512  # tokens
# Relative to the norm. bfloat16, with eight bits, rounds differently in a batch of another shape.
_LARGEST = 0.03


@torch.inference_mode()
def require_masked_padding(model: SentenceTransformer, role: str, name: str) -> None:
    """Check that a short text has the same vector alone and in a batch, where a longer text makes padding necessary.

    FNet, ConvBERT, CANINE and the module CNN have layers that mix all positions and ignore the mask.

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
    inputs = signature(model[0].model.forward).parameters
    has_mask = "attention_mask" in inputs or "input_ids" not in inputs
    # Without a mask, float32 is no remedy, but FNet computes in no other precision.
    checked = model if has_mask or model.dtype == torch.float32 else deepcopy(model).float()
    # Reformer computes attention in chunks, and a chunk of padding changes the others.
    is_chunked = any("chunk_length" in key for key in (vars(config) if config else ()))
    longest = min(max_length_of(model) or _MANY, _MANY)
    pairs = [(_SHORT, _LONG), ("a " * (longest // 3), "a " * longest)] if is_chunked else [(_SHORT, _LONG)]
    change = max(_change(checked, *pair) for pair in pairs)
    if change > _LARGEST:
        kind = getattr(config, "model_type", "unknown")
        found, remedy = f"a model (type {kind})", f"name another {role}"
        if not has_mask:
            found += " that does not take an attention mask, and"
            remedy += " that takes an attention mask"
        elif model.dtype != torch.float32:
            remedy = f"set teacher.precision=float32, or {remedy}"
        raise InputError(
            f"{role} {name}: expected a model that ignores the padding of a batch, found {found} whose vector of a "
            f"text changes by {change:.1%} with the padding, so that the texts of its batch would change the vector: "
            f"{remedy}"
        )


def _change(model: SentenceTransformer, text: str, longer: str) -> float:
    """Return by how much the vector of ``text`` changes in a batch with a longer text, relative to the norm."""
    alone, padded = (_vectors(model, texts)[0] for texts in ([text], [text, longer]))
    return float((alone - padded).norm() / alone.norm().clamp(min=1e-12))


def _vectors(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    features = model.preprocess(texts)
    on_device = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in features.items()}
    return cast(torch.Tensor, model(on_device)["sentence_embedding"]).float()
