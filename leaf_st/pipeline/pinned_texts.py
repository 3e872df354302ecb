"""The commits of a run's texts on the hub: a new run reads the newest ones, a resumed run those that it recorded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from leaf_st.hub.dataset_url import is_dataset_url, parse_dataset_url
from leaf_st.recipe import Recipe, TextsSpec
from leaf_st.run_folder import GENERAL, STORE
from leaf_st.teacher.store import STORE_MANIFEST
from leaf_st.texts.files import newest_source


def with_commits(
    recipe: Recipe, folder: Path, before: Mapping[str, Any] | None = None, recorded: Recipe | None = None
) -> Recipe:
    """Return ``recipe`` with the commits of its data sets on the hub.

    Texts whose store is complete, such as a store that was pulled, are not read, so their data set is neither asked for
    nor downloaded.

    Args:
        recipe: The recipe of this call.
        folder: The run folder.
        before: The recipe of the earlier call as JSON values; None for a new run.
        recorded: The recipe of the earlier call with every value that it determined.
    """

    def at_commit(part: str, spec: TextsSpec) -> TextsSpec:
        known: TextsSpec | None = getattr(recorded, part, None)
        if known is not None and before is not None and (before.get(part) or {}).get("source") == spec.source:
            return replace(spec, source=known.source)
        if (folder / {"texts": STORE, "general": GENERAL}[part] / STORE_MANIFEST).is_file():
            return spec
        return replace(spec, source=newest_source(spec.source, part))

    general = None if recipe.general is None else at_commit("general", recipe.general)
    return replace(recipe, texts=at_commit("texts", recipe.texts), general=general)


def at_newest_commit(recipe: Recipe) -> Recipe:
    """Return ``recipe`` with the newest commit of texts without a commit, before they are compared with a store.

    Training needs no texts of a store that was pulled, so `with_commits` leaves them without a commit.
    """

    def pinned(part: str, spec: TextsSpec) -> TextsSpec:
        is_open = is_dataset_url(spec.source) and parse_dataset_url(spec.source).commit is None
        return replace(spec, source=newest_source(spec.source, part)) if is_open else spec

    texts = pinned("texts", recipe.texts)
    general = None if recipe.general is None else pinned("general", recipe.general)
    teacher = recipe.teacher.with_table_at(recipe.texts.source, texts.source)
    return replace(recipe, texts=texts, general=general, teacher=teacher)


def at_recorded_commit(recorded: Recipe, known: Mapping[str, Any]) -> Recipe:
    """Return ``recorded`` with the commit of its texts, which earlier versions recorded beside the recipe.

    Args:
        recorded: The resolved recipe in the record.
        known: The record.
    """
    source, commit = recorded.texts.source, (known.get("commits") or {}).get("texts")
    if commit is None or not is_dataset_url(source):
        return recorded
    pinned = parse_dataset_url(source).at(commit)
    teacher = recorded.teacher.with_table_at(source, pinned)
    return replace(recorded, texts=replace(recorded.texts, source=pinned), teacher=teacher)
