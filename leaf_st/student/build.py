"""Building a student that has never seen its teacher's vectors: backbone, mean pooling, projection, Normalize.

The shape is the paper's Eq. 1 whatever the teacher looks like inside. The backbone is any model that
sentence-transformers can load; ``layers`` keeps some of its encoder layers, which starts a student of a
transformers teacher far closer to it than a foreign backbone would.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn
from transformers import PreTrainedModel

from leaf_st.errors import InputError
from leaf_st.models.find import resolve_model
from leaf_st.student.projection import Projection


def build_student(
    backbone: str | Path,
    *,
    dimension: int,
    normalized: bool,
    layers: Sequence[int] | None = None,
    max_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    revision: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Build a student of ``backbone`` for a teacher of width ``dimension`` (paper Eq. 1).

    Args:
        backbone: Hub id or folder of an encoder, or of a sentence-transformers model that has one.
        dimension: Width d of the teacher's vectors.
        normalized: Whether the teacher's vectors have norm 1; the student ends in Normalize if and only if so.
        layers: Indices of the encoder layers to keep, in order; all if None.
        max_length: Tokens read of a text; the backbone's own if None.
        prompts: The teacher's prompts by kind, saved in the student.
        revision: Commit of the backbone on the hub.
        device: Where to put the student; sentence-transformers' choice if None.
        trust_remote_code: Run the backbone's own code.

    Returns:
        Student in float32, dropout set to 0, whose projection is still random.

    Raises:
        InputError: If the backbone cannot be loaded or has no such layers.
    """
    transformer = load_backbone(backbone, revision, device, trust_remote_code)[0]
    if not isinstance(transformer, Transformer):
        raise InputError(
            f"student backbone {backbone} starts with {type(transformer).__name__}, expected a Transformer"
        )
    if layers is not None:
        keep_layers(transformer.model, layers)
    if max_length is not None:
        set_max_length(transformer, max_length, str(backbone))
    disable_dropout(transformer)
    width = transformer.get_embedding_dimension()
    modules: list[nn.Module] = [transformer, Pooling(width, "mean"), Projection(width, dimension)]
    if normalized:
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, prompts=dict(prompts or {}), device=device)


def set_max_length(transformer: Transformer, max_length: int, name: str) -> None:
    """Let ``transformer``, of the model ``name``, read ``max_length`` tokens of a text.

    Raises:
        InputError: If it has fewer positions.
    """
    positions = getattr(transformer.model.config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InputError(f"student.max_length: {name} reads at most {positions} tokens, found {max_length}")
    transformer.max_seq_length = max_length


def load_backbone(
    backbone: str | Path, revision: str | None, device: str | None, trust_remote_code: bool
) -> SentenceTransformer:
    """Load an encoder in float32, from safetensors alone.

    Raises:
        InputError: If it cannot be loaded.
    """
    try:
        return SentenceTransformer(
            str(resolve_model(str(backbone), revision, trust_remote_code)),
            device=device,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"student backbone {backbone} cannot be loaded: {error}") from error


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Drop every encoder layer of ``model`` but ``layers``, in place, and let its config say so.

    Raises:
        InputError: If a layer does not exist or comes twice, or the encoder's layers are not all alike.
    """
    count = model.config.num_hidden_layers
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= count:
        raise InputError(
            f"layers {list(layers)} cannot be kept: {model.config.model_type} has layers 0 to {count - 1}, "
            "name some of them in rising order"
        )
    stacks = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if len(stacks) != 1 or getattr(model.config, "layer_types", None):
        raise InputError(
            f"layers of a {model.config.model_type} cannot be picked: expected one stack of {count} layers "
            f"of one type, found {len(stacks)} stacks; name a smaller backbone instead"
        )
    parent, name = stacks[0]
    stack = getattr(parent, name)
    setattr(parent, name, nn.ModuleList([stack[index] for index in layers]))
    model.config.num_hidden_layers = len(layers)


def disable_dropout(module: nn.Module) -> None:
    """Set every dropout to 0.

    The targets are exact, so noise only slows the student down, and only without dropout does attention run
    its fused kernel on a CPU. Some attentions keep the probability as a plain number beside the layer.
    """
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("attention_dropout", "dropout_prob"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
