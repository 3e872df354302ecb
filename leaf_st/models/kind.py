"""The kind of a model, by its settings: only models of dense embeddings can be teachers or students."""

import logging
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from leaf_st.atomic import read_json
from leaf_st.errors import InputError

_logger = logging.getLogger(__name__)

# The modes that sentence-transformers chooses for a model without modules.json.
_POOLED = {"mean": "the mean of its tokens' vectors", "lasttoken": "the vector of its last token"}


def require_dense(folder: Path, role: str, name: str) -> None:
    """Refuse a model that gives no dense embeddings.

    Args:
        folder: The model.
        role: What errors call the model.
        name: The model's name.

    Raises:
        InputError: If the model gives sparse embeddings, scores or labels.
    """
    kind = _model_type(folder)
    if kind not in (None, SentenceTransformer.__name__):
        raise InputError(
            f"{role} {name} cannot be loaded from {folder}: expected a model of dense embeddings, found a {kind}: name "
            f"another {role}"
        )
    if (folder / "modules.json").is_file():
        return
    try:
        kinds = read_json(folder / "config.json").get("architectures") or []
    except (OSError, ValueError, AttributeError):  # loading the model names the damage
        return
    if any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise InputError(
            f"{role} {name} cannot be loaded from {folder}: expected a model of embeddings, found {kinds[0]}, which "
            f"scores or labels texts, such as a reranker: name another {role}"
        )


def warn_of_pooling(model: SentenceTransformer, folder: Path, role: str, name: str) -> None:
    """Name the pooling that sentence-transformers chose for a model without modules.json, if it chose one."""
    poolings = [module for module in model if isinstance(module, Pooling)]
    if not (folder / "modules.json").is_file() and poolings:
        mode = poolings[0].pooling_mode
        pooled = _POOLED.get(mode, f"the pooling {mode}")
        _logger.warning("%s %s has no modules.json, which states the pooling: %s is used", role, name, pooled)


def _model_type(folder: Path) -> object:
    """Return the class of sentence-transformers that saved the model; None if the folder does not state a class."""
    try:
        return read_json(folder / "config_sentence_transformers.json").get("model_type")
    except (OSError, ValueError, AttributeError):  # the file may be missing; loading names damage
        return None
