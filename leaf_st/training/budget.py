"""Measure how many training steps fit into a time budget, in a short trial on the same texts with the same code.

The result becomes part of the run's recipe, so that the learning rates and a resumed training depend on a number of
steps and never on a clock.
"""

import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text
from leaf_st.training.arguments import training_arguments
from leaf_st.training.divergence import StopIfDiverged
from leaf_st.training.schedule import steps_of_run
from leaf_st.training.trainer import LeafTrainer, held_out_rows

# A trial runs complete epochs, because batches differ in length and a few of them would not be representative. Only
# the second epoch is timed: kernels are compiled for each new shape of a batch, which can double the time of the first.
_TRIAL_TEXTS = 1536
_TRIAL_BATCHES = 16  # at least, because the last batch of an epoch is smaller
_MARGIN = 0.95  # the speed of a machine varies


def trial_texts(recipe: Recipe) -> int:
    """Return the number of texts for a trial of ``recipe``."""
    batch = training_arguments(recipe, None, "cpu").per_device_train_batch_size
    return max(_TRIAL_TEXTS, _TRIAL_BATCHES * batch)


class RandomTeacher:
    """Returns random vectors: a trial only needs targets of the right shape."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.fingerprint = fingerprint

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of norm 1, shape (n, d)."""
        vectors = np.random.default_rng(0).normal(size=(len(texts), self.fingerprint.dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors, dtype=np.float32)

    encode_document = encode_query


class _EpochClock(TrainerCallback):
    """Records the time at the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


class Pace(NamedTuple):
    """The speed of a student on this machine.

    Attributes:
        step: Seconds per optimizer step.
        row: Seconds per validated row.
    """

    step: float
    row: float


def steps_of_budget(
    recipe: Recipe, store: EmbeddingStore, general: EmbeddingStore | None, student: SentenceTransformer
) -> int:
    """Return the number of optimizer steps that fit into the recipe's budget, measured on rows of ``store``.

    Args:
        recipe: A recipe with `training.budget_minutes`.
        store: Texts and targets.
        general: Texts and targets of the general domain, which every validation reads.
        student: The untrained student, of which a copy is trained.

    Raises:
        InputError: If the budget is too short for one step.
    """
    # Random rows, because the first texts of a source may be longer or shorter than the rest.
    count = trial_texts(recipe) * PartialState().num_processes
    rows = np.unique(np.random.default_rng(0).integers(len(store), size=count)).tolist()
    validation = len(held_out_rows(store, recipe.training)) + (0 if general is None else len(general))
    spec = replace(recipe.training, held_out_rows=max(1, validation))
    return steps_for_budget(replace(recipe, training=spec), store.fingerprint, store.texts(rows), student)


def steps_for_budget(
    recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], student: SentenceTransformer
) -> int:
    """Return the number of optimizer steps that fit into the recipe's budget, validations included.

    Several processes run the trial together, as they will train, and all return the result of the first process.

    Args:
        recipe: A recipe with `training.budget_minutes`.
        fingerprint: The teacher's fingerprint.
        texts: A sample of the training texts.
        student: The untrained student, of which a copy is trained.

    Raises:
        InputError: If the budget is too short for one step.
    """
    return steps_for_pace(recipe, measure_pace(recipe, fingerprint, texts, student))


def steps_for_pace(recipe: Recipe, pace: Pace) -> int:
    """Return the number of optimizer steps that fit into the recipe's budget at ``pace``, see `steps_for_budget`."""
    minutes = recipe.training.budget_minutes or 0.0
    seconds = minutes * 60 * _MARGIN
    validation = pace.row * recipe.training.held_out_rows
    every = training_arguments(recipe, None, PartialState().device.type).eval_steps or 1
    # The trainer reads a value below 1 as a share of the run, any other value as a number of steps.
    steps = int((seconds - validation / every) / pace.step if every < 1 else seconds / (pace.step + validation / every))
    if steps < 1:
        raise InputError(
            f"training.budget_minutes: expected enough time for one step ({pace.step:.2f} s on this machine) and its "
            f"validations ({validation:.0f} s each), found {minutes:g} minutes: set a longer budget or lower "
            "training.held_out_rows"
        )
    return steps


def with_steps(recipe: Recipe, steps: int, rows: int) -> Recipe:
    """Return ``recipe`` with ``steps`` optimizer steps, or with those of its num_train_epochs if these are fewer.

    Args:
        recipe: A recipe with `training.budget_minutes`.
        steps: Steps that fit into the budget.
        rows: Number of training texts.
    """
    spec = recipe.training
    if "num_train_epochs" in spec.arguments:
        args = training_arguments(recipe, None, PartialState().device.type)
        steps = min(steps, steps_of_run(rows, args))
    return replace(recipe, training=replace(spec, arguments={**spec.arguments, "max_steps": steps}))


def measure_pace(recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], student: SentenceTransformer) -> Pace:
    """Train a copy of ``student`` for two epochs of ``texts``, and time the second epoch."""
    copied = deepcopy(student)
    if recipe.training.max_length is not None:
        copied.max_seq_length = recipe.training.max_length
    with tempfile.TemporaryDirectory(prefix="leaf-st-budget-") as folder:
        return Pace(*broadcast_object_list(list(_trial(recipe, fingerprint, texts, Path(folder), copied))))


def _trial(
    recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], folder: Path, student: SentenceTransformer
) -> Pace:
    store = precompute(texts, RandomTeacher(fingerprint), folder / "store", total=len(texts))
    assert store is not None  # the only partition completes the store
    quiet = {
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "num_train_epochs": 2,
        # A step of n batches takes n times as long. The texts of a trial may not fill such a step.
        "gradient_accumulation_steps": 1,
        "report_to": "none",  # an integration would start a run at its service
    }
    arguments = {**recipe.training.arguments, **quiet, "max_steps": -1}
    trial = replace(recipe, training=replace(recipe.training, arguments=arguments))
    trainer = LeafTrainer(student, store, trial.training, training_arguments(trial, folder, student.device.type))
    clock = _EpochClock()
    trainer.add_callback(clock)
    for callback in (ProgressCallback, PrinterCallback, StopIfDiverged):  # the losses of a trial are meaningless
        trainer.remove_callback(callback)
    trainer.train()
    first, second = clock.ends
    args, accumulated = trainer.args, training_arguments(recipe, None, student.device.type)
    batch = args.train_batch_size * args.world_size
    # Without the rows that no batch had, if batches must be full.
    rows = min(trainer.training_rows, trainer.state.global_step // 2 * batch)
    started = time.perf_counter()
    trainer.evaluate()
    row = (time.perf_counter() - started) / trainer.held_out_rows
    return Pace((second - first) / rows * batch * accumulated.gradient_accumulation_steps, row)
