"""Measuring tasks of mteb in each mode; the scores are comparable with published scores."""

import copy
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import mteb
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.results import TaskResult
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import Embedder, TeacherOrStudent, Vectors, check_modes, require_one_model
from leaf_st.evaluation.modes import ROLES, Mode, Role
from leaf_st.evaluation.results import (
    TASKS_FILE,
    TWO_SIDED,
    Result,
    remove_set,
    require_same_models,
    require_same_set,
    write_results,
)
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.evaluation.tasks.encoder import ModeEncoder, model_meta
from leaf_st.evaluation.tasks.load import loaded
from leaf_st.evaluation.tasks.local import LocalTask
from leaf_st.evaluation.tasks.queries import keep_query_scores, query_scores
from leaf_st.models.identity import Identity, identify
from leaf_st.teacher.protocol import Teacher

_logger = logging.getLogger(__name__)

CACHE = "mteb"  # the folder of mteb's own results in a results folder: a ResultCache


def evaluate_tasks(
    tasks: Sequence[AbsTask],
    *,
    teacher: Teacher | None,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    folder: Path | None = None,
    batch_size: int = 32,
    shared: defaultdict[str, Vectors] | None = None,
) -> list[Result]:
    """Measure each mode on each task by the task's main metric; asymmetric mode needs queries and documents.

    Texts are encoded once per model and task, not once per mode. With a ``folder``, each measurement is written as soon
    as it is finished, and the next call reads it from there: the rows in ``tasks.json``, mteb's own results in
    ``mteb/``, the sizes of the models in ``models.json``. Nothing else is written, except that importing mteb creates
    its empty cache folder, ``~/.cache/mteb`` or MTEB_CACHE.

    Args:
        tasks: Result of `leaf_st.evaluation.tasks.find.find_tasks`.
        teacher: The teacher; None if ``modes`` is only "standard".
        student: The student.
        modes: Modes to measure.
        folder: Results folder of this student and teacher; created if it does not exist.
        batch_size: Texts per batch.
        shared: Vectors that the teacher made for other students, by the name of the task, to which this call adds; None
            if the teacher has no other student.

    Returns:
        A row for each task and mode, in the order of the arguments. A task with an undefined score in one of ``modes``
        has no rows, because a mean over sets needs each mode; a warning names the task.

    Raises:
        InputError: If the modes, a task's data, the models' vectors or the folder cannot be used. Finished measurements
            are kept.
    """
    possible = [mode for mode in modes if any(_has(task, mode) for task in tasks)]
    if not possible:
        raise InputError(
            "mode asymmetric: expected a task with queries and documents, found none: name one, or another mode"
        )
    require_one_model(student)
    check_modes(possible, teacher, student)
    runner = _Runner(teacher, student, folder, batch_size, shared)
    for task in tasks:
        runner.check(task)
    with _quiet_datasets():
        return [row for task in tasks for row in runner.measure(task, [mode for mode in possible if _has(task, mode)])]


@dataclass(frozen=True)
class _Outcome:
    """The result of a mode on a task, and the results of its parts if the task is an aggregate.

    ``seconds`` is None if the result was read from the cache.
    """

    result: TaskResult
    seconds: float | None = None
    queries: int | None = None
    documents: int | None = None
    parts: tuple[TaskResult, ...] = ()


