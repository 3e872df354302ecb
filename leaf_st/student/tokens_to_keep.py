"""Which tokens of a vocabulary a smaller vocabulary keeps: the most frequent ones, and all that these need.

A word whose token is left out is split into shorter tokens, down to single characters. So a token counts for its
characters too, and in byte-pair encoding for every token that the merges pass on the way to it. With these counts, the
most frequent tokens of byte-pair encoding include whatever their own merges need.

A text whose tokens are all kept has the same tokens as before: the longest match (WordPiece), the merges (byte-pair
encoding) and the best path (Unigram) are among those that remain.
"""

import json
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from math import inf
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from leaf_st.errors import FieldError

_SPACE = "\u2581"  # how sentencepiece writes a space
_CHARACTERS = (*string.ascii_letters, *string.digits, *string.punctuation, _SPACE)
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # characters without a token, with byte fallback


class Pieces:
    """The tokens of a tokenizer, and the shorter tokens of which each is made.

    Args:
        tokenizer: A tokenizer of any kind.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._settings: dict[str, Any] = json.loads(tokenizer.to_str())
        self._model: dict[str, Any] = self._settings["model"]
        self._prefix: str = self._model.get("continuing_subword_prefix") or ""
        self._suffix: str = self._model.get("end_of_word_suffix") or ""
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(self._model.get("merges", ()))}
        self.ids: dict[str, int] = tokenizer.get_vocab()

    def needed(self) -> set[str]:
        """Return the tokens that every vocabulary keeps: the added tokens, and those of unknown and single letters."""
        found = {token["content"] for token in self._settings["added_tokens"]}
        found |= {self._model.get("unk_token")} | self._needed_by_unigram()
        if '"ByteLevel"' in json.dumps({**self._settings, "model": None, "added_tokens": None}):
            found.update(ByteLevel.alphabet())
        if self._model.get("byte_fallback"):
            found.update(_BYTES)
        for character in _CHARACTERS:
            found |= {prefix + character + end for prefix in ("", self._prefix) for end in ("", self._suffix)}
        return found & self.ids.keys()

    def _needed_by_unigram(self) -> set[str]:
        """Return the tokens up to the unknown one, whose place some tokenizers fix, and the token of the lowest score.

        The score of an unknown character is the lowest score minus a constant, so this score must not change.
        """
        if self._model["type"] != "Unigram":
            return set()
        scores: list[tuple[str, float]] = self._model["vocab"]
        first = scores[: (self._model["unk_id"] or 0) + 1]
        return {token for token, _ in first} | {min(scores, key=lambda row: row[1])[0]}

    def parts(self, token: str) -> set[str]:
        """Return the tokens into which ``token`` is split without its own entry, and those that its merges make."""
        if self._model["type"] == "WordLevel":
            return set()
        word = token.removeprefix(self._prefix).removesuffix(self._suffix)
        symbols = [self._prefix + character for character in word]
        if symbols:
            symbols[0] = symbols[0] if token.startswith(self._prefix) else word[0]
            symbols[-1] += self._suffix if token.endswith(self._suffix) else ""
        return {*symbols, *self._merged(symbols)} & self.ids.keys()

    def _merged(self, symbols: list[str]) -> Iterator[str]:
        """Yield the results of all merges of ``symbols``, in the order in which byte-pair encoding makes them."""
        symbols = list(symbols)
        while len(symbols) > 1:
            rank, place = min((self._ranks.get(pair, inf), place) for place, pair in enumerate(pairwise(symbols)))
            if rank == inf:
                return
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1].removeprefix(self._prefix)]
            yield symbols[place]

    def with_parts(self, tokens: Iterable[str]) -> set[str]:
        """Return ``tokens`` and their parts."""
        return {piece for token in tokens for piece in (token, *self.parts(token))}


def select_tokens(tokenizer: Tokenizer, counts: Mapping[str, int], size: int, always: Iterable[str] = ()) -> list[str]:
    """Return at most ``size`` tokens to keep, in the order of their ids.

    Args:
        tokenizer: The tokenizer.
        counts: How often texts use each token; a token that no text uses is left out.
        size: Maximum number of tokens.
        always: Tokens that are kept whatever their count.

    Raises:
        FieldError: If ``size`` is too small.
    """
    pieces = Pieces(tokenizer)
    kept = require_size(pieces, size, always)
    weights: Counter[str] = Counter()
    for token, count in counts.items():
        for piece in pieces.with_parts([token]):
            weights[piece] += count
    # A part comes before a token of the same weight that needs the part: the part is shorter.
    others = sorted(weights.keys() - kept, key=lambda token: (-weights[token], len(token), pieces.ids[token]))
    return sorted([*kept, *others[: size - len(kept)]], key=pieces.ids.__getitem__)


def require_size(pieces: Pieces, size: int, always: Iterable[str] = ()) -> set[str]:
    """Return the tokens of ``pieces`` that a vocabulary of ``size`` tokens keeps in any case.

    Raises:
        FieldError: If ``size`` is too small.
    """
    kept = pieces.with_parts({*pieces.needed(), *always})
    if len(kept) > size:
        raise FieldError(
            "student",
            "vocabulary",
            f"expected at least {len(kept):,} tokens, the special ones, those of single letters and bytes and those of "
            f"the prompts, found {size:,}: set {len(kept)} or more",
        )
    return kept
