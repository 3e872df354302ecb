"""The tokens that a recipe's student keeps: which texts are counted, and the recipe with the counted tokens."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import FieldError, InputError
from leaf_st.recipe import Recipe, TextsSpec
from leaf_st.student.kept_tokens import asked_tokens, count_tokens, read_kept, write_tokens
from leaf_st.student.vocabulary_figures import VocabularyFigures
from leaf_st.texts import Text
from leaf_st.texts.exclude import Contents
from leaf_st.texts.read import read_texts

_logger = logging.getLogger(__name__)


def require_counted_texts(recipe: Recipe) -> None:
    """Check that the texts whose tokens are counted can be read, if they are not the training texts.

    Raises:
        InputError: If they cannot be read.
    """
    if recipe.student.needs_tokens and recipe.student.vocabulary_from is not None:
        next(_counted_texts(recipe, recipe.texts))


def count_training_texts(
    recipe: Recipe, student: SentenceTransformer, texts: TextsSpec, excluded: Contents | None, path: Path
) -> Recipe:
    """Return ``recipe`` with the file ``path`` of the tokens that its student keeps.

    The file is written unless it contains the tokens that the recipe asks for.

    Args:
        recipe: A recipe whose student needs the tokens.
        student: The student with its complete vocabulary.
        texts: The training texts.
        excluded: Training texts that are left out.
        path: The file.

    Raises:
        InputError: If the texts cannot be read, or the vocabulary is too small.
    """
    asked = asked_tokens(student, recipe.student, _counted_spec(recipe, texts))
    kept = read_kept(path) if path.is_file() else None
    if kept is None or kept.asked != asked:
        kept = count_tokens(student, _counted_texts(recipe, texts, excluded), asked)
        write_tokens(path, kept)
    used = "; the texts use no others" if kept.figures.lost_tokens == 0 else ""
    _logger.info("vocabulary: %s%s", kept.figures, used)
    return _with_file(recipe, path)


def count_sample(
    recipe: Recipe, student: SentenceTransformer, sample: Sequence[Text], path: Path
) -> tuple[Recipe, VocabularyFigures]:
    """Return ``recipe`` with the file ``path`` of the tokens that a sample of the texts uses, and what it loses.

    Args:
        recipe: A recipe whose student needs the tokens.
        student: The student with its complete vocabulary.
        sample: Training texts. Where other texts are counted, as many of them are read.
        path: The new file.

    Raises:
        InputError: If the texts cannot be read, or the vocabulary is too small.
    """
    texts: Iterable[Text] = sample
    if recipe.student.vocabulary_from is not None:
        texts = islice(_counted_texts(recipe, recipe.texts), len(sample))
    kept = count_tokens(student, texts, asked_tokens(student, recipe.student, _counted_spec(recipe, recipe.texts)))
    write_tokens(path, kept)
    return _with_file(recipe, path), kept.figures


def _with_file(recipe: Recipe, path: Path) -> Recipe:
    return replace(recipe, student=replace(recipe.student, tokens=str(path)))


def _counted_spec(recipe: Recipe, texts: TextsSpec) -> TextsSpec:
    source = recipe.student.vocabulary_from
    if source is None:
        return texts
    return TextsSpec(source, text_column=texts.text_column, kind_column=texts.kind_column, kind=texts.kind)


def _counted_texts(recipe: Recipe, texts: TextsSpec, excluded: Contents | None = None) -> Iterator[Text]:
    """Yield the texts whose tokens are counted; other texts than the training texts are read completely."""
    spec = _counted_spec(recipe, texts)
    if spec is texts:
        yield from read_texts(spec, Counter(), excluded=excluded)
        return
    try:
        yield from read_texts(spec, Counter())
    except FieldError as error:
        raise InputError(error.named("student.vocabulary_from")) from error
