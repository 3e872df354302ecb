"""Clean and unique texts of any source: the teacher's input.

The source is a file or folder (`leaf_st.texts.files`) or this machine's documentation (`leaf_st.texts.docstrings`).
Data sets on the hub are downloaded into a folder of files first (`leaf_st.texts.paper.fetch`).
"""

import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import cast

from leaf_st.errors import FieldError
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.docstrings import docstring_texts
from leaf_st.texts.files import read_file
from leaf_st.texts.progress import ReadProgress

_MAX_BYTES = 1_000_000  # longer than any teacher reads: probably a file mistaken for a text
_SENTENCE_BORDER = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])")
_SENTENCE_WORDS = range(4, 61)
_ENOUGH = 1000  # documents without a sentence, after which a warning is logged

_logger = logging.getLogger(__name__)


def read_texts(
    spec: TextsSpec,
    skipped: Counter[str],
    key: str = "texts",
    prompts: Mapping[str, str] | None = None,
    progress: ReadProgress | None = None,
) -> Iterator[Text]:
    """Yield the usable texts of ``spec`` without duplicates, in the order of the source.

    Args:
        spec: The texts to read, and their maximum number.
        skipped: Counts the unusable rows that were read, by reason. Rows above a limit are not counted.
        key: Name of ``spec`` in the recipe, for errors: "texts" or "general".
        prompts: The teacher's prompts by kind. If two kinds have the same prompt, a text of both kinds is yielded once,
            as the kind that occurs first. If None, a text of both kinds is yielded twice.
        progress: Progress to update while the source is read.

    Raises:
        InputError: If the source cannot be read or contains no usable text.
    """
    progress = progress or ReadProgress()
    most = _limits(spec)
    progress.limit = _total_limit(spec)
    kept: Counter[str] = Counter()
    with Deduplicator() as seen:
        for text in _with_sentences(_usable(_rows(spec, skipped, key, progress), skipped), spec.sentences):
            if kept[text.kind] == most[text.kind]:
                continue
            if not seen.is_new(text.kind if prompts is None else prompts[text.kind], text.text):
                skipped["duplicate"] += 1
                continue
            yield text
            kept[text.kind] += 1
            if kept.total() == progress.limit:
                return
    if not kept:
        raise _no_texts(spec, skipped, key)


def require_texts(spec: TextsSpec, key: str = "texts", most: int = 1) -> int:
    """Check that the source of ``spec`` can be opened and contains a usable text; stop reading at ``most`` texts.

    Args:
        spec: The texts to read.
        key: As for `read_texts`.
        most: Number of texts after which no further text is read.

    Returns:
        The number of texts, at most ``most``.

    Raises:
        InputError: As `read_texts`.
    """
    if spec.source == DOCSTRINGS:  # the standard library always has more docstrings than ``most``
        return int(min(most, _total_limit(spec)))
    return sum(1 for _ in islice(read_texts(spec, Counter(), key), most))


def _limits(spec: TextsSpec) -> dict[str, float]:
    """Return the maximum number of texts of each kind."""
    given = spec.limit if isinstance(spec.limit, Mapping) else {}
    return {kind: math.inf if (limit := given.get(kind)) is None else limit for kind in KINDS}


def _total_limit(spec: TextsSpec) -> float:
    """Return the maximum number of all texts."""
    return spec.limit if isinstance(spec.limit, int) else sum(_limits(spec).values())


def _no_texts(spec: TextsSpec, skipped: Counter[str], key: str) -> FieldError:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.most_common())
    return FieldError(
        key,
        "source",
        f"expected at least one usable text, found none (rows left out: {reasons or 'none'}): name another source or "
        "column",
        spec.source,
    )


def _rows(spec: TextsSpec, skipped: Counter[str], key: str, progress: ReadProgress) -> Iterable[tuple[object, object]]:
    if spec.source == DOCSTRINGS:
        return docstring_texts(progress=progress)
    return read_file(spec, skipped, key, progress)


def _usable(rows: Iterable[tuple[object, object]], skipped: Counter[str]) -> Iterator[Text]:
    for text, kind in rows:
        reason = flaw(text, kind)
        if reason is None:
            yield Text(cast(str, text).strip(), cast(Kind, kind))
        else:
            skipped[reason] += 1


def _with_sentences(texts: Iterator[Text], wanted: bool) -> Iterator[Text]:
    documents, found = 0, False
    for text in texts:
        yield text
        if not wanted or text.kind != "document":
            continue
        documents += 1
        if sentence := one_sentence(text.text):
            found = True
            yield Text(sentence, "query")
        elif documents == _ENOUGH and not found:
            _warn_of_no_sentences(documents)
    if 0 < documents < _ENOUGH and not found:
        _warn_of_no_sentences(documents)


def _warn_of_no_sentences(documents: int) -> None:
    _logger.warning(
        "texts.sentences: expected documents of several sentences, found no sentence in the first %d documents: a "
        "sentence ends in . ! or ? before a space and a Latin capital letter; for other scripts, add queries of your "
        "own (column kind)",
        documents,
    )


def one_sentence(document: str) -> str | None:
    """Return a sentence of ``document``, chosen by the document's hash; None if it has fewer than two sentences.

    In asymmetric mode the student reads only queries. Many queries are complete sentences about the subject of the
    documents: claims, questions, titles. Collections of documents are easy to find; collections of queries are not.

    Every sentence of 4 to 60 words is equally likely. The first sentence of each document would be a poor choice,
    because first sentences resemble each other ("In this paper we ...").
    """
    sentences = [part for part in _SENTENCE_BORDER.split(document) if len(part.split()) in _SENTENCE_WORDS]
    if len(sentences) < 2:
        return None
    number = int.from_bytes(hashlib.blake2b(document.encode(), digest_size=8).digest())
    return sentences[number % len(sentences)].strip()


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
