"""Measuring the checkpoints of a run for the measurement ``margin`` (paper 3.3, appendix F).

Each checkpoint is a point: its mean L2 to the teacher's vectors of the held-out rows, and its nDCG@10. In the paper
the student embeds both sides (standard mode); this module also measures asymmetric mode.
"""

import hashlib
import json
import logging
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import read_json
from leaf_st.errors import InputError
from leaf_st.evaluation.alignment import AlignmentEvaluator
from leaf_st.evaluation.beir import check_folders, revision_of
from leaf_st.evaluation.measurements.over_sets import retrieval_sets
from leaf_st.evaluation.measurements.trend import FEWEST, TEACHER_ROW, MarginRow, Point
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.rows import part_file, read_or_make
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.models.identity import identify
from leaf_st.models.load import load_model
from leaf_st.recipe import Recipe
from leaf_st.run_folder import CHECKPOINTS, MODEL, RECIPE, STORE, read_record, run_of
from leaf_st.student.static import is_static
from leaf_st.teacher.open import open_teacher_of_run
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import intact_store
from leaf_st.training.checkpoints import complete_checkpoints
from leaf_st.training.schedule import CyclicDecay
from leaf_st.training.trainer import held_out_rows

_NAME = "margin"

_logger = logging.getLogger(__name__)


def measure_margin(run: Path, sets: Sequence[Path], folder: Path) -> list[MarginRow]:
    """Measure every checkpoint of ``run`` that its recipe kept, in both modes of a student.

    Checkpoints at the start rate of a cycle are skipped, as in the paper (footnote 6). With decay by epoch, such a
    checkpoint is the first one of a cycle. The teacher embeds each text once, and its vectors stay in memory. The
    error of a checkpoint and its scores on a set are written to ``folder`` as soon as they are measured, under a hash
    of the models and the data. A repeated call reads finished parts from there.

    Args:
        run: Folder of a finished run, or its model folder.
        sets: BEIR folders; by default the sets of the recipe that exist.
        folder: Results folder.

    Returns:
        The teacher's rows, then the rows of each checkpoint, by step.

    Raises:
        InputError: If the run has too few checkpoints or is not finished, a set cannot be used, or the results folder
            belongs to other models.
    """
    run = run_of(run) or run
    recipe = _recipe(run)
    checkpoints, data = _checkpoints(run, recipe), _sets(recipe, sets)
    if not (run / MODEL).is_dir():
        raise InputError(
            f"{run / MODEL}: expected the trained student, found no such folder: run `leaf-st train` first"
        )
    in_use = load_model(str(run / MODEL))
    teacher = _cached(open_teacher_of_run(run))
    models: Models = {"teacher": (teacher.identity, teacher), "student": (identify(in_use), in_use)}
    require_same_sizes(folder, models)
    targets = _held_out(run, recipe)
    taught = Point(TEACHER_ROW, None, 0.0, len(targets.texts))
    rows = [_row(taught, result) for result in _search(data, teacher, in_use, [TEACHER_ROW], folder)]
    write_sizes(folder, models)
    for path in checkpoints.values():
        student = load_model(str(path))
        student.prompts = in_use.prompts
        # Cut texts as in training: the target of a long text may cover only the beginning of the text.
        _set_length(student, recipe.training.max_length or in_use.max_seq_length)
        point = _point(path, student, targets, folder)
        _set_length(student, in_use.max_seq_length)
        found = _search(data, teacher, student, STUDENT_MODES, folder)
        rows += [_row(point, result) for result in found]
        _logger.info(_summary(point, found))
    return rows


def _point(checkpoint: Path, student: SentenceTransformer, targets: AlignmentEvaluator, folder: Path) -> Point:
    def measure() -> list[Point]:
        step = int(checkpoint.name.rpartition("-")[2])
        return [Point(checkpoint.name, step, targets(student)["l2"], len(targets.texts))]

    texts = hashlib.sha256(json.dumps(targets.texts).encode() + targets.targets.tobytes()).hexdigest()
    (point,) = read_or_make(part_file(folder, _NAME, checkpoint.name, str(identify(student)), texts), Point, measure)
    return point


