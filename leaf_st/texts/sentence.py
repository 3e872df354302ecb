"""Sentences of documents, which serve as queries where a collection has none."""

import hashlib
import logging
import re

_SENTENCE_BORDER = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])")
_SENTENCE_WORDS = range(4, 61)
_ENOUGH = 1000  # documents without a sentence, after which a warning is logged

_logger = logging.getLogger(__name__)


class SentenceFinder:
    """Finds a sentence of each document, and warns if documents have none, as in scripts without capital letters."""

    def __init__(self) -> None:
        self._documents, self._found = 0, False

    def find(self, document: str) -> str | None:
        """Return a sentence of ``document`` (see `one_sentence`)."""
        sentence = one_sentence(document)
        self._documents += 1
        self._found = self._found or sentence is not None
        if self._documents == _ENOUGH:
            self._warn()
        return sentence

    def finish(self) -> None:
        """Note that all documents were read."""
        if 0 < self._documents < _ENOUGH:
            self._warn()

    def _warn(self) -> None:
        if not self._found:
            _logger.warning(
                "texts.sentences: expected documents of several sentences, found no sentence in the first %d "
                "documents: a sentence ends in . ! or ? before a space and a Latin capital letter; for other scripts, "
                "add queries of your own (column kind)",
                self._documents,
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
    sentences = [part for part in _SENTENCE_BORDER.split(document) if len(part.split()) in _SENTENCE_WORDS]
    return sentences if len(sentences) > 1 else []
