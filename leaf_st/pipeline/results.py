"""The results of a run: the student's scores on evaluation sets, and the results of an earlier student."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from leaf_st.evaluation.embedder import Vectors
from leaf_st.evaluation.measurements.agreement import AGREEMENT
from leaf_st.evaluation.measurements.alignment import ALIGNMENT
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import require_no_student
from leaf_st.models.load import load_model
from leaf_st.run_folder import MODEL, RESULTS
from leaf_st.teacher.protocol import NoVectorError, Teacher

_logger = logging.getLogger(__name__)


def evaluate_student(
    run: Path, sets: Sequence[str], teacher: Teacher, vectors: defaultdict[str, Vectors] | None
) -> list[Result]:
    """Evaluate the student of a run in all modes for which the teacher has vectors.

    Args:
        run: The run folder.
        sets: Tasks of mteb and local sets.
        teacher: The teacher.
        vectors: Vectors that the teacher made for other students, by the name of the set; None if it has no others.
    """
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate_tasks  # imports mteb, which takes seconds

    student = load_model(str(run / MODEL))
    measure = partial(evaluate_tasks, teacher=teacher, student=student, folder=run / RESULTS, shared=vectors)
    return [row for task in find_tasks(sets) for row in _evaluate_set(measure, task)]


def _evaluate_set(measure: Callable[..., list[Result]], task: object) -> list[Result]:
    """Evaluate the student on a set in the modes for which the teacher has vectors."""
    for modes in (list(ROLES), list(STUDENT_MODES)):
        try:
            return measure([task], modes=modes)
        except NoVectorError as error:
            _logger.info("not all of the modes %s can be measured: %s", ", ".join(modes), error)
    return measure([task], modes=["standard"])


def remove_results_of_another_student(results: Path) -> None:
    """Remove the results of an earlier student that do not name their student, before a training begins.

    Args:
        results: The results folder.

    Raises:
        InputError: If other results of an earlier student exist.
    """
    require_no_student(results)
    names = (ALIGNMENT.file, AGREEMENT.file, LOST_QUERIES.file)
    if found := [name for name in names if (results / name).is_file()]:
        _logger.info("removed the results of an earlier student: %s", ", ".join(found))
    for name in found:
        (results / name).unlink()
