"""The content of a text: equal for texts that differ only in case, punctuation or spaces."""

import hashlib
import unicodedata

_SEPARATES, _VANISHES = "PSZC", "Cf"  # general categories of Unicode; format characters lie within words


class _Folding(dict[int, str]):
    """What replaces a character, by code point; entries are made when they are needed."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        kept = "" if category == _VANISHES else " " if category[0] in _SEPARATES else character
        self[code] = kept
        return kept


_FOLDING = _Folding()
# The same for texts of ASCII characters as bytes, which takes half of the time.
_ASCII = bytes(range(128))
_ASCII_FOLDING = bytes.maketrans(_ASCII, _ASCII.decode().casefold().translate(_FOLDING).encode())


def folded(text: str) -> str:
    """Return the words of ``text`` in lower case, separated by single spaces.

    Compatible forms of a character are equal (NFKC). A text without words, such as "?!", is returned without outer
    spaces, so that different texts without words differ.
    """
    if text.isascii():
        return b" ".join(text.encode().translate(_ASCII_FOLDING).split()).decode() or text.strip()
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.translate(_FOLDING).split()) or plain.strip()


def text_id(text: str) -> int:
    """Return 63 bits of the text's hash: the identity of the text, which does not depend on the kind."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def content_id(text: str) -> int:
    """Return 63 bits of the hash of the text's content (see `folded`)."""
    return text_id(folded(text))
