"""How much approximation error retrieval bears: the checkpoints of a run (paper 3.3, appendix F).

Each gives a point: its mean L2 to the teacher's vectors of the held-out rows, and its nDCG@10. In the paper the student
embeds both sides (standard mode); here asymmetric mode is measured beside it.
"""

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.alignment import AlignmentEvaluator
from leaf_st.evaluation.beir import beir_files, check_folders
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import STUDENT_MODES, Result
from leaf_st.evaluation.rows import once, part_of
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.models.identity import hash_files, identify
from leaf_st.recipe import Recipe
from leaf_st.student.load import load_student, load_teacher, read_record
from leaf_st.student.static import is_static
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.checkpoints import complete_checkpoints
from leaf_st.training.schedule import CyclicDecay
from leaf_st.training.trainer import held_out_rows

TEACHER: Literal["teacher"] = "teacher"  # as checkpoint and as mode
_WHAT = "margin"
FEWEST = 3  # points that a line does not go through anyway


@dataclass(frozen=True)
class Point:
    """A checkpoint, or the teacher.

    Attributes:
        checkpoint: Name of its folder; "teacher" for the teacher.
        step: Optimizer step; None for the teacher.
        l2: Mean distance to the teacher's vectors of the held-out rows; 0 for the teacher.
        held_out: Number of these rows.
    """

    checkpoint: str
    step: int | None
    l2: float
    held_out: int


@dataclass(frozen=True)
class MarginRow(Point):
    """A checkpoint, or the teacher, on one set.

    Attributes:
        set: Name of the retrieval set.
        mode: Who embedded queries and documents.
        score: nDCG@10 in percent.
    """

    set: str
    mode: Mode
    score: float


def measure_margin(run: Path, sets: Sequence[Path], folder: Path) -> list[MarginRow]:
    """Measure every checkpoint of ``run`` that its recipe asked to keep, in both modes of a student.

    Left out, as in the paper (footnote 6), are those at the start rate of a cycle: by epoch, its first one. The teacher
    embeds each text once, and its vectors of all sets are kept in memory. The error of a checkpoint and its scores on a
    set are kept in ``folder`` as soon as they are measured, under a hash of the models and the data, and taken from
    there the next time.

    Args:
        run: Folder of a finished run.
        sets: BEIR folders; those of the recipe that are there if none.
        folder: Results folder.

    Returns:
        The teacher's rows, then those of each checkpoint, by step.

    Raises:
        InputError: If the run has too few checkpoints or is not finished, a set cannot be used, or the results folder
            is of other models.
    """
    recipe = _recipe(run)
    checkpoints, data = _checkpoints(run, recipe), _sets(recipe, sets)
    if not (run / "model").is_dir():
        raise InputError(f"{run / 'model'} is not there: run `leaf-st train` first")
    in_use = load_student(str(run / "model"))
    teacher = _remembering(load_teacher(recipe.teacher, in_use))
    models: Models = {"teacher": (identify(teacher), teacher), "student": (identify(in_use), in_use)}
    require_same_sizes(folder, models)
    targets = _held_out(run, recipe)
    taught = Point(TEACHER, None, 0.0, len(targets.texts))
    rows = [_row(taught, result) for result in _search(data, teacher, in_use, [TEACHER], folder)]
    write_sizes(folder, models)
    for path in checkpoints.values():
        student = load_student(str(path))
        student.prompts = in_use.prompts
        # As in training: the targets may be of the head of a text, where the student in use reads on.
        _read_as_far(student, recipe.training.max_length or in_use.max_seq_length)
        point = _point(path, student, targets, folder)
        _read_as_far(student, in_use.max_seq_length)
        found = _search(data, teacher, student, STUDENT_MODES, folder)
        rows += [_row(point, result) for result in found]
        print(_said(point, found), flush=True)
    return rows


def _point(checkpoint: Path, student: SentenceTransformer, targets: AlignmentEvaluator, folder: Path) -> Point:
    def measure() -> list[Point]:
        step = int(checkpoint.name.rpartition("-")[2])
        return [Point(checkpoint.name, step, targets(student)["l2"], len(targets.texts))]

    texts = hashlib.sha256(json.dumps(targets.texts).encode() + targets.targets.tobytes()).hexdigest()
    (point,) = once(part_of(folder, _WHAT, checkpoint.name, str(identify(student)), texts), Point, measure)
    return point


