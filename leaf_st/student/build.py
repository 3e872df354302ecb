"""Building an untrained student: backbone, mean pooling, projection, Normalize.

The shape is the paper's Eq. 1, whatever the teacher's modules are. The backbone is any model that sentence-transformers
can load. ``layers`` keeps some of the backbone's encoder layers. A student made of the teacher's layers starts far
closer to the teacher than a student with another backbone.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn

from leaf_st.errors import InputError, require_kind
from leaf_st.models.load import load_model, require_encoding, set_max_length, warn_once
from leaf_st.models.tokens import max_length_of
from leaf_st.student.backbone import require_portable
from leaf_st.student.layers import keep_layers
from leaf_st.student.projection import Projection
from leaf_st.student.vocabulary import trim_vocabulary
from leaf_st.teacher.protocol import Similarity

BACKBONE = "student backbone"

_logger = logging.getLogger(__name__)


def build_student(
    backbone: str | Path,
    *,
    dimension: int,
    normalized: bool,
    layers: Sequence[int] | None = None,
    tokens: Sequence[str] | None = None,
    max_length: int | None = None,
    teacher_max_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    similarity_fn_name: Similarity | None = None,
    revision: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Build a student of ``backbone`` for a teacher of width ``dimension`` (paper Eq. 1).

    Args:
        backbone: Hub id or folder of an encoder, or of a sentence-transformers model with an encoder.
        dimension: Width d of the teacher's vectors.
        normalized: Whether the teacher's vectors have norm 1; the student ends in Normalize if and only if so.
        layers: Indices of the encoder layers to keep, in order; all if None.
        tokens: Tokens of the vocabulary to keep (`leaf_st.student.tokens_to_keep.select_tokens`); all if None.
        max_length: Tokens read of a text; if None, the smaller of the backbone's and the teacher's own length.
        teacher_max_length: Tokens that the teacher reads; None if it has no limit.
        prompts: The teacher's prompts by kind or task, saved in the student.
        similarity_fn_name: The teacher's similarity function, saved in the student; cosine if None.
        revision: Commit of the backbone on the hub.
        device: Device of the student; sentence-transformers' choice if None.
        trust_remote_code: Run the backbone's own code.

    Returns:
        Student in float32, dropout set to 0, whose projection is still random.

    Raises:
        InputError: If the backbone cannot be loaded or cannot encode, lacks a layer, has fewer positions, or cannot be
            saved for other programs; or if ``tokens`` are those of another tokenizer.
    """
    saved = "save a loaded model with save_pretrained and name its folder"
    require_kind("backbone", backbone, str | Path, f"a folder or hub id: {saved}")
    # Arrays of numpy and torch are no sequences.
    layers = getattr(layers, "tolist", lambda: layers)()
    require_kind("layers", layers, Sequence | None, "layer numbers such as (0, 4, 5): name each layer")
    name = str(backbone)
    loaded = load_model(backbone, role=BACKBONE, revision=revision, device=device, trust_remote_code=trust_remote_code)
    transformer = loaded[0]
    if not isinstance(transformer, Transformer):
        raise InputError(
            f"{BACKBONE} {name}: expected a model with a Transformer, found {type(transformer).__name__}: name another "
            "student.backbone"
        )
    require_portable(transformer, BACKBONE, name)
    _read_plain_texts(transformer)
    _forget_code(transformer)
    _forget_outputs(transformer)
    if layers is not None:
        if list(layers) == list(range(getattr(transformer.model.config, "num_hidden_layers", 0))):
            warn_once("student.layers names all layers of the model, so the student has as many layers as the model")
        transformer.model = keep_layers(transformer.model, layers)
    own = max_length_of(loaded)
    shortest = min((length for length in (own, teacher_max_length) if length is not None), default=None)
    set_max_length(loaded, max_length or shortest, BACKBONE, name)
    disable_dropout(transformer)
    truncate_right(loaded, name)
    if tokens is not None:
        trim_vocabulary(transformer, tokens, name)
    width = transformer.get_embedding_dimension()
    modules: list[nn.Module] = [transformer, Pooling(width, "mean"), Projection(width, dimension)]
    if normalized:
        modules.append(Normalize())
    student = SentenceTransformer(
        modules=modules, prompts=dict(prompts or {}), similarity_fn_name=similarity_fn_name, device=device
    )
    require_encoding(student, BACKBONE, name)
    return student


def _read_plain_texts(transformer: Transformer) -> None:
    """Let ``transformer`` read texts as they are, without a chat template, as all programs read a student.

    sentence-transformers uses the template of any tokenizer that has one if the model has no modules.json.
    """
    reading = transformer.modality_config.get("text") or transformer.modality_config["message"]
    method, output = reading["method"], reading["method_output_name"]
    transformer.modality_config = {"text": {"method": method, "method_output_name": output}}
    transformer.input_formatter.supported_modalities = ["text"]
    transformer.processing_kwargs = {}


def _forget_code(transformer: Transformer) -> None:
    """Remove the names of code from the settings of ``transformer``, which needs no code: a student has none."""
    vars(transformer.model.config).pop("auto_map", None)
    cast(Any, transformer.tokenizer).init_kwargs.pop("auto_map", None)


def _forget_outputs(transformer: Transformer) -> None:
    """Turn off outputs that a student does not need, with which transformers saves no config."""
    for name in ("output_attentions", "output_hidden_states"):
        if getattr(transformer.model.config, name, False):
            setattr(transformer.model.config, name, False)


def truncate_right(student: SentenceTransformer, name: str) -> None:
    """Set the tokenizer of ``student`` to keep the start of a long text, where the tokenizer keeps the end.

    Programs that read only tokenizer.json keep the start. Texts are also cut at their end before the teacher embeds
    them.
    """
    if student.tokenizer.truncation_side != "right":
        _logger.warning("%s keeps the end of a long text; the student keeps the start", name)
        student.tokenizer.truncation_side = "right"


def disable_dropout(module: nn.Module) -> None:
    """Set every dropout to 0.

    The targets are exact, so noise only slows training, and attention uses its fused CPU kernel only without dropout.
    Some layers keep the probability as a float, with names such as ``attention_dropout`` or ``dropout``.
    """
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in vars(part).items():
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)
