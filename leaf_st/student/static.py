"""A student that is a table: the vector of a text is the mean of the vectors of its tokens, brought to norm 1.

There is nothing to compute but that mean (sentence-transformers' StaticEmbedding), so that a query costs
microseconds. How much a token says lies in the length of its vector. The order of the words is lost: use such a student
for queries, and leave the documents to the teacher. It reads all tokens of a text, and none that a tokenizer adds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from leaf_st.errors import InputError
from leaf_st.student.build import load_backbone
from leaf_st.student.closed_form import RIDGE
from leaf_st.student.projection import Projection

_TOKENS = 256  # embedded at a time
_HALF_AT = 1e-3  # share of all tokens at which a token counts half; flat between 3e-4 and 3e-3


def build_static(
    teacher: str | Path,
    *,
    dimension: int,
    normalized: bool,
    prompts: Mapping[str, str] | None = None,
    revision: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Build a table of the tokens of ``teacher``, which learns the vectors of ``teacher``.

    Args:
        teacher: Hub id or folder of the teacher, for its tokenizer.
        dimension: Width d of its vectors.
        normalized: Whether they have norm 1; the student ends in Normalize if and only if so.
        prompts: The teacher's prompts by kind, saved in the student.
        revision: Commit of the teacher on the hub.
        device: Where to put the student; sentence-transformers' choice if None.
        trust_remote_code: Run the teacher's own code.

    Returns:
        Student whose table, of shape (tokens, d), is still random.

    Raises:
        InputError: If the teacher cannot be loaded or has no fast tokenizer.
    """
    tokenizer = _tokenizer_of(load_backbone(teacher, revision, device, trust_remote_code))
    # Ids may have gaps, so that there are more rows than tokens.
    table = nn.Embedding(max(tokenizer.get_vocab().values()) + 1, dimension).weight.detach()
    modules: list[nn.Module] = [StaticEmbedding(tokenizer, embedding_weights=table)]
    if normalized:
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, prompts=dict(prompts or {}), device=device)


def is_static(model: SentenceTransformer) -> bool:
    """Return whether ``model`` is a table of token vectors."""
    return isinstance(model[0], StaticEmbedding)


@torch.no_grad()
def fit_table(
    student: SentenceTransformer, teacher: SentenceTransformer, texts: Sequence[str], targets: NDArray[np.floating]
) -> None:
    """Give the table its closed-form start, in place.

    Each token has the vector that the teacher gives to it alone (paper 2.1, "BERT tokens"), counts the less the more
    often it comes in ``texts`` (a / (a + p), Arora et al. 2017), and goes through the linear map that brings the means
    nearest to ``targets``.

    Args:
        student: From `build_static`.
        teacher: The teacher, which starts with a transformer.
        texts: n texts with their prompts already in front.
        targets: Teacher's vectors of ``texts``, shape (n, d).
    """
    static = cast(StaticEmbedding, student[0])
    table = static.embedding.weight
    counts = torch.bincount(static.preprocess(list(texts))["input_ids"], minlength=len(table))
    weights = _HALF_AT / (_HALF_AT + counts / counts.sum())
    table.copy_(weights.unsqueeze(1) * token_vectors(teacher, len(table)).cpu())
    means = SentenceTransformer(modules=[static], device=str(student.device)).encode(
        list(texts), convert_to_tensor=True, show_progress_bar=False
    )
    width = table.shape[1]
    projection = Projection(width, width)
    projection.fit(means, torch.from_numpy(np.asarray(targets, dtype=np.float32)), RIDGE)
    table.copy_(table @ projection.linear.weight.T.to(table.device))


@torch.inference_mode()
def token_vectors(teacher: SentenceTransformer, count: int) -> Tensor:
    """Return the vectors that ``teacher`` gives to its first ``count`` tokens, each alone, shape (count, d)."""
    alone = _tokenizer_of(teacher).encode("a")
    kinds = alone.special_tokens_mask
    # What the tokenizer puts around every text, such as [CLS] and [SEP].
    before = alone.ids[: kinds.index(0)]
    after = alone.ids[len(kinds) - kinds[::-1].index(0) :]
    found = []
    for start in range(0, count, _TOKENS):
        ids = torch.tensor([[*before, token, *after] for token in range(start, min(start + _TOKENS, count))])
        features = {"input_ids": ids.to(teacher.device), "attention_mask": torch.ones_like(ids, device=teacher.device)}
        found.append(teacher(features)["sentence_embedding"].float())
    return torch.cat(found)


def _tokenizer_of(teacher: SentenceTransformer) -> Tokenizer:
    """Return the tokenizer of ``teacher``, its own copy: what a tokenizer cuts and pads is set in place."""
    fast = teacher.tokenizer
    if not isinstance(fast, PreTrainedTokenizerFast):
        raise InputError(
            f"student.static: expected a teacher with a fast tokenizer, found a {type(fast).__name__}: "
            "name a backbone instead"
        )
    tokenizer: Tokenizer = Tokenizer.from_str(fast.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