def _row(point: Point, result: Result) -> MarginRow:
    return MarginRow(**vars(point), set=result.set, mode=result.mode, score=result.score)


def _said(point: Point, results: Sequence[Result]) -> str:
    scores = {mode: [row.score for row in results if row.mode == mode] for mode in STUDENT_MODES}
    means = ", ".join(f"{mode} {statistics.fmean(of_mode):.2f}" for mode, of_mode in scores.items())
    return f"{point.checkpoint}: mean L2 {point.l2:.4f}, nDCG@10 {means}"


def _recipe(run: Path) -> Recipe:
    try:
        return Recipe.from_dict(read_record(run)["resolved"])
    except KeyError:
        raise InputError(
            f"{run / 'recipe.json'}: expected the record of a run, found none: name a run folder"
        ) from None


def _sets(recipe: Recipe, sets: Sequence[Path]) -> list[Path]:
    folders = list(sets) or [Path(name) for name in recipe.evaluate_on if Path(name).is_dir()]
    if not folders:
        raise InputError("no retrieval set of the recipe is here: name BEIR folders")
    check_folders(folders)
    return folders


def _checkpoints(run: Path, recipe: Recipe) -> dict[int, Path]:
    """Return the checkpoints to measure, by step."""
    found = complete_checkpoints(run / "checkpoints")
    kept = {step: path for step, path in found.items() if not _is_at_start_rate(path, recipe)} or found
    if len(kept) < FEWEST:
        raise InputError(
            f"{run / 'checkpoints'}: expected at least {FEWEST} checkpoints, those at the start rate of a cycle left "
            f"out, found {len(kept)}: train into another folder with --set save_total_limit=10, the number that is "
            "kept, and --set save_steps=0.1 --set eval_steps=0.1, one for each tenth of the run"
        )
    return kept


def _is_at_start_rate(checkpoint: Path, recipe: Recipe) -> bool:
    """Return whether the step before ``checkpoint`` had the rate that a cycle starts with."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        step, per_epoch = state["global_step"], round(state["global_step"] / state["epoch"])
        decay = CyclicDecay(state["max_steps"], per_epoch, 0.0, recipe.training.cycles, recipe.training.decay)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{checkpoint} is damaged ({error!r}): delete it") from error
    return decay(step - 1) == 1


def _held_out(run: Path, recipe: Recipe) -> AlignmentEvaluator:
    store = EmbeddingStore(run / "store")
    rows = held_out_rows(store, recipe.training).tolist()
    return AlignmentEvaluator(store.prompted(rows), store.embeddings(rows))


def _read_as_far(student: SentenceTransformer, tokens: int | None) -> None:
    if not is_static(student):  # which reads all
        student.max_seq_length = tokens


def _remembering(teacher: SentenceTransformer) -> SentenceTransformer:
    """Let ``teacher`` keep the vectors of what it embeds."""

    def remembered(encode: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[tuple[str, ...], NDArray[np.float32]] = {}

        def recall(texts: Sequence[str], **options: Any) -> NDArray[np.float32]:  # noqa: ANN401  (as encode has them)
            key = tuple(texts)
            if key not in known:
                known[key] = np.asarray(encode(texts, **options), np.float32)
            return known[key]

        return recall

    for encode in (teacher.encode_query, teacher.encode_document):
        setattr(teacher, encode.__name__, remembered(encode))
    return teacher


def _search(
    folders: Sequence[Path],
    teacher: SentenceTransformer,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    results: Path,
) -> list[Result]:
    made_of = [str(identify(model)) for model in ((teacher,) if modes == [TEACHER] else (teacher, student))]
    found = []
    for folder in folders:
        part = part_of(results, _WHAT, folder.resolve().name, *made_of, hash_files(beir_files(folder)))
        found += once(part, Result, partial(_evaluate, folder, teacher, student, modes))
    return found


def _evaluate(
    folder: Path, teacher: SentenceTransformer, student: SentenceTransformer, modes: Sequence[Mode]
) -> list[Result]:
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate  # imports mteb, which takes seconds

    return evaluate(find_tasks([str(folder)]), teacher=teacher, student=student, modes=modes)
