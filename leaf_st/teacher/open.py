"""Opening the teacher of a `TeacherSpec`: the only module that knows all kinds of teachers."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaf_st.errors import InputError, require_kind
from leaf_st.models.end_token import end_tokens_of, require_end_tokens, with_end_tokens
from leaf_st.models.find import find_in_cache, find_model, local_model, published_as
from leaf_st.models.prompts import prompt_for
from leaf_st.recipe import KINDS, Recipe, TeacherSpec
from leaf_st.run_folder import is_recorded_folder, read_record, read_run
from leaf_st.teacher.api.kind import ApiKind
from leaf_st.teacher.ensemble.kind import EnsembleKind
from leaf_st.teacher.kind import TeacherKind
from leaf_st.teacher.local_kind import LocalKind
from leaf_st.teacher.protocol import GIVEN, Fingerprint, Table, Teacher, other_teacher
from leaf_st.teacher.vectors.kind import GivenKind
from leaf_st.texts import Text

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_warn_once = cache(logging.getLogger(__name__).warning)  # a command names its teacher several times


def kind_of(spec: TeacherSpec) -> TeacherKind:
    """Return the kind of the teacher that ``spec`` names."""
    return next(kind for kind in _TEACHER_KINDS if kind.is_kind_of(spec))


_TEACHER_KINDS = (LocalKind(), ApiKind(), GivenKind(), EnsembleKind(kind_of))


def open_teacher(spec: TeacherSpec, device: str | None = None, max_tokens: int | None = None) -> Teacher:
    """Open the teacher that ``spec`` names, with its prompts, max_length and precision.

    Args:
        spec: The teacher.
        device: Device of a local model; sentence-transformers' choice if None.
        max_tokens: Number of tokens after which an API is asked for no further texts; None for no limit.

    Raises:
        InputError: If the teacher cannot be used.
    """
    require_kind("spec", spec, TeacherSpec, "a TeacherSpec: pass leaf_st.recipe.TeacherSpec(model='FOLDER or hub id')")
    return kind_of(spec).open(spec, device, max_tokens)


def open_teacher_of_run(run: Path) -> Teacher:
    """Open the teacher in the record of a run.

    Args:
        run: The run folder.

    Raises:
        InputError: If the folder is no run, the teacher was in a folder that does not exist any more, or it cannot be
            used.
    """
    record = read_run(run)
    spec = Recipe.from_dict(record["resolved"]).teacher
    _require_recorded_folders(record, spec, str(run))
    return open_teacher(spec)


def open_teacher_model(spec: TeacherSpec) -> "SentenceTransformer":
    """Load the teacher that ``spec`` names as a model, to compose a model from the teacher and a student.

    Raises:
        InputError: If the teacher cannot be loaded, is an API, or consists of given vectors.
    """
    return kind_of(spec).load_model(spec)


def usable_texts(teacher: Teacher, texts: Iterable[Text], skipped: Counter[str]) -> Iterable[Text]:
    """Return the ``texts`` that ``teacher`` can embed; ``skipped`` counts the others by reason."""
    return teacher.usable(texts, skipped) if isinstance(teacher, Table) else texts


def teacher_spec(
    student_name: str | None, teacher: str | None = None, prompts: Mapping[str, str | None] | None = None
) -> TeacherSpec:
    """Return the teacher that the model ``student_name`` learned from, with the prompts that the student learned.

    A recorded prompt is used even if it is empty. A student without a record has empty prompts by default, so the
    teacher keeps its own prompt where the student's is empty. The teacher's own code never runs, because the record may
    come from a stranger.

    Args:
        student_name: Folder, name of the zoo, or hub id; None for a model in memory, which has no record.
        teacher: Folder or hub id of the teacher, which is loaded even if the student learned from given vectors; by
            default the teacher in the student's recipe.json, or else in the zoo. A folder with the files of the
            recorded teacher has the recorded settings, such as max_length.
        prompts: The student's prompts.

    Raises:
        InputError: If nothing names the teacher, or the folder of the recorded teacher was moved or holds other files.
    """
    published = None if student_name is None else published_as(student_name)
    record: dict[str, Any] = {}
    if student_name is not None and (published is None or os.path.isdir(student_name)):
        record = _record_of(student_name, teacher)
    recorded = _recorded_spec(record)
    if teacher is not None and (recorded is None or recorded.name != teacher):
        spec = _copy_of(recorded, record, teacher) or TeacherSpec(model=teacher, precision="float32")
    elif recorded is not None:
        spec = recorded if teacher is None else kind_of(recorded).as_model(recorded)
        if spec == recorded:
            _require_recorded_files(record, spec, str(student_name))
    elif published is not None:
        hub = published.teacher
        spec = TeacherSpec(model=hub.hub_id, revision=hub.revision, prompts=hub.prompts, precision="float32")
    else:
        raise InputError(
            f"model {student_name}: nothing in it names its teacher: give teacher= (--teacher, or teacher.model in a "
            "recipe)"
        )
    if kind_of(spec).student_shares_prompts:
        spec = replace(spec, prompts=_learned_prompts(record, spec, prompts or {}))
    return spec.with_models(trust_remote_code=False)


def _other_revision(spec: TeacherSpec, fingerprint: Fingerprint) -> str | None:
    """Return the revision of the teacher of ``spec`` if its files are not those of ``fingerprint``."""
    revisions = kind_of(spec).revisions(spec)
    here = replace(fingerprint, **revisions._asdict())
    return None if here.has_files_of(fingerprint) else revisions.revision


def require_teacher(spec: TeacherSpec, fingerprint: Fingerprint, where: str) -> None:
    """Check that ``fingerprint`` is that of the teacher of ``spec``, without loading the teacher.

    A table of given vectors that is not on this machine is not compared, because the vectors are in the store. They
    must be given vectors of the named model.

    Args:
        spec: The teacher.
        fingerprint: The fingerprint of a store.
        where: The owner of the fingerprint in errors, such as "store FOLDER".

    Raises:
        InputError: If the fingerprint is of another teacher, or of this teacher with other settings.
    """
    kind = kind_of(spec)
    files = f"{fingerprint.teacher} ({fingerprint.revision})"
    if not kind.has_files(spec):
        if not fingerprint.revision.startswith(GIVEN) or fingerprint.teacher != spec.name:
            raise other_teacher(where, "teacher", f"{spec.name} (given vectors)", files)
    elif (found := _other_revision(spec, fingerprint)) is not None:
        require_end_tokens(fingerprint.revision, found, where)
        names = (spec.name, fingerprint.teacher)
        raise other_teacher(where, "revision", f"{spec.name} ({found})", files, names)
    settings: dict[str, Any] = {"max_length": spec.max_length, "precision": kind.precision(spec)}
    for key, expected in settings.items():
        if expected is not None and (found := getattr(fingerprint, key)) != expected:
            raise other_teacher(where, key, expected, found)
    prompts = dict(kind.prompts(spec))
    for name, prompt in prompts.items():
        if fingerprint.prompts.get(name) != prompt:
            raise other_teacher(where, "prompts", prompts, dict(fingerprint.prompts))


def _record_of(student_name: str, teacher: str | None) -> dict[str, Any]:
    if teacher is None:
        return read_record(find_model(student_name))
    with suppress(InputError):  # such as a folder that holds only a config, to be timed
        return read_record(find_model(student_name))
    return {}


def _recorded_spec(record: Mapping[str, Any]) -> TeacherSpec | None:
    try:
        return Recipe.from_dict(record["resolved"]).teacher
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _recorded_fingerprint(record: Mapping[str, Any]) -> Fingerprint | None:
    fingerprint = record.get("teacher")
    if isinstance(fingerprint, dict):
        with suppress(InputError):  # of an earlier version
            return Fingerprint.from_dict(fingerprint)
    return None


def _copy_of(recorded: TeacherSpec | None, record: Mapping[str, Any], folder: str) -> TeacherSpec | None:
    """Return the recorded teacher in ``folder``, if the folder holds its files: it was moved, or this is a copy.

    A folder with another teacher is logged.
    """
    known = _recorded_fingerprint(record)
    if recorded is None or not recorded.is_loaded or known is None or local_model(folder) is None:
        return None
    copy = replace(recorded, model=folder, revision=None)
    with suppress(InputError):  # of a damaged folder, which is named when it is loaded
        if _other_revision(copy, known) is None:
            return copy
        _warn_once(
            f"teacher {folder}: its files are not those of {known.teacher}, from which the student learned: asymmetric "
            "results are meaningful only if both teachers share one vector space"
        )
    return None


def _require_recorded_folders(record: Mapping[str, Any], spec: TeacherSpec, where: str) -> None:
    """Check that the folders of a recorded teacher still exist.

    Args:
        record: The record of a run or of its student.
        spec: The teacher in the record.
        where: The run or the student, in errors.

    Raises:
        InputError: If a folder does not exist any more.
    """
    commits = record.get("commits")
    for key, part in spec.models.items():
        was_folder = is_recorded_folder(part.model, key, commits if isinstance(commits, dict) else {})
        if was_folder and local_model(part.model) is None:
            raise InputError(
                f"teacher {part.model}, recorded in {where}: expected the folder that the student learned from, found "
                "no such folder: move it back, or name its new folder in a command with --teacher"
            )


def _require_recorded_files(record: Mapping[str, Any], spec: TeacherSpec, student_name: str) -> None:
    """Check that a teacher in a folder still is there, with the files that the student learned from.

    The files of a teacher on the hub are not compared: a later commit may change only its card. Such a teacher must
    only end its texts as the student learned.
    """
    _require_recorded_folders(record, spec, student_name)
    known = _recorded_fingerprint(record)
    folders = [Path(part.model) for part in spec.models.values()]
    if known is None or not folders:
        return
    what = f"student {student_name}"
    if not all(map(Path.is_dir, folders)):
        cached = None if spec.ensemble else find_in_cache(spec.model, spec.revision)
        if cached is not None and not end_tokens_of(known.revision):
            require_end_tokens(known.revision, with_end_tokens(known.revision, cached), what)
        return
    if (found := _other_revision(spec, known)) is not None:
        require_end_tokens(known.revision, found, what)
        raise InputError(
            f"teacher {spec.name}: expected the files that the student {student_name} learned from (revision "
            f"{known.revision}), found others (revision {found}): restore the files, or name a copy of that teacher "
            "with --teacher or teacher="
        )


def _learned_prompts(record: Mapping[str, Any], spec: TeacherSpec, prompts: Mapping[str, str | None]) -> dict[str, str]:
    fingerprint = record.get("teacher")
    known = fingerprint.get("prompts") if isinstance(fingerprint, dict) else None
    recorded: dict[str, str] = {
        kind: known[kind] for kind in KINDS if isinstance(known, dict) and isinstance(known.get(kind), str)
    }
    own: dict[str, str] = {kind: prompt for kind in KINDS if (prompt := prompt_for(prompts, kind))}
    return {**spec.prompts, **recorded, **own}
