"""The tokens that a student keeps of its vocabulary: counted in texts, and kept in a file of the run."""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.models.prompts import prompt_for
from leaf_st.models.tokens import copy_tokenizer, max_length_of
from leaf_st.recipe import KINDS, StudentSpec, TextsSpec
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.student.tokens_to_keep import Pieces, require_size, select_tokens
from leaf_st.student.vocabulary_figures import VocabularyFigures
from leaf_st.teacher.blocks import blocks
from leaf_st.texts import Text

_BLOCK = 1024  # texts
_SAMPLE = 16_384  # texts that are kept to see which of them lose a token


class KeptTokens(BaseModel):
    """The tokens that a student keeps, and what the texts lose.

    Attributes:
        asked: What determines the tokens: size, texts, tokenizer, prompts and length.
        figures: What is kept and lost.
        tokens: The tokens, in the order of their ids.
    """

    asked: dict[str, Any]
    figures: VocabularyFigures
    tokens: list[str]


def asked_tokens(student: SentenceTransformer, spec: StudentSpec, texts: TextsSpec) -> dict[str, Any]:
    """Return what determines the tokens that ``spec`` keeps of the vocabulary of ``student``, counted in ``texts``."""
    tokenizer = copy_tokenizer(student)
    tokenizer.no_truncation()
    asked = {
        "vocabulary": spec.vocabulary,
        "texts": asdict(texts),
        "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16],
        "prompts": student.prompts,
        "max_length": max_length_of(student),
    }
    found: dict[str, Any] = json.loads(json.dumps(asked))  # with the types that the file gives
    return found


def count_tokens(student: SentenceTransformer, texts: Iterable[Text], asked: Mapping[str, Any]) -> KeptTokens:
    """Count the tokens of ``texts``, each after its prompt, and select those that the student keeps.

    Memory does not grow with the number of texts.

    Args:
        student: A student with its complete vocabulary.
        texts: The texts.
        asked: From `asked_tokens`.

    Raises:
        FieldError: If the number of tokens is too small.
    """
    tokenizer = copy_tokenizer(student)
    if (longest := asked["max_length"]) is not None:
        tokenizer.enable_truncation(longest - tokenizer.num_special_tokens_to_add(is_pair=False))
    ids = tokenizer.get_vocab()
    counts = np.zeros(max(ids.values()) + 1, dtype=np.int64)
    rng, sample, number = random.Random(0), list[NDArray[np.int64]](), 0
    for encoded in _encoded(student, tokenizer, texts):
        counts += np.bincount(encoded, minlength=len(counts))
        if number < _SAMPLE:
            sample.append(encoded)
        elif (place := rng.randrange(number + 1)) < _SAMPLE:  # every text is equally likely to be in the sample
            sample[place] = encoded
        number += 1
    used = {token: int(counts[number]) for token, number in ids.items() if counts[number]}
    tokens = select_tokens(tokenizer, used, asked["vocabulary"], prompt_tokens(student))
    is_lost = np.ones(len(counts), dtype=bool)
    is_lost[[ids[token] for token in tokens]] = False
    figures = VocabularyFigures(
        kept=len(tokens),
        of=len(ids),
        texts=number,
        lost_tokens=float(counts[is_lost].sum() / max(1, counts.sum())),
        lost_texts=float(np.mean([is_lost[encoded].any() for encoded in sample])),
    )
    return KeptTokens(asked=dict(asked), figures=figures, tokens=tokens)


def _encoded(student: SentenceTransformer, tokenizer: Tokenizer, texts: Iterable[Text]) -> Iterator[NDArray[np.int64]]:
    """Yield the ids of each text after its prompt, without the special tokens that the tokenizer adds."""
    prompts = {kind: prompt_for(student.prompts, kind) for kind in KINDS}
    with tqdm(unit=" texts", desc="counting tokens") as progress:
        for block in blocks(texts, _BLOCK):
            prompted = [prompts[row.kind] + row.text for row in block]
            for encoded in tokenizer.encode_batch_fast(prompted, add_special_tokens=False):
                yield np.array(encoded.ids, dtype=np.int64)
            progress.update(len(block))


def prompt_tokens(student: SentenceTransformer) -> set[str]:
    """Return the tokens of the prompts of ``student``."""
    encoded = copy_tokenizer(student).encode_batch(list(student.prompts.values()))
    return {token for prompt in encoded for token in prompt.tokens}


def require_vocabulary(student: SentenceTransformer, size: int) -> None:
    """Check that the vocabulary of ``student`` can be reduced to ``size`` tokens.

    Raises:
        FieldError: If ``size`` is too small.
    """
    require_size(Pieces(copy_tokenizer(student)), size, prompt_tokens(student))


def write_tokens(path: Path, kept: KeptTokens) -> None:
    """Write ``kept`` to ``path``, completely or not at all."""
    write_sealed(path, kept.model_dump())


def read_kept(path: Path) -> KeptTokens:
    """Return the content of the file of kept tokens in ``path``.

    Raises:
        InputError: If the file is missing, damaged, or another file.
    """
    try:
        return KeptTokens.model_validate(read_sealed(path))
    except InputError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError too
        found = "other content" if isinstance(error, ValidationError) else error
        raise InputError(
            f"student.tokens {path}: expected the vocabulary.json of a run, found {found}: name the file of a run, or "
            "remove student.tokens, so that the run counts the tokens of its texts"
        ) from error


def read_tokens(spec: StudentSpec) -> Sequence[str] | None:
    """Return the tokens that ``spec`` keeps; None for all tokens, or if they are not counted yet.

    Raises:
        InputError: If the file cannot be used, or contains another number of tokens.
    """
    if spec.tokens is None:
        return None
    kept = read_kept(Path(spec.tokens))
    if (size := kept.asked.get("vocabulary")) != spec.vocabulary:
        raise InputError(
            f"student.tokens {spec.tokens}: expected tokens for student.vocabulary={spec.vocabulary}, found those for "
            f"{size}: set student.vocabulary={size}, or name another file"
        )
    return kept.tokens
