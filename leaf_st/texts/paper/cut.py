"""Cut texts to the tokens that the student reads; the rest is neither stored nor embedded."""

import math
from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from leaf_st.errors import InputError

_MOST_CHARACTERS = 32  # per token, roughly; characters beyond that many per token are not tokenized at all


def own_tokenizer(model: SentenceTransformer) -> Tokenizer:
    """Return a copy of the tokenizer of ``model`` that cuts where the model does and pads nothing.

    Raises:
        InputError: If it does not say where its tokens end.
    """
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise InputError(
            f"expected a model with a fast tokenizer, which says where its tokens end, found a "
            f"{type(tokenizer).__name__}: name another one"
        )
    own: Tokenizer = Tokenizer.from_str(tokenizer.to_str())  # what it cuts and pads is set in place
    own.no_truncation()
    own.no_padding()
    most = model.max_seq_length or math.inf
    if most < math.inf:
        own.enable_truncation(int(most))
    return own


class Cutter:
    """Cuts texts behind the last token that a student reads.

    Args:
        tokenizer: The student's tokenizer, which truncates at ``max_length`` and does not pad; see `own_tokenizer`.
        max_length: Tokens that the student reads; None if it reads all of them, so that nothing is cut.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int | None) -> None:
        self._tokenizer = tokenizer
        self._most: float = max_length or math.inf

    def vocabulary(self) -> list[str]:
        """Return the tokens of the vocabulary in order of their ids (paper 2.1, "BERT tokens")."""
        tokens = self._tokenizer.get_vocab()
        return sorted(tokens, key=tokens.__getitem__)

    def cut(self, texts: Sequence[str]) -> list[str]:
        """Return n texts, each cut behind the last token that the student reads."""
        cut = list(texts)
        long = [
            place for place, text in enumerate(texts) if len(text) > self._most
        ]  # a token has at least one character
        if not long:
            return cut
        heads = [texts[place][: int(self._most) * _MOST_CHARACTERS] for place in long]
        for place, head, encoded in zip(long, heads, self._tokenizer.encode_batch(heads), strict=True):
            cut[place] = head[: max(end for _, end in encoded.offsets)]
        return cut
