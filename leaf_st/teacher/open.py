"""Opening the teacher of a `TeacherSpec`: the only module that creates a teacher of each kind."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leaf_st.errors import InputError
from leaf_st.models.find import content_hash, find_model, first_content_hash, published_as
from leaf_st.models.prompts import prompt_for
from leaf_st.recipe import KINDS, Precision, Recipe, TeacherSpec
from leaf_st.run_folder import read_record
from leaf_st.teacher.api import ApiTeacher, revision_of, student_prompts
from leaf_st.teacher.ensemble import Ensemble, ensemble_precision, ensemble_revision
from leaf_st.teacher.paid_ensemble import combine
from leaf_st.teacher.protocol import Fingerprint, Teacher, other_teacher
from leaf_st.teacher.vectors.table import given_revision
from leaf_st.teacher.vectors.teacher import GivenVectors
from leaf_st.texts import Text

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def open_teacher(spec: TeacherSpec, device: str | None = None, max_tokens: int | None = None) -> Teacher:
    """Open the teacher that ``spec`` names, with its prompts, max_length and precision.

    Args:
        spec: The teacher.
        device: Device of a local model; sentence-transformers' choice if None.
        max_tokens: Number of tokens after which an API is asked for no further texts; None for no limit.

    Raises:
        InputError: If the teacher cannot be used.
    """
    if spec.api is not None:
        return ApiTeacher(spec, max_tokens)
    if spec.vector_column is not None:
        return GivenVectors(spec)
    if spec.ensemble:
        return combine(spec, [open_teacher(member, device, max_tokens) for member in spec.ensemble])
    from leaf_st.teacher.local import LocalTeacher  # imports torch, which given vectors and an API do not need

    return LocalTeacher.load(spec, device)


def fit_teacher(teacher: Teacher, texts: Iterable[Text], path: Path) -> None:
    """Write what ``teacher`` must learn from ``texts`` before it embeds them: the axes of an ensemble.

    Raises:
        InputError: If there are too few texts, or a text cannot be embedded.
    """
    if isinstance(teacher, Ensemble):
        teacher.fit(texts, path)


def use_axes(spec: TeacherSpec, teacher: Teacher, path: Path) -> TeacherSpec:
    """Let the ensemble ``teacher`` of ``spec`` project its vectors to the axes in ``path``; return its new spec."""
    if isinstance(teacher, Ensemble):
        teacher.project(path)
    return replace(spec, axes=str(path))


def with_precision(spec: TeacherSpec, teacher: Teacher) -> TeacherSpec:
    """Return ``spec`` with the precision in which the opened ``teacher`` runs in place of "auto"."""
    if isinstance(teacher, Ensemble):
        pairs = zip(spec.ensemble, teacher.members, strict=True)
        return replace(spec, ensemble=[replace(member, precision=_precision_of(opened)) for member, opened in pairs])
    return replace(spec, precision=_precision_of(teacher))


def _precision_of(teacher: Teacher) -> Precision:
    return cast(Precision, teacher.fingerprint.precision)


def timed_teacher(teacher: Teacher) -> Teacher:
    """Return the teacher to time in place of ``teacher``, whose axes may not be fitted yet."""
    return teacher.unprojected if isinstance(teacher, Ensemble) else teacher


def usable_texts(teacher: Teacher, texts: Iterable[Text], skipped: Counter[str]) -> Iterable[Text]:
    """Return the ``texts`` that ``teacher`` can embed; ``skipped`` counts the others by reason."""
    return teacher.usable(texts, skipped) if isinstance(teacher, GivenVectors) else texts


def open_teacher_model(spec: TeacherSpec) -> "SentenceTransformer":
    """Load the teacher that ``spec`` names as a model, to compose a model from the teacher and a student.

    Raises:
        InputError: If the teacher cannot be loaded, is an API, or consists of given vectors.
    """
    if spec.api is not None:
        raise InputError(
            f"teacher {spec.name} is an API and cannot be loaded as a model: embed documents with the API at "
            f"{spec.api.url}, and queries with the student"
        )
    if spec.vector_column is not None:
        raise InputError(
            f"teacher {spec.model}: expected a model, found vectors in {spec.table and spec.table.source}: name the "
            "teacher's folder or hub id (--teacher), or use the student in standard mode"
        )
    if spec.ensemble:
        return _open_ensemble_model(spec)
    from leaf_st.teacher.local import load_teacher_model

    return load_teacher_model(spec)


def _open_ensemble_model(spec: TeacherSpec) -> "SentenceTransformer":
    if names := [member.name for member in spec.ensemble if member.api is not None]:
        raise InputError(
            f"teacher {spec.name}: expected local models, found the API {names[0]}, which cannot be loaded as a model: "
            "embed documents with leaf_st.open_teacher, and queries with the student"
        )
    from leaf_st.teacher.ensemble_model import ensemble_model
    from leaf_st.teacher.local import LocalTeacher

    return ensemble_model(Ensemble(spec, [LocalTeacher.load(member) for member in spec.ensemble]))


def teacher_spec(
    student_name: str, teacher: str | None = None, prompts: Mapping[str, str | None] | None = None
) -> TeacherSpec:
    """Return the teacher that the model ``student_name`` learned from, with the prompts that the student learned.

    A recorded prompt is used even if it is empty. A student without a record has empty prompts by default, so the
    teacher keeps its own prompt where the student's is empty. The teacher's own code never runs, because the record may
    come from a stranger.

    Args:
        student_name: Folder, name of the zoo, or hub id.
        teacher: Folder or hub id of the teacher, which is loaded even if the student learned from given vectors; by
            default the teacher in the student's recipe.json, or else in the zoo.
        prompts: The student's prompts.

    Raises:
        InputError: If nothing names the teacher.
    """
    published = published_as(student_name)
    record = {} if published and not Path(student_name).is_dir() else _record_of(student_name, teacher)
    recorded = _recorded_spec(record)
    if teacher is not None and (recorded is None or recorded.name != teacher):
        spec = TeacherSpec(model=teacher, precision="float32")
    elif recorded is not None:
        spec = recorded if teacher is None else replace(recorded, vector_column=None, table=None)
    elif published is not None:
        hub = published.teacher
        spec = TeacherSpec(model=hub.hub_id, revision=hub.revision, prompts=hub.prompts, precision="float32")
    else:
        raise InputError(
            f"model {student_name}: nothing in it names its teacher: give teacher= (--teacher, or teacher.model in a "
            "recipe)"
        )
    # An API gets the recorded prompts. The student's may also contain the input types.
    learned = spec.prompts if spec.api else _learned_prompts(record, spec, prompts or {})
    return replace(spec, prompts=learned).with_models(trust_remote_code=False)


def require_teacher(spec: TeacherSpec, fingerprint: Fingerprint, where: str) -> None:
    """Check that ``fingerprint`` is that of the teacher of ``spec``, without loading the teacher.

    Args:
        spec: The teacher.
        fingerprint: The fingerprint of a store.
        where: The owner of the fingerprint in errors, such as "store FOLDER".

    Raises:
        InputError: If the fingerprint is of another teacher, or of this teacher with other settings.
    """
    revision, first_revision = _revisions(spec)
    here = replace(fingerprint, revision=revision, first_revision=first_revision)
    if not here.has_files_of(fingerprint):
        expected_files = f"{spec.name} ({here.revision})"
        raise other_teacher(where, "revision", expected_files, f"{fingerprint.teacher} ({fingerprint.revision})")
    settings: dict[str, Any] = {"max_length": spec.max_length}
    settings["precision"] = _precision(spec)
    for key, expected in settings.items():
        if expected is not None and (found := getattr(fingerprint, key)) != expected:
            raise other_teacher(where, key, expected, found)
    prompts = student_prompts(spec) if spec.api else dict(spec.prompts)
    for kind, prompt in prompts.items():
        if fingerprint.prompts.get(kind) != prompt:
            raise other_teacher(where, "prompts", prompts, dict(fingerprint.prompts))


def _precision(spec: TeacherSpec) -> str | None:
    """Return the precision in the fingerprint of the teacher of ``spec``; None if ``spec`` does not determine it."""
    if spec.ensemble:
        return ensemble_precision(spec)
    return None if spec.precision == "auto" or spec.api is not None else spec.precision


def _revisions(spec: TeacherSpec) -> tuple[str, str | None]:
    """Return revision and first revision in the fingerprint of the teacher of ``spec``, without loading the teacher."""
    if spec.api is not None:
        return revision_of(spec), None
    if spec.vector_column is not None:
        return given_revision(spec), None
    if spec.ensemble:
        return ensemble_revision(spec, [_revisions(member)[0] for member in spec.ensemble]), None
    folder = find_model(spec.model, spec.revision, code=spec.trust_remote_code)
    return content_hash(folder), first_content_hash(folder)


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


def _learned_prompts(record: Mapping[str, Any], spec: TeacherSpec, prompts: Mapping[str, str | None]) -> dict[str, str]:
    fingerprint = record.get("teacher")
    known = fingerprint.get("prompts") if isinstance(fingerprint, dict) else None
    recorded: dict[str, str] = {
        kind: known[kind] for kind in KINDS if isinstance(known, dict) and isinstance(known.get(kind), str)
    }
    own: dict[str, str] = {kind: prompt for kind in KINDS if (prompt := prompt_for(prompts, kind))}
    return {**spec.prompts, **recorded, **own}
