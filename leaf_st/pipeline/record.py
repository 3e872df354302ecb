"""The contents of a run's recipe.json, and the recipe that a resumed run reads from recipe.json."""

import os
import re
from collections.abc import Set
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leaf_st.errors import InputError
from leaf_st.hub.dataset_files import dataset_commit
from leaf_st.hub.dataset_url import is_dataset_url, parse_dataset_url
from leaf_st.models.find import commit_of, content_hash, earlier_content_hash, find_model, local_model, published_as
from leaf_st.pipeline.exclude import with_excluded_sets
from leaf_st.pipeline.pinned_texts import at_recorded_commit, with_commits
from leaf_st.pipeline.precision import with_precision_of_store
from leaf_st.recipe import PAPER, TEACHER_OF_START, Recipe, TextsSpec
from leaf_st.run_folder import MODEL, STORE, TEXTS, differences, has_begun_training, known_record, read_record
from leaf_st.student.kept_tokens import read_kept
from leaf_st.teacher.open import kind_of, teacher_spec
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.texts.exclude import EXCLUDED
from leaf_st.texts.files import local_source
from leaf_st.texts.paper.fetch import provenance
from leaf_st.training.arguments import named_arguments

_STUDENT = "student_revision"  # hash of the files of the student's start or backbone; earlier versions had none
_TEXTS_DIGEST = "texts_digest"  # `EmbeddingStore.texts_digest` when training began; earlier versions had none
_LIBRARIES = ("leaf-st", "sentence-transformers", "transformers", "torch", "datasets", "accelerate", "mteb")
_OF_TRAINING = ("arguments", "processes", "commits", "versions")  # kept once the student is trained


def resolved_recipe(asked: Recipe, folder: Path) -> Recipe:
    """Return ``asked`` with the values that an earlier run in ``folder`` determined.

    Raises:
        InputError: If the folder contains other files or the run of another recipe.
    """
    recipe = _with_recorded_values(asked, folder)
    return recipe if kind_of(asked.teacher).precision(asked.teacher) else with_precision_of_store(recipe, folder)


def _with_recorded_values(asked: Recipe, folder: Path) -> Recipe:
    """Return ``asked`` with the values in the record of the run ``folder``; see `resolved_recipe`."""
    known = known_record(folder, asked)
    if known is not None and has_begun_training(folder):  # the results of the student have its name
        asked = replace(asked, name=known["resolved"].get("name", asked.name))
    if known is None:
        named = _with_table(_with_named_teacher(with_commits(asked, folder)))
        return with_excluded_sets(named, folder, None)
    recorded = at_recorded_commit(Recipe.from_dict(known["resolved"]), known)
    resolved = with_excluded_sets(recorded, folder, recorded.texts)
    changed = {re.split(r"[. ]", key)[0] for key in differences(known["recipe"], asked)}
    if not changed:
        return resolved
    asked = _with_table(with_commits(asked, folder, known["recipe"], recorded))
    teacher = kind_of(resolved.teacher).with_changeable_values(resolved.teacher, asked.teacher)
    recipe = with_excluded_sets(replace(asked, teacher=teacher), folder, recorded.texts)
    return _with_resolved_parts(recipe, resolved, changed - {"texts"})


def _with_table(recipe: Recipe) -> Recipe:
    """Return ``recipe`` with its texts as the teacher's table, if the teacher is a table and the recipe names none."""
    return replace(recipe, teacher=kind_of(recipe.teacher).with_table(recipe.teacher, recipe.texts))


def _with_resolved_parts(recipe: Recipe, resolved: Recipe, changed: Set[str]) -> Recipe:
    """Return ``recipe`` with the student and the training of ``resolved``, if all that shaped them is the same.

    The kept tokens of a student come from the texts. The steps of a time budget were measured with the student on the
    training texts and the general texts.

    Args:
        recipe: The recipe of this call.
        resolved: The recipe of the earlier call, with every value that it determined.
        changed: Parts other than the texts in which this call asks for other values.
    """
    if recipe.texts != resolved.texts or "student" in changed:
        return recipe
    recipe = replace(recipe, student=resolved.student)
    return recipe if changed & {"general", "training"} else replace(recipe, training=resolved.training)


def _with_named_teacher(recipe: Recipe) -> Recipe:
    """Return ``recipe`` with the teacher of its start student named, if the recipe asks for this teacher."""
    if recipe.teacher.model != TEACHER_OF_START or recipe.student.start is None:
        return recipe
    spec = teacher_spec(recipe.student.start)
    if recipe.teacher.is_loaded:
        return replace(recipe, teacher=kind_of(spec).with_teacher_of_start(recipe.teacher, spec))
    prompts = recipe.teacher.prompts or spec.prompts
    return replace(recipe, teacher=replace(recipe.teacher, model=spec.name, prompts=prompts))


