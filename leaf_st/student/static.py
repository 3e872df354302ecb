"""A static student, a table of token vectors: the vector of a text is the mean of the vectors of its tokens.

A query takes microseconds, because the mean is the only computation (sentence-transformers' StaticEmbedding). The norm
of a token's vector is the weight of the token. The order of words is lost: use a static student for queries and the
teacher for documents. The student reads all tokens of a text, without the special tokens that a tokenizer adds.
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
from torch import nn
from transformers import PreTrainedTokenizerFast

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.student.projection import RIDGE, Projection
from leaf_st.teacher.protocol import Similarity, Teacher

_HALF_AT = 1e-3  # share of all tokens at which a token has half weight; results are flat between 3e-4 and 3e-3


def build_static(
    teacher: str | Path,
    *,
    dimension: int,
    normalized: bool,
    prompts: Mapping[str, str] | None = None,
    similarity_fn_name: Similarity | None = None,
    revision: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Build a table of token vectors for the tokenizer of ``teacher``.

    Args:
        teacher: Hub id or folder of the teacher, for its tokenizer.
        dimension: Width d of the teacher's vectors.
        normalized: Whether the teacher's vectors have norm 1; the student ends in Normalize if and only if so.
        prompts: The teacher's prompts by kind or task, saved in the student.
        similarity_fn_name: The teacher's similarity function, saved in the student; cosine if None.
        revision: Commit of the teacher on the hub.
        device: Device of the student; sentence-transformers' choice if None.
        trust_remote_code: Run the teacher's own code.

    Returns:
        Student whose table, of shape (tokens, d), is still random.

    Raises:
        InputError: If the teacher cannot be loaded or has no fast tokenizer.
    """
    tokenizer = _tokenizer_of(
        load_model(teacher, role="teacher", revision=revision, device=device, trust_remote_code=trust_remote_code)
    )
    # Token ids may have gaps: the table may have more rows than there are tokens.
    table = nn.Embedding(max(tokenizer.get_vocab().values()) + 1, dimension).weight.detach()
    modules: list[nn.Module] = [StaticEmbedding(tokenizer, embedding_weights=table)]
    if normalized:
        modules.append(Normalize())
    return SentenceTransformer(
        modules=modules, prompts=dict(prompts or {}), similarity_fn_name=similarity_fn_name, device=device
    )


def is_static(model: SentenceTransformer) -> bool:
    """Return whether ``model`` is a static student."""
    return isinstance(model[0], StaticEmbedding)


@torch.no_grad()
def fit_table(
    student: SentenceTransformer, teacher: Teacher, texts: Sequence[str], targets: NDArray[np.floating]
) -> None:
    """Give the table its closed-form start, in place.

    The vector of a token is first the teacher's vector of the token as a text (paper 2.1, "BERT tokens"). Frequent
    tokens of ``texts`` get less weight (a / (a + p), Arora et al. 2017). Then the table is multiplied by the linear map
    that brings the mean vectors of the texts closest to ``targets``.

    Args:
        student: From `build_static`.
        teacher: The teacher.
        texts: n texts, each after its prompt.
        targets: The teacher's vectors of ``texts``, shape (n, d).

    Raises:
        InputError: If the teacher cannot embed single tokens.
    """
    static = cast(StaticEmbedding, student[0])
    table = static.embedding.weight
    counts = torch.bincount(static.preprocess(list(texts))["input_ids"], minlength=len(table))
    weights = _HALF_AT / (_HALF_AT + counts / counts.sum())
    table.copy_(weights.unsqueeze(1) * teacher.token_vectors(len(table)).cpu())
    means = SentenceTransformer(modules=[static], device=str(student.device)).encode(
        list(texts), convert_to_tensor=True, show_progress_bar=False
    )
    width = table.shape[1]
    projection = Projection(width, width)
    projection.fit(means, torch.from_numpy(np.asarray(targets, dtype=np.float32)), RIDGE)
    table.copy_(table @ projection.linear.weight.T.to(table.device))


def _tokenizer_of(teacher: SentenceTransformer) -> Tokenizer:
    """Return a copy of the tokenizer of ``teacher`` that reads complete texts."""
    fast = teacher.tokenizer
    if not isinstance(fast, PreTrainedTokenizerFast):
        raise InputError(
            f"student.static: expected a teacher with a fast tokenizer of transformers, found a {type(fast).__name__}: "
            "set student.static=False and student.backbone"
        )
    tokenizer = copy_tokenizer(teacher)
    tokenizer.no_truncation()
    return tokenizer
