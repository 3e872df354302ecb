"""The recipes' default training texts, available to anyone; ``--set texts.source=FILE`` selects other texts."""

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.hub.settings import check_download
from leaf_st.recipe import DOCSTRINGS, PAPER, TextsSpec
from leaf_st.texts.paper.sources import SOURCES

# Web documents, dictionary definitions, forum questions, medical questions: the small sources with open licences.
_OPEN = ("fineweb", "vocabulary", "lotte", "pubmedqa")


def open_texts(per_source: int, *, sentences: bool = False) -> TextsSpec:
    """Return open texts from the hub, or documentation strings of installed packages if the hub is switched off.

    Args:
        per_source: Texts of each source on the hub.
        sentences: As for `TextsSpec`.
    """
    if constants.HF_HUB_OFFLINE:
        return TextsSpec(source=DOCSTRINGS, sentences=sentences)
    others = tuple(name for name in SOURCES if name not in _OPEN)
    return TextsSpec(source=PAPER, leave_out=others, per_source=per_source, sentences=sentences)


def hub_answers(seconds: float = 5) -> bool:
    """Return whether the hub answers a request within ``seconds``, with any status."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        check_download()
        get_session().head(constants.ENDPOINT, timeout=seconds)
    except (HTTPError, OSError, OfflineModeIsEnabled, InputError):
        return False
    return True
