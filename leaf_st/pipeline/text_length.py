"""Which part of a text a run embeds: the tokens that the student reads, so that a target covers no unread text."""

from collections.abc import Mapping
from functools import partial

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.tokens import copy_tokenizer, max_length_of, require_room, same_tokenizer, unread_end
from leaf_st.recipe import Recipe
from leaf_st.student.static import is_static
from leaf_st.teacher.protocol import Loaded, Table, Teacher
from leaf_st.teacher.store import CUT_AT, EmbeddingStore
from leaf_st.texts.cut import Cutter, is_too_short
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
    tokens = tokens_read(recipe, student)
    require_room(student, tokens, teacher.fingerprint.prompts, "student.max_length and training.max_length")
    known = teacher.fingerprint.max_length
    if isinstance(teacher, Table):
        return None
    if tokens is None or known is None or known > tokens or not isinstance(teacher, Loaded):
        return tokens
    model = teacher.sentence_transformer
    reads_ends = getattr(model.tokenizer, "truncation_side", "right") != "right"  # the student reads starts
    return tokens if reads_ends or not same_tokenizer(model, student) else None


def require_long_enough(store: EmbeddingStore, recipe: Recipe, student: SentenceTransformer) -> None:
    """Check that the texts of ``store`` were not cut to fewer tokens than ``student`` reads in training.

    A static student may learn from cut texts: in a sweep, the store of an encoder is its store too.

    Raises:
        InputError: If the texts were cut to fewer tokens.
    """
    cut_at, tokens = store.header[CUT_AT], tokens_read(recipe, student)
    if is_static(student) or not is_too_short(cut_at, tokens):
        return
    expected = "complete texts" if tokens is None else f"texts cut to at least {tokens:,} tokens"
    raise InputError(
        f"store {store.folder}: expected {expected}, the length that the student reads, found texts cut to "
        f"{cut_at:,}: name another --output to embed the texts again, or set training.max_length={cut_at}"
    )


def unread_in_training(store: EmbeddingStore, recipe: Recipe, student: SentenceTransformer) -> str | None:
    """Return a warning if the targets in ``store`` are of more tokens of a text than ``student`` reads in training."""
    lengths = (store.header[CUT_AT], store.fingerprint.max_length)
    targets = min((length for length in lengths if length is not None), default=None)
    return unread_end(tokens_read(recipe, student), targets)


def tokens_read(recipe: Recipe, student: SentenceTransformer) -> int | None:
    """Return how many tokens of a text ``student`` reads in training; None if it has no limit."""
    lengths = (max_length_of(student), recipe.training.max_length)
    return min((length for length in lengths if length is not None), default=None)


def cut_to(tokens: int | None, student: SentenceTransformer, prompts: Mapping[str, str]) -> Cut:
    """Return a function that cuts texts to ``tokens`` of ``student``, those of the ``prompts`` by kind included."""
    if tokens is None:
        return list
    tokenizer = copy_tokenizer(student)
    tokenizer.enable_truncation(tokens)
    return partial(Cutter(tokenizer, tokens).cut_rows, prompts=prompts)
