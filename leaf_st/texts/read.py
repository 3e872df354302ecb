"""Texts of any source, clean and unique: what the teacher embeds.

The source is a file or folder (`leaf_st.texts.files`), or this machine's documentation
(`leaf_st.texts.docstrings`). What is on the hub becomes a folder of files first (`leaf_st.texts.paper.fetch`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from leaf_st.errors import InputError
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TextsSpec
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.docstrings import docstring_texts
from leaf_st.texts.files import read_file
from leaf_st.texts.sentences import one_sentence
from leaf_st.texts.text import Text

_MAX_BYTES = 1_000_000  # no teacher reads so far; such a row is a file that was taken for a text


def read_texts(spec: TextsSpec, skipped: Counter[str], key: str = "texts") -> Iterator[Text]:
    """Yield the usable texts of ``spec``, each once for each kind, in the order of the source.

    Args:
        spec: Which texts, and how many of them at most.
        skipped: Where unusable rows are counted, by reason, as far as the source was read; rows above a limit are not.
        key: The part of the recipe that ``spec`` is, named in errors: "texts" or "general".

    Raises:
        InputError: If the source cannot be read or holds no usable text.
    """
    most: dict[str, float] = dict.fromkeys(KINDS, math.inf)
    if isinstance(spec.limit, Mapping):
        most |= {kind: limit for kind, limit in spec.limit.items() if limit is not None}
    in_all = spec.limit if isinstance(spec.limit, int) else sum(most.values())
    kept: Counter[str] = Counter()
    with Deduplicator() as seen:
        for text in _with_sentences(_usable(_rows(spec, skipped, key), skipped), spec.sentences):
            if kept[text.kind] == most[text.kind]:
                continue
            if not seen.is_new(text):
                skipped["duplicate"] += 1
                continue
            yield text
            kept[text.kind] += 1
            if kept.total() == in_all:
                return
    if not kept:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.most_common())
        raise InputError(
            f"{key}.source {spec.source}: expected at least one usable text, found none "
            f"(rows left out: {reasons or 'none'}): name another source or column"
        )


def _rows(spec: TextsSpec, skipped: Counter[str], key: str) -> Iterable[tuple[object, object]]:
    return docstring_texts() if spec.source == DOCSTRINGS else read_file(spec, skipped, key)


def _usable(rows: Iterable[tuple[object, object]], skipped: Counter[str]) -> Iterator[Text]:
    for text, kind in rows:
        reason = flaw(text, kind)
        if reason is None:
            yield Text(cast(str, text).strip(), cast(Kind, kind))
        else:
            skipped[reason] += 1


def _with_sentences(texts: Iterator[Text], wanted: bool) -> Iterator[Text]:
    for text in texts:
        yield text
        if wanted and text.kind == "document" and (sentence := one_sentence(text.text)):
            yield Text(sentence, "query")


def flaw(text: object, kind: object) -> str | None:
    """Return why a row cannot be used, or None if it can."""
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
