"""Tokens: the number that a model reads, the number in a text, and a copy of a tokenizer that is safe to change."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from leaf_st.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import PreTrainedTokenizerFast

_POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")  # also LED and MPT

# A tokenizer without a maximum has 1e30, and a static model has infinity.
UNLIMITED = 1e9


def known_length(max_length: float | None) -> int | None:
    """Return ``max_length`` as a number of tokens; None if the value means no limit."""
    return None if max_length is None or max_length > UNLIMITED else int(max_length)


def max_length_of(model: "SentenceTransformer | Transformer") -> int | None:
    """Return how many tokens of a text ``model`` reads; None if it has no limit."""
    return known_length(model.max_seq_length)


def special_tokens_of(transformer: "Transformer") -> int:
    """Return how many tokens the tokenizer of ``transformer`` adds to every text."""
    count = getattr(transformer.tokenizer, "num_special_tokens_to_add", None)
    return 0 if count is None else int(count())


def unread_end(student: int | None, teacher: int | None) -> str | None:
    """Return a warning if a student reads fewer tokens of a text than its teacher; None if not, or if unknown.

    Args:
        student: Tokens that the student reads; None if it has no limit.
        teacher: Tokens that the teacher reads; None if it has no limit, or if the number is unknown.
    """
    if student is None or teacher is None or student >= teacher:
        return None
    return (
        f"the student reads the first {student:,} tokens of a text, the teacher {teacher:,}: the end of a longer text "
        "changes only the teacher's vectors"
    )


def positions_of(transformer: "Transformer") -> int | None:
    """Return the number of tokens that ``transformer`` has positions for; None if its positions are unlimited.

    RoBERTa, XLM-R, MPNet and I-BERT number positions from the padding index plus one, so only 512 of 514 positions are
    usable. The rope of Phi-3 (longrope) has other frequencies for all texts of a batch if one of them is longer than
    its original positions, so only these are used.
    """
    if (positions := stated_positions(transformer)) is None:
        return None
    if (original := positions_of_longrope(transformer)) is not None:
        return original
    for module in transformer.model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and is_table(getattr(module, "position_embeddings", None)):
            return positions - padding - 1
    return positions


def stated_positions(transformer: "Transformer") -> int | None:
    """Return the number of positions in the config of ``transformer``; None if its positions are unlimited."""
    config = transformer.model.config
    stated = next((value for name in _POSITIONS if (value := getattr(config, name, None)) is not None), None)
    return None if stated is None or stated < 0 else int(stated)  # XLNet has -1


def is_table(module: object) -> bool:
    """Return whether ``module`` has a table of rows, as an `nn.Embedding` or the `QuantEmbedding` of I-BERT."""
    dimensions: int = getattr(getattr(module, "weight", None), "ndim", 0)
    return dimensions == 2


def positions_of_longrope(transformer: "Transformer") -> int | None:
    """Return the original positions of a rope of type longrope; None for every other model."""
    config = transformer.model.config
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return None
    original: int | None = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    return original


def token_counts(model: "SentenceTransformer", texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of tokens of each text, cut at the model's maximum, shape (n,).

    For a model whose tokenizer takes no batches, such as a static model, characters are counted instead. A fast
    tokenizer counts on all cores: the lists of ids that transformers makes of its result would take a third of the time
    of two cores, and most of the time of many cores.
    """
    if not callable(model.tokenizer):
        return np.array([len(text) for text in texts], dtype=np.int64)
    if isinstance(getattr(model.tokenizer, "backend_tokenizer", None), Tokenizer):
        return np.array([len(tokens) for tokens in encodings(model, texts)], dtype=np.int64)
    longest = max_length_of(model)
    encoded = model.tokenizer(list(texts), truncation=longest is not None, max_length=longest)
    return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)


def encodings(model: "SentenceTransformer", texts: Sequence[str]) -> list[Encoding]:
    """Return the tokens of each text, cut at the model's maximum, from the fast tokenizer of ``model``."""
    tokenizer = cast("PreTrainedTokenizerFast", model.tokenizer).backend_tokenizer
    tokenizer.no_padding()  # transformers sets padding and truncation at each call
    if (longest := max_length_of(model)) is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(longest)
    found: list[Encoding] = tokenizer.encode_batch_fast(list(texts))
    return found


def copy_tokenizer(model: "SentenceTransformer") -> Tokenizer:
    """Return a copy of the tokenizer of ``model`` that truncates where the model does and does not pad.

    Raises:
        InputError: If the tokenizer is not a fast tokenizer.
    """
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise InputError(
            f"expected a model with a fast tokenizer, which gives the positions of tokens, found a "
            f"{type(tokenizer).__name__}: name another model"
        )
    copied: Tokenizer = Tokenizer.from_str(tokenizer.to_str())  # truncation and padding are set in place
    copied.no_truncation()
    copied.no_padding()
    if (longest := max_length_of(model)) is not None:
        copied.enable_truncation(longest)
    return copied


def require_room(model: "SentenceTransformer", tokens: int | None, prompts: Mapping[str, str], fields: str) -> None:
    """Require that each prompt leaves room for a text; otherwise all texts would have the same vector.

    Args:
        model: A model. One without a fast tokenizer is not checked.
        tokens: Tokens that the model reads; None if it has no limit.
        prompts: Prompt by kind.
        fields: Fields of the recipe that limit ``tokens``.

    Raises:
        InputError: If a prompt leaves no room.
    """
    if tokens is None or not isinstance(getattr(model.tokenizer, "backend_tokenizer", model.tokenizer), Tokenizer):
        return
    tokenizer = copy_tokenizer(model)
    tokenizer.enable_truncation(tokens)
    special = tokenizer.num_special_tokens_to_add(is_pair=False)  # a text is not truncated if these do not fit
    for kind, prompt in prompts.items():
        # Counts of tokens do not show this: the prompt's last space may be a part of the text's first token.
        text = f"{prompt}a"
        if tokens <= special or max((end for _, end in tokenizer.encode(text).offsets), default=0) < len(text):
            raise InputError(
                f"{fields}: expected more tokens than the {special} special ones and those of the prompt {prompt!r} "
                f"for kind {kind}, found {tokens}: raise {fields}, or set a shorter prompt"
            )


def same_tokenizer(model: "SentenceTransformer", other: "SentenceTransformer") -> bool:
    """Return whether both models have the same tokenizer; two slow tokenizers count as different."""
    tokenizers = [getattr(each.tokenizer, "backend_tokenizer", each.tokenizer) for each in (model, other)]
    if not all(isinstance(tokenizer, Tokenizer) for tokenizer in tokenizers):
        return False
    # Settings of the last call are no part of the comparison.
    first, second = (
        {**json.loads(tokenizer.to_str()), "truncation": None, "padding": None} for tokenizer in tokenizers
    )
    return first == second


def forget_last_call(model: "SentenceTransformer | Transformer") -> None:
    """Remove the padding and truncation of the last call from the tokenizer, which would save them as its settings.

    A program that reads only tokenizer.json would then truncate texts at the length of training.
    """
    tokenizer = cast("PreTrainedTokenizerFast", model.tokenizer).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