def _row(point: Point, result: Result) -> MarginRow:
    return MarginRow(**vars(point), set=result.set, mode=result.mode, score=result.score)


def _summary(point: Point, results: Sequence[Result]) -> str:
    scores = {mode: [row.score for row in results if row.mode == mode] for mode in STUDENT_MODES}
    means = ", ".join(f"{mode} {statistics.fmean(of_mode):.2f}" for mode, of_mode in scores.items())
    return f"{point.checkpoint}: mean L2 {point.l2:.4f}, nDCG@10 {means}"


def _recipe(run: Path) -> Recipe:
    try:
        return Recipe.from_dict(read_record(run)["resolved"])
    except KeyError:
        raise InputError(f"{run / RECIPE}: expected the record of a run, found none: name a run folder") from None


def _sets(recipe: Recipe, sets: Sequence[Path]) -> list[Path]:
    folders = list(sets) or retrieval_sets(recipe)
    if not folders:
        raise InputError("--data: expected BEIR folders, found none, and no set of the recipe exists: name one")
    check_folders(folders)
    return folders


def _checkpoints(run: Path, recipe: Recipe) -> dict[int, Path]:
    """Return the checkpoints to measure, by step."""
    found = complete_checkpoints(run / CHECKPOINTS)
    kept = {step: path for step, path in found.items() if not _is_at_start_rate(path, recipe)} or found
    if len(kept) < FEWEST:
        raise InputError(
            f"{run / CHECKPOINTS}: expected at least {FEWEST} checkpoints after the start of a cycle, found "
            f"{len(kept)}: train again with --set save_total_limit=10 --set save_steps=0.1 --set eval_steps=0.1 "
            "--output OTHER"
        )
    if left_out := [found[step].name for step in found if step not in kept]:
        _logger.warning("left out, because they are at the start of a cycle: %s", ", ".join(left_out))
    return kept


def _is_at_start_rate(checkpoint: Path, recipe: Recipe) -> bool:
    """Return whether the last step before ``checkpoint`` used the start rate of a cycle."""
    try:
        state = read_json(checkpoint / "trainer_state.json")
        step, per_epoch = state["global_step"], round(state["global_step"] / state["epoch"])
        decay = CyclicDecay(state["max_steps"], per_epoch, 0.0, recipe.training.cycles, recipe.training.decay)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{checkpoint} is damaged ({error!r}): delete this folder") from error
    return decay(step - 1) == 1


def _held_out(run: Path, recipe: Recipe) -> AlignmentEvaluator:
    store = intact_store(run / STORE)
    rows = held_out_rows(store, recipe.training).tolist()
    return AlignmentEvaluator(store.prompted(rows), store.embeddings(rows))


def _set_length(student: SentenceTransformer, tokens: int | None) -> None:
    if not is_static(student):  # a static student reads all tokens
        student.max_seq_length = tokens


def _cached(teacher: Teacher) -> Teacher:
    """Return ``teacher``, changed so that it keeps the vectors that it computes."""

    def cached(encode: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[tuple[str, ...], NDArray[np.float32]] = {}

        def cached_encode(texts: Sequence[str], **options: Any) -> NDArray[np.float32]:  # noqa: ANN401  (passed to encode)
            key = tuple(texts)
            if key not in known:
                known[key] = np.asarray(encode(texts, **options), np.float32)
            return known[key]

        return cached_encode

    for encode in (teacher.encode_query, teacher.encode_document):
        setattr(teacher, encode.__name__, cached(encode))
    return teacher


def _search(
    folders: Sequence[Path],
    teacher: Teacher,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    results: Path,
) -> list[Result]:
    made_of = [str(teacher.identity), *([] if modes == [TEACHER_ROW] else [str(identify(student))])]
    found = []
    for folder in folders:
        part = part_file(results, _NAME, folder.resolve().name, *made_of, revision_of(folder))
        found += read_or_make(part, Result, partial(_evaluate, folder, teacher, student, modes))
    return found


def _evaluate(folder: Path, teacher: Teacher, student: SentenceTransformer, modes: Sequence[Mode]) -> list[Result]:
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate_tasks  # imports mteb, which takes seconds

    return evaluate_tasks(find_tasks([str(folder)]), teacher=teacher, student=student, modes=modes)