class _Runner:
    """Measures two models on one task after another."""

    def __init__(
        self,
        teacher: Teacher | None,
        student: SentenceTransformer,
        folder: Path | None,
        batch_size: int,
        shared: defaultdict[str, Vectors] | None,
    ) -> None:
        self.teacher, self.student, self.batch_size, self.shared = teacher, student, batch_size, shared
        self.student_identity = identify(student)
        self.teacher_identity = None if teacher is None else teacher.identity
        self.rows: Path | None = None
        self.cache: mteb.ResultCache | None = None
        if folder is not None:
            if folder.exists() and not folder.is_dir():
                raise InputError(f"results folder {folder}: expected a folder, found a file: name another --output")
            self.rows = folder / TASKS_FILE
            require_same_models(self.rows, self.student_identity, self.teacher_identity)
            self.cache = mteb.ResultCache(folder / CACHE)
            require_same_sizes(folder, self._models())

    def check(self, task: AbsTask) -> None:
        """Check that earlier results with the name of ``task`` are results of the same set.

        Raises:
            InputError: If they are results of another set.
        """
        if self.rows is not None:
            place = task.path if isinstance(task, LocalTask) else None
            require_same_set(self.rows, task.metadata.name, task.metadata.type, place)

    def measure(self, task: AbsTask, modes: Sequence[Mode]) -> list[Result]:
        """Return the rows of a task, none if a score is undefined; each row is written as soon as it is finished."""
        rows = {}
        for mode, outcome in self._outcomes(task, modes):
            row = self._row(task, mode, outcome)
            if not math.isfinite(row.score):
                _logger.warning(
                    "%s is left out, because the score %s in mode %s is not defined (NaN), as for pairs that all have "
                    "the same similarity",
                    row.set,
                    row.metric,
                    mode,
                )
                if self.rows is not None and self.rows.exists():
                    remove_set(self.rows, row.set, modes)
                return []
            rows[mode] = row
            if self.rows is not None:
                # Only after a result: a model that cannot be measured must not claim the folder.
                models = self._models()
                known: Models = {"teacher": models["teacher"]} if mode == "teacher" else models
                write_sizes(self.rows.parent, known)
                write_results(self.rows, [row])
        return [rows[mode] for mode in modes]

    def _models(self) -> Models:
        models: dict[Role, tuple[Identity, TeacherOrStudent]] = {"student": (self.student_identity, self.student)}
        if self.teacher is not None and self.teacher_identity is not None:
            models["teacher"] = self.teacher_identity, self.teacher
        return models

    def _outcomes(self, task: AbsTask, modes: Sequence[Mode]) -> Iterator[tuple[Mode, _Outcome]]:
        if not isinstance(task, AbsTaskAggregate):
            yield from self._run(task, modes)
            return
        parts: dict[Mode, list[_Outcome]] = {mode: [] for mode in modes}
        for part in task.metadata.tasks:
            for mode, outcome in self._run(part, modes):
                parts[mode].append(outcome)
        for mode, outcomes in parts.items():
            of_parts = tuple(outcome.result for outcome in outcomes)
            result = task.combine_task_results(list(of_parts))
            if self.cache is not None:
                self.cache.save_to_cache(result, model_meta(self._identity(mode)))
            spent = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
            yield mode, _Outcome(result, sum(spent) if len(spent) == len(outcomes) else None, parts=of_parts)

    def _run(self, task: AbsTask, modes: Sequence[Mode]) -> Iterator[tuple[Mode, _Outcome]]:
        """Yield the outcome of each mode: cached outcomes first, then the modes of one document model together."""
        known = {mode: self._known(task, mode) for mode in modes}
        complete = {mode: found for mode, found in known.items() if found and not found.get_missing_evaluations(task)}
        yield from ((mode, _Outcome(found)) for mode, found in complete.items())
        missing = [mode for mode in modes if mode not in complete]
        missing.sort(key=lambda mode: ROLES[mode]["document"] == "student")
        if not missing:
            return
        data = loaded(task)
        with tqdm(desc=task.metadata.name, unit="text") as bar:
            embedder = Embedder(
                teacher=self.teacher,
                student=self.student,
                modes=missing,
                batch_size=self.batch_size,
                progress=bar.update,
                shared=None if self.shared is None else self.shared[task.metadata.name],
            )
            queries, documents = _sizes(data)
            if queries is not None and documents is not None:
                bar.total = queries * embedder.passes("query") + documents * embedder.passes("document")
            for mode in missing:
                measured = mteb.evaluate(
                    ModeEncoder(embedder, mode, self._identity(mode)),
                    _fresh_copy(data),
                    cache=self.cache,  # even if None: mteb would otherwise read and write scores in the home folder
                    overwrite_strategy="only-missing" if known[mode] else "always",
                    co2_tracker=False,  # codecarbon, if installed, would look up the location online
                    encode_kwargs={"batch_size": self.batch_size, "show_progress_bar": False},
                    show_progress_bar=False,
                )
                yield mode, _Outcome(measured.task_results[0], embedder.seconds(mode), *_sizes(data))
                embedder.finish(mode)

    def _known(self, task: AbsTask, mode: Mode) -> TaskResult | None:
        """Return mteb's cached result on exactly this data: mteb itself would also accept results of other data."""
        if self.cache is None:
            return None
        try:
            found = self.cache.load_task_result(task.metadata.name, model_meta(self._identity(mode)))
        except ValueError:  # a process that was killed while mteb wrote leaves an incomplete file
            return None
        return found if found is not None and found.is_mergeable(task) else None

    def _row(self, task: AbsTask, mode: Mode, outcome: _Outcome) -> Result:
        measured = self.teacher_identity if mode == "teacher" else self.student_identity
        assert measured is not None  # check_modes
        of_task = outcome.result.validate_and_filter_scores(task)
        score = 100 * float(of_task.get_score())
        row = Result(
            set=task.metadata.name,
            mode=mode,
            metric=task.metadata.main_score,
            score=score,
            model=measured.name,
            teacher=None if self.teacher_identity is None else self.teacher_identity.name,
            seconds=outcome.seconds,
            queries=outcome.queries,
            documents=outcome.documents,
            type=task.metadata.type,
            revision=measured.revision,
            teacher_revision=None if self.teacher_identity is None else self.teacher_identity.revision,
            path=str(task.path) if isinstance(task, LocalTask) else None,
            data=_data_of(task),
            place=None if self.rows is None else _place(task, self.rows.parent),
            query_scores=query_scores(outcome.parts or [of_task], score),
        )
        return row if outcome.seconds is not None else self._with_known_times(row)

    def _with_known_times(self, row: Result) -> Result:
        """Return ``row``, whose score mteb cached, with the time and the sizes that were recorded with that score."""
        written = read_rows(self.rows, Result) if self.rows is not None and self.rows.exists() else []
        for old in written:
            if (old.set, old.mode) == (row.set, row.mode) and old.data in (None, row.data):
                return replace(row, seconds=old.seconds, queries=old.queries, documents=old.documents)
        return row

    def _identity(self, mode: Mode) -> Identity:
        if mode == "standard" or self.teacher_identity is None:
            return self.student_identity
        return self.teacher_identity if mode == "teacher" else self.student_identity.with_teacher(self.teacher_identity)


