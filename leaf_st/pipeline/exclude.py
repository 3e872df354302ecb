"""The texts that a run must not train on: which evaluation sets they come from, and their contents."""

from dataclasses import replace
from pathlib import Path

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe, TextsSpec
from leaf_st.run_folder import STORE, has_begun_training
from leaf_st.teacher.store import FINGERPRINT, HELD_OUT_BY_TEXT, read_header
from leaf_st.texts.exclude import Contents


def with_excluded_sets(recipe: Recipe, folder: Path, before: TextsSpec | None) -> Recipe:
    """Return ``recipe`` with the names of the sets to leave out: those of the store or student in ``folder``, if any.

    An earlier version left out no texts, and a store or student of it must get the same texts again.

    Args:
        recipe: The recipe.
        folder: The run folder.
        before: The texts that an earlier call resolved, if the run has a record.
    """
    store, names = folder / STORE, recipe.texts.exclude
    has_store = (store / FINGERPRINT).is_file()
    if before is not None and (has_store or has_begun_training(folder)):
        names = before.exclude or ()
    elif has_store and read_header(store)["held_out_by"] == HELD_OUT_BY_TEXT:
        names = ()
    if names is None:
        names = existing_sets(recipe)
    return replace(recipe, texts=replace(recipe.texts, exclude=names))


def existing_sets(recipe: Recipe) -> list[str]:
    """Return the evaluation sets of ``recipe`` that exist; a shared recipe may name others."""
    return [name for name in recipe.evaluate_on if Path(name).exists()]


def missing_sets(recipe: Recipe) -> list[str]:
    """Return the evaluation sets of ``recipe`` that do not exist."""
    return [name for name in recipe.evaluate_on if not Path(name).exists()]


def excluded_contents(spec: TextsSpec) -> Contents | None:
    """Return the contents of the texts of the sets that ``spec`` excludes; None if it excludes none.

    Raises:
        InputError: If a set cannot be read.
    """
    if not spec.exclude:
        return None
    from leaf_st.evaluation.tasks.find import find_tasks  # imports mteb, which takes seconds
    from leaf_st.evaluation.tasks.texts import texts_of

    try:
        # One by one, because a benchmark may select other parts of a task than another name.
        tasks = [task for name in spec.exclude for task in find_tasks([name])]
        return Contents(text for task in tasks for text in texts_of(task))
    except InputError as error:
        raise InputError(f"texts.exclude (by default evaluate_on): {error}") from error
