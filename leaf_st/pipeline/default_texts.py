"""Training texts that anyone has: what recipes read unless ``--set texts.source=FILE`` names other texts."""

import logging

from huggingface_hub import constants

from leaf_st.recipe import DOCSTRINGS, PAPER, TextsSpec
from leaf_st.texts.paper.sources import SOURCES

# Documents of the web and of a dictionary, questions of forums and of medicine: the small ones with open licences.
_OPEN = ("fineweb", "vocabulary", "lotte", "pubmedqa")

logger = logging.getLogger(__name__)


def open_texts(per_source: int, *, sentences: bool = False) -> TextsSpec:
    """Return open texts from the hub, or documentation strings of installed packages if ``HF_HUB_OFFLINE`` is set.

    Args:
        per_source: Texts of each source on the hub.
        sentences: As for `TextsSpec`.
    """
    if constants.HF_HUB_OFFLINE:
        logger.info("default texts: documentation strings of installed packages, since HF_HUB_OFFLINE is set")
        return TextsSpec(source=DOCSTRINGS, sentences=sentences)
    names = ", ".join(f"{name} ({SOURCES[name].hub_id})" for name in _OPEN)
    logger.info("default texts: up to %s of each of %s, from the hub", f"{per_source:,}", names)
    others = tuple(name for name in SOURCES if name not in _OPEN)
    return TextsSpec(source=PAPER, leave_out=others, per_source=per_source, sentences=sentences)