def _has(task: AbsTask, mode: Mode) -> bool:
    return mode != "asymmetric" or task.metadata.type in TWO_SIDED


def _place(task: AbsTask, folder: Path) -> str | None:
    """Return the path of a local set, relative to the ``folder`` of the results; None for other tasks.

    The path that the user gave depends on the folder in which the command ran.
    """
    if not isinstance(task, LocalTask):
        return None
    with suppress(ValueError):  # on another drive of Windows
        return os.path.relpath(task.path.resolve(), folder.resolve())
    return None


def _data_of(task: AbsTask) -> str:
    """Return the revision of the task's data, and the subsets and splits to measure if a benchmark selects some."""
    revision = task.metadata.revision
    whole = set(task.metadata.hf_subsets), set(task.metadata.eval_splits)
    subsets, splits = set(task.hf_subsets), set(task.eval_splits)
    return revision if (subsets, splits) == whole else f"{revision} {sorted(subsets)} {sorted(splits)}"


def _fresh_copy(task: AbsTask) -> AbsTask:
    """Return ``task`` in its state right after loading, so that each mode draws the same samples.

    The copy keeps the score of each query.
    """
    again = copy.copy(task)
    again.rng_state, again.np_rng = copy.deepcopy((task.rng_state, task.np_rng))
    keep_query_scores(again)
    return again


def _sizes(task: AbsTask) -> tuple[int | None, int | None]:
    """Return the numbers of queries and documents; None for tasks without them."""
    if not isinstance(task, AbsTaskRetrieval):
        return None, None
    splits = [task.dataset[subset][split] for subset in task.hf_subsets for split in task.eval_splits]
    return sum(len(split["queries"]) for split in splits), sum(len(split["corpus"]) for split in splits)


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Hide the progress bars of datasets' map, which mteb calls for each corpus."""
    hidden_before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden_before:
            datasets.enable_progress_bars()
