"""Which rows of a source can be used as texts."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from leaf_st.recipe import KINDS

NOT_UTF_8 = "not UTF-8"
NOT_TEXT = "not text"
OTHER_KIND = "of a kind other than query and document"

_MAX_BYTES = 1_000_000  # longer than any teacher reads: probably a file mistaken for a text
_BYTES_PER_CHARACTER = 4  # the most that UTF-8 uses
# A character other than white space, controls (Unicode category Cc), format characters (Cf), and the other characters
# without a shape of their own (Default_Ignorable_Code_Point), such as variation selectors and the fillers of Hangul.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def flaw(text: object, kind: object) -> str | None:
    """Return the reason why a row cannot be used, or None if the row is usable."""
    if text is None:
        return "without a text"
    if not isinstance(text, str):
        return NOT_TEXT
    stripped = text.strip()
    if "\0" in stripped:
        return "with a NUL character"
    if not _VISIBLE.search(stripped):
        return "empty"
    try:
        size = len(stripped.encode())
    except UnicodeEncodeError:
        return NOT_UTF_8  # a lone surrogate, which the readers put in place of other bytes
    if size >= _MAX_BYTES:
        return "of 1 MB or more"
    return None if kind in KINDS else OTHER_KIND


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
    usable = known and all(map(_VISIBLE.search, stripped)) and longest * _BYTES_PER_CHARACTER < _MAX_BYTES
    return stripped if usable and not any("\0" in text for text in stripped) else None


def left_out(skipped: Counter[str]) -> str:
    """Return how many rows were left out, by reason, to follow the number of texts; empty if none were."""
    return f"; left out: {reasons}" if (reasons := in_words(skipped)) else ""


def log_left_out(logger: logging.Logger, source: str | Path, skipped: Counter[str]) -> None:
    """Log how many rows of ``source`` were left out, by reason, if any were."""
    if skipped:
        logger.info("%s%s", source, left_out(skipped))


def in_words(skipped: Counter[str]) -> str:
    """Return the counts by reason, the most frequent first, such as "3 empty, 1 not UTF-8"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