def run_record(
    asked: Recipe,
    resolved: Recipe,
    folder: Path,
    fingerprint: Fingerprint,
    device: str,
    processes: int,
    store: EmbeddingStore | None,
    compared: bool,
) -> dict[str, Any]:
    """Return the record of a run as JSON values.

    Once the student is trained, the record keeps the values of the training: this call may be on another machine.

    Args:
        asked: The recipe as the user wrote it.
        resolved: The recipe with every value that the run determined.
        folder: The run folder.
        fingerprint: The teacher's fingerprint.
        device: Type of the training device, such as "cpu".
        processes: Number of processes that work together.
        store: The store of the run; None if it is not complete.
        compared: Whether this process has compared the texts with those of the evaluation sets.
    """
    sources, tokens = _sources(resolved, folder), resolved.student.tokens
    digest = texts_of_training(folder) or (None if store is None else store.texts_digest)
    # A store that was pulled was not compared with the sets of this recipe.
    compared = bool(resolved.texts.exclude) and (compared or "excluded" in read_record(folder))
    record: dict[str, Any] = {
        "recipe": replace(asked, name=resolved.name).to_dict(),
        "resolved": resolved.to_dict(),
        "arguments": named_arguments(resolved, device),
        "processes": processes,
        "teacher": fingerprint.to_dict(),
        "commits": _commits(resolved, folder),
        **({_STUDENT: content_hash(student)} if (student := _student_folder(resolved)) else {}),
        **({"sources": sources} if sources else {}),
        "versions": _versions(),
        **({_TEXTS_DIGEST: digest} if digest is not None else {}),
        **({"excluded": store.skipped.get(EXCLUDED, 0)} if store is not None and compared else {}),
        **({"vocabulary": read_kept(Path(tokens)).figures.model_dump()} if tokens is not None else {}),
    }
    trained = (read_record(folder / MODEL) or read_record(folder)) if (folder / MODEL).exists() else {}
    return {**record, **{key: trained[key] for key in _OF_TRAINING if key in trained}}


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the libraries; their metadata take time to read, and a run writes its record often."""
    return {name: version(name) for name in _LIBRARIES}


def require_outside_of_models(recipe: Recipe, folder: Path) -> None:
    """Check that the run folder ``folder`` is not inside the folder of a model of ``recipe``.

    The run's files would become files of the model, which are read, copied and published with the model.

    Raises:
        InputError: If ``folder`` is inside the folder of the teacher, of a member of an ensemble, or of the student's
            start or backbone.
    """
    student = recipe.student.start or recipe.student.backbone
    names = [spec.model for spec in recipe.teacher.models.values()]
    for name in [*names, student] if student else names:
        model = local_model(name)
        # Path.resolve raises an exception for links that form a circle.
        if model is not None and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(model)):
            raise InputError(
                f"output {folder}: expected a folder outside of the model folder {model}, found a folder inside (the "
                "files of the run would become files of the model): name another output folder"
            )


def require_same_student(recipe: Recipe, folder: Path) -> None:
    """Check that the files of the student's start or backbone are those that the training in ``folder`` began with.

    Raises:
        InputError: If the files have changed.
    """
    if not has_begun_training(folder):
        return
    expected, model = read_record(folder).get(_STUDENT), _student_folder(recipe)
    if expected is None or model is None:
        return
    found = content_hash(model)
    if expected not in (found, earlier_content_hash(model)):
        part = "backbone" if recipe.student.start is None else "start"
        name = recipe.student.start or recipe.student.backbone
        raise InputError(
            f"run {folder} was made from another student.{part}: expected files of {name} with the hash {expected}, "
            f"found {found}: name another output folder, or restore the files of student.{part}"
        )


def require_same_texts(store: EmbeddingStore, folder: Path) -> None:
    """Check that the texts of ``store`` are those that the training in ``folder`` began with.

    Raises:
        InputError: If the store has other texts, or a shard is damaged.
    """
    expected = texts_of_training(folder)
    if expected is not None and store.texts_digest not in (None, expected):
        store.require_intact()  # a damaged shard is named first, because its texts differ too
        raise other_texts(folder, expected, str(store.texts_digest))


def texts_of_training(folder: Path) -> str | None:
    """Return the hash of the texts that the training in ``folder`` began with; None without one, or if unknown."""
    return read_record(folder).get(_TEXTS_DIGEST) if has_begun_training(folder) else None


def other_texts(folder: Path, expected: str, found: str) -> InputError:
    """Return the error for texts that the student in the run folder ``folder`` was not trained on."""
    return InputError(
        f"run {folder} was trained on other texts: expected texts with the hash {expected}, found {found}: name "
        "the original texts, or another output folder to train another student"
    )


def _student_folder(recipe: Recipe) -> Path | None:
    """Return the folder of the student's start or backbone; None if the recipe names neither."""
    name = recipe.student.start or recipe.student.backbone
    return find_model(name, recipe.student.revision) if name else None


def _sources(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return the sources of the texts, including the sources of the start student."""
    start, texts = recipe.student.start, recipe.texts
    earlier = _sources_of_student(start, recipe.student.revision) if start else {}
    return {**earlier, **(provenance(texts, folder / TEXTS) if texts.source == PAPER else {})}


def _sources_of_student(start: str, revision: str | None) -> dict[str, Any]:
    folder = find_model(start, revision)
    if record := read_record(folder):
        sources: dict[str, Any] = record.get("sources", {})
        return sources
    # The students of the paper's authors have no record, and the commits of their texts are unknown.
    return provenance(TextsSpec(PAPER), folder / TEXTS) if published_as(start) else {}


def _commits(recipe: Recipe, folder: Path) -> dict[str, str | None]:
    """Return the commits of the teacher, of the student's start or backbone, and of texts on the hub.

    The commit of texts is unknown if their store was pulled, and the recipe names no commit.
    """
    student = recipe.student.start or recipe.student.backbone
    teachers = {key: (spec.model, spec.revision) for key, spec in recipe.teacher.models.items()}
    named = {**teachers, "student": (student, recipe.student.revision)}
    commits = {part: commit_of(find_model(name, revision)) for part, (name, revision) in named.items() if name}
    source = recipe.texts.source
    if not is_dataset_url(source):
        return commits
    commit = parse_dataset_url(source).commit
    if commit is None and not (folder / STORE / STORE_MANIFEST).is_file():
        commit = dataset_commit(source, local_source(source))
    return {**commits, "texts": commit}
