"""Texts cut to the tokens that the student reads: what is behind them is neither stored nor embedded."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec

_MOST_CHARACTERS = 32  # of a token, more or less: what is longer than all tokens together is cut before they are made


class Cutter:
    """Cuts texts by the tokenizer that ``texts.tokenizer`` names; without one they stay whole.

    Args:
        spec: Names the tokenizer and the number of tokens.

    Raises:
        InputError: If the tokenizer cannot be loaded.
    """

    def __init__(self, spec: TextsSpec) -> None:
        self._most = spec.max_tokens
        self._tokenizer: Any = _load(spec.tokenizer) if spec.tokenizer else None

    def vocabulary(self) -> list[str]:
        """Return the tokens as they are written in the vocabulary, in its order (paper 2.1, "BERT tokens").

        Raises:
            InputError: If no tokenizer is named.
        """
        if self._tokenizer is None:
            raise InputError("texts.tokenizer: expected the student's tokenizer, whose vocabulary is a source")
        tokens: dict[str, int] = self._tokenizer.get_vocab()
        return sorted(tokens, key=tokens.__getitem__)

    def cut(self, texts: Sequence[str]) -> list[str]:
        """Return n texts, each cut behind its last token that is read."""
        cut = list(texts)
        if self._tokenizer is None or self._most is None:
            return cut
        long = [place for place, text in enumerate(texts) if len(text) > self._most]  # a token has a character
        if not long:
            return cut
        heads = [texts[place][: self._most * _MOST_CHARACTERS] for place in long]
        encoded = self._tokenizer(heads, truncation=True, max_length=self._most, return_offsets_mapping=True)
        for place, head, offsets in zip(long, heads, encoded["offset_mapping"], strict=True):
            cut[place] = head[: max(end for _, end in offsets)]
        return cut


def _load(name: str) -> Any:  # noqa: ANN401  (transformers' tokenizers have no common type that mypy knows)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"texts.tokenizer {name} cannot be loaded: {str(error).partition(chr(10))[0]}") from error
    if not tokenizer.is_fast:
        raise InputError(f"texts.tokenizer {name}: expected a fast tokenizer, which says where its tokens end")
    return tokenizer
