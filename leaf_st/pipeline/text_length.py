"""Which part of a text a run embeds: the tokens that the student reads, so that a target covers no unread text."""

from collections.abc import Mapping
from functools import partial

from sentence_transformers import SentenceTransformer

from leaf_st.models.tokens import copy_tokenizer, max_length_of, require_room, same_tokenizer
from leaf_st.recipe import Recipe
from leaf_st.student.static import is_static
from leaf_st.teacher.protocol import Loaded, Table, Teacher
from leaf_st.texts.cut import Cutter
from leaf_st.texts.select import Cut


def tokens_to_embed(recipe: Recipe, teacher: Teacher, student: SentenceTransformer) -> int | None:
    """Return the number of the student's tokens to which texts are cut; None if texts stay complete.

    Texts stay complete if the student reads complete texts, if the vectors are given, or if the teacher has the
    student's tokenizer, reads no more tokens and keeps the start of a long text, as the student does.

    Raises:
        InputError: If a prompt leaves no token for a text.
    """
    if is_static(student):
        return None
    lengths = (max_length_of(student), recipe.training.max_length)
    tokens = min((length for length in lengths if length is not None), default=None)
    require_room(student, tokens, teacher.fingerprint.prompts, "student.max_length and training.max_length")
    known = teacher.fingerprint.max_length
    if isinstance(teacher, Table):
        return None
    if tokens is None or known is None or known > tokens or not isinstance(teacher, Loaded):
        return tokens
    model = teacher.sentence_transformer
    reads_ends = getattr(model.tokenizer, "truncation_side", "right") != "right"  # the student reads starts
    return tokens if reads_ends or not same_tokenizer(model, student) else None


def cut_to(tokens: int | None, student: SentenceTransformer, prompts: Mapping[str, str]) -> Cut:
    """Return a function that cuts texts to ``tokens`` of ``student``, those of the ``prompts`` by kind included."""
    if tokens is None:
        return list
    tokenizer = copy_tokenizer(student)
    tokenizer.enable_truncation(tokens)
    return partial(Cutter(tokenizer, tokens).cut_rows, prompts=prompts)
