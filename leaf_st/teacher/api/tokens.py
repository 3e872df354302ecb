"""The tokens of texts for an embedding API: their number, the maximum of a text, the budget, and the price."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]
from numpy.typing import NDArray
from tokenizers import Tokenizer

from leaf_st.errors import BudgetError, InputError
from leaf_st.hub.settings import check_download
from leaf_st.models.find import find_model
from leaf_st.models.lfs import is_lfs_pointer
from leaf_st.recipe import ApiSpec
from leaf_st.teacher.api.usage import Usage
from leaf_st.teacher.compared import are_compared
from leaf_st.texts.cut import Cutter

# Per token, where no tokenizer is named: ASCII characters, and bytes in UTF-8 of other characters. A character of
# Chinese, Japanese, Thai or Hindi has three bytes and about one token.
_ASCII_CHARACTERS, _OTHER_BYTES = 4, 3
_MARGIN = 1.1  # of an estimate without a tokenizer


class ApiTokens:
    """Counts the tokens of texts, shortens texts, and keeps to a budget.

    Args:
        api: The API.
        longest: Maximum number of tokens of a text; None for no maximum.
        usage: What the API was asked so far.
        budget: Number of tokens after which no further texts are allowed; None for no limit.

    Attributes:
        at_start: Number of tokens that each command uses before its first texts.

    Raises:
        InputError: If the tokenizer cannot be loaded.
    """

    def __init__(self, api: ApiSpec, longest: int | None, usage: Usage, budget: int | None) -> None:
        self._api, self._longest, self._usage, self._most = api, longest, usage, budget
        self._tokenizer = None if api.tokenizer is None else _tokenizer(api.tokenizer)
        self.at_start = 0

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text, shape (n,); an estimate if the recipe names no tokenizer."""
        if self._tokenizer is None:
            return np.array(list(map(_estimate, texts)), dtype=np.int64)
        encoded = self._tokenizer.encode_batch(list(texts))
        counts = np.array([len(tokens.ids) for tokens in encoded], dtype=np.int64)
        return np.minimum(counts, self._longest) if self._cuts and self._longest else counts

    def shortened(self, texts: list[str], tokens: NDArray[np.int64]) -> list[str]:
        """Return the texts with at most ``teacher.max_length`` tokens each.

        Args:
            texts: The texts.
            tokens: Their number of tokens, shape (n,).

        Raises:
            InputError: If a text is longer, the recipe refuses long texts, and the vectors are targets.
        """
        if self._longest is None:
            return texts
        assert self._tokenizer is not None  # TeacherSpec requires it
        if self._cuts:
            tokenizer: Tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
            tokenizer.enable_truncation(self._longest)
            return Cutter(tokenizer, self._longest).cut(texts)
        if tokens[most := int(tokens.argmax())] > self._longest:
            raise InputError(
                f"the text {texts[most][:60]!r} has {int(tokens[most]):,} tokens: expected at most teacher.max_length="
                f"{self._longest:,}; shorten the text or leave it out, or set teacher.api.long_texts=cut in a new "
                "--output"
            )
        return texts

    def require(self, tokens: NDArray[np.int64]) -> None:
        """Check that the budget allows texts with these numbers of tokens.

        Raises:
            BudgetError: If the budget does not allow them.
        """
        usage, most = self._usage, self._most
        per_token = max(1.0, usage.tokens_per_estimate) * (_MARGIN if self._tokenizer is None else 1.0)
        expected = round((int(tokens.sum()) + usage.reserved) * per_token)
        if most is not None and usage.tokens + expected > most:
            raise BudgetError(
                f"the budget of {most:,} tokens{self.price_in_words(most)} is reached: {usage.tokens:,} are used, the "
                f"next texts need about {expected:,}; {self._after_budget(most, round(int(tokens.sum()) * per_token))}"
            )

    def _after_budget(self, most: int, expected: int) -> str:
        """Return what to do when the budget of ``most`` tokens does not allow texts of the ``expected`` tokens.

        A new command with the same budget resumes only if it can pay for what it asks before these texts, and for them.
        """
        if (least := self.at_start + expected) <= most:
            return "the same command resumes here with the same budget again"
        price = self.price(least)
        rounded_up = "" if price is None else f", {math.ceil(price * 1e4) / 1e4:,.4f} USD"
        return (
            "the same command would stop here again: raise --max-tokens or --budget-usd, so that each process has at "
            f"least {least:,} tokens{rounded_up}"
        )

    def price(self, tokens: float) -> float | None:
        """Return the price of ``tokens`` in US dollars; None if the recipe states no price."""
        price = self._api.price_per_million_tokens
        return None if price is None else tokens / 1e6 * price

    def price_in_words(self, tokens: int) -> str:
        """Return the price of ``tokens`` for a message; an empty text if the recipe states no price."""
        price = self.price(tokens)
        return "" if price is None else f", {price:,.4f} USD"

    @property
    def refuses_long_texts(self) -> bool:
        """Whether a text with more than ``teacher.max_length`` tokens is refused before it is sent."""
        return self._longest is not None and not self._cuts

    @property
    def _cuts(self) -> bool:
        return self._api.long_texts == "cut" or are_compared()


def _estimate(text: str) -> int:
    """Return about how many tokens ``text`` has, at least 1."""
    plain = len(text.encode("ascii", "ignore"))
    return max(1, math.ceil(plain / _ASCII_CHARACTERS + (len(text.encode()) - plain) / _OTHER_BYTES))


def _tokenizer(name: str) -> Tokenizer:
    """Load the tokenizer of a model, of which only tokenizer.json is needed."""
    path = Path(name) / "tokenizer.json"
    if not path.is_file() and not Path(name).is_dir():
        try:
            check_download()
            path = Path(hf_hub_download(name, "tokenizer.json"))
        except (OSError, HTTPError, LocalEntryNotFoundError, ValueError):
            path = find_model(name) / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"teacher.api.tokenizer {name}: expected tokenizer.json, found none: name another model")
    if is_lfs_pointer(path):
        raise InputError(
            f"teacher.api.tokenizer {name}: expected the file {path}, found a pointer of git LFS: run `git lfs pull` "
            f"in {path.parent}"
        )
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain exceptions
        raise InputError(
            f"teacher.api.tokenizer {name}: {path} cannot be read ({error}): download the file again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
