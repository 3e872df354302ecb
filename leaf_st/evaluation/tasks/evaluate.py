"""Evaluation as one call, for scripts, notebooks and ``leaf-st evaluate``."""

from collections.abc import Sequence
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError, require_kind
from leaf_st.evaluation.modes import ROLES, Mode
from leaf_st.evaluation.results import Result
from leaf_st.models.load import load_model
from leaf_st.recipe import TeacherSpec
from leaf_st.recipe.types import local_folder
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.teacher.protocol import Targets, Teacher


def evaluate(
    model: str | Path | SentenceTransformer,
    tasks: str | Path | Sequence[str | Path],
    *,
    teacher: str | Path | Teacher | None = None,
    modes: Mode | Sequence[Mode] | None = None,
    output: str | Path | None = None,
) -> list[Result]:
    """Measure a student on tasks of mteb and on local sets, by itself and together with its teacher.

    Args:
        model: The student: a run folder, a model folder, a name from ``leaf-st models``, a hub id, or a loaded model.
        tasks: Benchmarks or tasks of mteb, such as ``"NanoBEIR"`` or ``"SciFact"``, and local sets (see
            `leaf_st.evaluation.tasks.local`).
        teacher: Folder or hub id of the teacher, or a `Teacher` object; if None, the teacher that the student's own
            record names is used for the modes that need one.
        modes: ``"teacher"``, ``"standard"`` and ``"asymmetric"``, or one of them; by default all of them with a
            ``teacher``, and otherwise ``["standard"]``.
        output: Results folder of this student; a repeated call resumes from it. Nothing is kept if None.

    Returns:
        One row for each task and mode. A task with an undefined score has no rows; a warning names the task.

    Raises:
        InputError: If a model, a task, a mode or ``output`` cannot be used.
    """
    from leaf_st.evaluation.tasks import runner  # imports mteb, which takes seconds
    from leaf_st.evaluation.tasks.find import find_tasks

    require_kind("model", model, str | Path | SentenceTransformer, "a folder, hub id or SentenceTransformer: name one")
    named = "name its folder or hub id, or pass what leaf_st.open_teacher returns"
    require_kind("teacher", teacher, str | Path | Targets | None, f"a folder, hub id or Teacher: {named}")
    folder = None if output is None else local_folder(output)
    names = [tasks] if isinstance(tasks, str | Path) else tasks
    for name in names:
        require_kind("tasks", name, str | Path, "names of tasks or folders: pass metadata.name of a task of mteb")
    found = find_tasks([str(name) for name in names])
    given = [modes] if isinstance(modes, str) else modes
    chosen: list[Mode] = list(dict.fromkeys(given or (ROLES if teacher else ["standard"])))
    student = model if isinstance(model, SentenceTransformer) else load_model(str(model))
    opened = None
    if teacher is not None and not isinstance(teacher, str | Path):
        opened = teacher
    elif teacher is not None or chosen != ["standard"]:
        opened = open_teacher(_spec(model, student, None if teacher is None else str(teacher)))
    rows = runner.evaluate_tasks(found, teacher=opened, student=student, modes=chosen, folder=folder)
    if not rows:
        raise InputError("tasks: expected a set with a defined score in each mode, found none: name other sets")
    return rows


def _spec(model: str | Path | SentenceTransformer, student: SentenceTransformer, teacher: str | None) -> TeacherSpec:
    if not isinstance(model, SentenceTransformer):
        return teacher_spec(str(model), teacher, student.prompts)
    if teacher is None:
        raise InputError(
            "teacher: expected a folder, hub id or Teacher, found None (a loaded model does not name its teacher): "
            "pass teacher="
        )
    return teacher_spec(None, teacher, student.prompts)
