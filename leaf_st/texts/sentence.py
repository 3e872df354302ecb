"""Sentences of documents, which serve as queries where a collection has none.

Borders follow the character classes of Unicode's sentence boundaries (UAX #29), with stricter rules for the full stop,
which also ends abbreviations, and for ``!`` and ``?``. Thai and Lao have no punctuation between sentences.
"""

import hashlib
import logging
from collections.abc import Iterator

import regex

# Scripts without spaces between words. A word of Chinese text has 1.5 characters on average.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# OLetter: letters without case. A quotation mark before a sentence may be a closing one ("»Ja«") or may be followed by
# a space ("« Oui »"). In Greek, a semicolon is a question mark.
_BORDER = regex.compile(
    rf"""
      (?: [\p{{Sentence_Break=ATerm}}!?\u037e] | (?<=\p{{Greek}}{{2}}\p{{M}}*); )
      (?P<gap> \s++ )
      (?= ["'(] | (?: \p{{Pf}} | [\p{{Pi}}„\u201a¿¡]\s? )? [\p{{Sentence_Break=Upper}}\p{{Sentence_Break=OLetter}}\d] )
    | [\p{{Sentence_Break=STerm}}--[!?]]++ [\p{{Sentence_Break=STerm}}\p{{Pe}}\p{{Pf}}"']*+ (?P<gap> \s*+ )
    | (?: [!?] | (?<!\d)\uff0e ) (?P<gap> ) (?= [{_UNSPACED}] )
    """,
    regex.V1 | regex.VERBOSE,
)
_LETTERS = regex.compile(rf"[[{_UNSPACED}]&&\p{{L}}]", regex.V1)
_SENTENCE_WORDS = range(4, 61)
_ENOUGH = 1000  # documents after which the share of those with a sentence is known
_FEW = 10  # a warning is logged if fewer than one in so many documents has a sentence

_logger = logging.getLogger(__name__)


class SentenceFinder:
    """Finds a sentence of each document, and warns if few documents have one, as in scripts without punctuation."""

    def __init__(self) -> None:
        self._documents, self._found, self._has_warned = 0, 0, False

    def find(self, document: str) -> str | None:
        """Return a sentence of ``document`` (see `one_sentence`)."""
        sentence = one_sentence(document)
        self._documents += 1
        self._found += sentence is not None
        if self._documents == _ENOUGH:
            self._warn()
        return sentence

    def finish(self) -> None:
        """Note that no further document is read."""
        self._warn()

    def _warn(self) -> None:
        if self._has_warned or self._found * _FEW >= max(self._documents, 1):
            return
        self._has_warned = True
        _logger.warning(
            "texts.sentences: expected documents of several sentences, found sentences in %s of %s documents: a "
            "sentence has 4 to 60 words and ends in punctuation such as . ! ? or 。, which Thai and Lao lack; add "
            "queries of your own (column kind)",
            *(f"{self._found:,}", f"{self._documents:,}"),
        )


def one_sentence(document: str) -> str | None:
    """Return a sentence of ``document``, chosen by the document's hash; None if it has fewer than two sentences.

    In asymmetric mode the student reads only queries. Many queries are complete sentences about the subject of the
    documents: claims, questions, titles. Collections of documents are easy to find; collections of queries are not.

    Every sentence of 4 to 60 words is equally likely. The first sentence of each document would be a poor choice,
    because first sentences resemble each other ("In this paper we ...").
    """
    if not (sentences := sentences_of(document)):
        return None
    number = int.from_bytes(hashlib.blake2b(document.encode(), digest_size=8).digest())
    return sentences[number % len(sentences)].strip()


def sentences_of(document: str) -> list[str]:
    """Return the sentences that can serve as queries; none if ``document`` has fewer than two of them."""
    if not _BORDER.search(document):  # most texts of some sources are one sentence, whose words need not be counted
        return []
    sentences = [part for part in _parts(document) if _words(part) in _SENTENCE_WORDS]
    return sentences if len(sentences) > 1 else []


def _parts(document: str) -> Iterator[str]:
    """Yield ``document`` in pieces, without the spaces at the borders of sentences."""
    start = 0
    for border in _BORDER.finditer(document):
        yield document[start : border.start("gap")]
        start = border.end()
    yield document[start:]


def _words(text: str) -> int:
    """Return the number of words, which is an estimate for scripts without spaces between words."""
    spaced = len(text.split())
    return spaced if text.isascii() else max(spaced, len(_LETTERS.findall(text)) * 2 // 3)
