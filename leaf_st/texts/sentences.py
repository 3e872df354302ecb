"""Sentences out of documents: queries of a domain that has documents alone.

In asymmetric mode the student reads queries and nothing else, and many are whole sentences about what the documents
are about: claims, questions, titles. Collections of documents are easy to find, such queries are not.
"""

import hashlib
import re

_BORDER = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])")
_WORDS = range(4, 61)


def one_sentence(document: str) -> str | None:
    """Return a sentence of ``document``, chosen by the hash of the whole; None where it is one sentence or none.

    The choice is even over the sentences of 4 to 60 words: the first ones are much alike ("In this paper we ...").
    """
    sentences = [part for part in _BORDER.split(document) if len(part.split()) in _WORDS]
    if len(sentences) < 2:
        return None
    number = int.from_bytes(hashlib.blake2b(document.encode(), digest_size=8).digest())
    return sentences[number % len(sentences)].strip()
