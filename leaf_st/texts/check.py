"""Which rows of a source can be used as texts."""

from collections.abc import Sequence
from typing import cast

from leaf_st.recipe import KINDS

_MAX_BYTES = 1_000_000  # longer than any teacher reads: probably a file mistaken for a text
_BYTES_PER_CHARACTER = 4  # the most that UTF-8 uses


def flaw(text: object, kind: object) -> str | None:
    """Return the reason why a row cannot be used, or None if the row is usable."""
    if not isinstance(text, str):
        return "not text"
    stripped = text.strip()
    if not stripped:
        return "empty"
    if "\0" in stripped:
        return "NUL character"
    try:
        size = len(stripped.encode())
    except UnicodeEncodeError:
        return "lone surrogate"
    if size >= _MAX_BYTES:
        return "1 MB or longer"
    return None if kind in KINDS else "kind neither query nor document"


def stripped_texts(texts: Sequence[object], kinds: Sequence[object]) -> list[str] | None:
    """Return the texts of a block of rows, stripped, if all rows are usable.

    The check of a block takes a fifth of the time of `flaw` for each row.

    Returns:
        The texts, or None if a row may be unusable.
    """
    try:
        stripped = list(map(str.strip, cast(Sequence[str], texts)))
        for text in stripped:
            if not text.isascii():
                text.encode()
        known = all(kind in KINDS for kind in set(kinds))
    except (TypeError, UnicodeEncodeError):
        return None
    longest = max(map(len, stripped), default=0)
    usable = known and all(stripped) and longest * _BYTES_PER_CHARACTER < _MAX_BYTES
    return stripped if usable and not any("\0" in text for text in stripped) else None
