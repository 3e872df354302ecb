"""Sentences of documents, which serve as queries where a collection has none."""

import hashlib
import re

_SENTENCE_BORDER = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])")
_SENTENCE_WORDS = range(4, 61)


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
