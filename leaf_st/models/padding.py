"""Models in which the vector of a text depends on other texts: on the padding of its batch, or on earlier batches."""

from typing import cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from leaf_st.errors import InputError

_SHORT, _LONG = "a", "a a a a a a a a"
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
    alone, padded = (_vectors(model, texts)[0] for texts in ([_SHORT], [_SHORT, _LONG]))
    change = float((alone - padded).norm() / alone.norm().clamp(min=1e-12))
    if change > _LARGEST:
        kind = getattr(config, "model_type", "unknown")
        float32 = "set teacher.precision=float32, or " if model.dtype != torch.float32 else ""
        raise InputError(
            f"{role} {name}: expected a model that ignores the padding of a batch, found a model (type {kind}) whose "
            f"vector of a text changes by {change:.1%} with the padding, so that the texts of its batch would change "
            f"the vector: {float32}name another {role}"
        )


def _vectors(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    features = model.preprocess(texts)
    on_device = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in features.items()}
    return cast(torch.Tensor, model(on_device)["sentence_embedding"]).float()
