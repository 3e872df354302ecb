"""Cut texts to the tokens that the student reads; the rest is neither stored nor embedded."""

import math
from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer

from leaf_st.recipe import KINDS
from leaf_st.texts import Text

_MOST_CHARACTERS = 32  # tokenized for each token that the student reads; the rest of a text is ignored


class Cutter:
    """Cuts texts after the last token that a student reads.

    Args:
        tokenizer: The student's tokenizer, which truncates at ``max_length`` and does not pad; see
            `leaf_st.models.tokens.copy_tokenizer`.
        max_length: Tokens that the student reads; None if it reads all of them, so that nothing is cut.

    Attributes:
        max_length: As given.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int | None) -> None:
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._most: float = max_length or math.inf
        self._special = tokenizer.num_special_tokens_to_add(is_pair=False)

    def vocabulary(self) -> list[str]:
        """Return the tokens of the vocabulary as text, in order of their ids (paper 2.1, "BERT tokens").

        Byte-level tokenizers write a space as another letter and split letters into bytes. Tokens that are no complete
        letters are left out.
        """
        ids = sorted(self._tokenizer.get_vocab().values())
        tokens = (self._tokenizer.decode([token], skip_special_tokens=False) for token in ids)
        return [token for token in tokens if "\ufffd" not in token]

    def cut(self, texts: Sequence[str], prompt: str = "") -> list[str]:
        """Return n texts, each cut after the last token that the student reads of ``prompt`` and the text."""
        cut = list(texts)
        spare = self._most - self._special - len(prompt.encode())
        # A token has at least one byte. The paper's sources contain characters that are not UTF-8.
        long = [place for place, text in enumerate(texts) if len(text.encode(errors="surrogatepass")) > spare]
        if not long:
            return cut
        heads = [prompt + texts[place][: int(self._most) * _MOST_CHARACTERS] for place in long]
        for place, head, encoded in zip(long, heads, self._tokenizer.encode_batch(heads), strict=True):
            end = max((end for _, end in encoded.offsets), default=0)
            # A text may have no token: BERT removes characters of private use. The head is short enough in any case.
            cut[place] = head[len(prompt) : end if end > len(prompt) else None]
        return cut

    def cut_rows(self, rows: Sequence[Text], prompts: Mapping[str, str]) -> list[Text]:
        """Return n texts, each cut after the last token that the student reads of its kind's prompt and the text."""
        cut = list(rows)
        for kind in KINDS:
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            for place, text in zip(
                places, self.cut([rows[place].text for place in places], prompts[kind]), strict=True
            ):
                cut[place] = Text(text.rstrip(), kind)
        return cut


def is_too_short(cut_at: int | None, tokens: int | None) -> bool:
    """Return whether texts that are cut to ``cut_at`` tokens are shorter than a student of ``tokens`` reads."""
    return cut_at is not None and (tokens is None or tokens > cut_at)
