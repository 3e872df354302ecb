"""How many steps fit into a time budget: measured by training for a moment, on the same texts and the same code.

The answer is written into the run's recipe, so that everything after it (rate schedule, resuming) depends on a number
of steps and never on a clock.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from leaf_st.errors import InputError
from leaf_st.recipe import Kind, Recipe
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.texts import Text
from leaf_st.training.train import new_student, training_arguments
from leaf_st.training.trainer import LeafTrainer

# Whole epochs of them are trained: some batches alone would say little, lengths differ so. The first of two is not
# timed: each new shape of a batch has its kernels made once, which can double the time of a short trial.
_TRIAL_TEXTS = 1536
_TRIAL_BATCHES = 16  # at least: the last of an epoch is smaller
_MARGIN = 0.95  # machines are not equally fast all the time


def trial_texts(recipe: Recipe) -> int:
    """Return how many texts a trial of ``recipe`` wants."""
    batch = training_arguments(recipe, Path(), "cpu").per_device_train_batch_size
    return max(_TRIAL_TEXTS, _TRIAL_BATCHES * batch)


class _RandomTeacher:
    """Gives random vectors: a trial needs targets of the right shape, not good ones."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.fingerprint = fingerprint

    def embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Return vectors of norm 1, shape (n, d)."""
        vectors = np.random.default_rng(0).normal(size=(len(texts), self.fingerprint.dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors, dtype=np.float32)


class _EpochClock(TrainerCallback):
    """Notes when each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


class Pace(NamedTuple):
    """How fast a student is on this machine.

    Attributes:
        step: Seconds of an optimizer step.
        row: Seconds of the validation of one row.
    """

    step: float
    row: float


def steps_within(recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], device: str | None = None) -> int:
    """Return the optimizer steps that fit into the recipe's budget, its validations included.

    Several processes try together, as they will train, and all return what the first one found.

    Args:
        recipe: Has `training.budget_minutes`.
        fingerprint: The teacher's.
        texts: A sample of the training texts.
        device: Where to train; sentence-transformers' choice if None.

    Raises:
        InputError: If not even one step fits.
    """
    return steps_at(recipe, measure_pace(recipe, fingerprint, texts, device))


def steps_at(recipe: Recipe, pace: Pace) -> int:
    """Return the optimizer steps that fit into the recipe's budget at ``pace``, as `steps_within` does."""
    minutes = recipe.training.budget_minutes or 0.0
    seconds = minutes * 60 * _MARGIN
    validation = pace.row * recipe.training.held_out_rows
    every = training_arguments(recipe, Path(), PartialState().device.type).eval_steps or 1
    # Below 1, as the trainer reads it, it is a share of the run; otherwise a number of steps.
    steps = int((seconds - validation / every) / pace.step if every < 1 else seconds / (pace.step + validation / every))
    if steps < 1:
        raise InputError(
            f"training.budget_minutes={minutes}: a step takes {pace.step:.2f} s and a validation {validation:.0f} s on "
            "this machine, so nothing fits: give more time or hold out fewer rows"
        )
    return steps


def measure_pace(recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], device: str | None = None) -> Pace:
    """Train the student of ``recipe`` for two epochs of ``texts``, and time the second one."""
    with tempfile.TemporaryDirectory(prefix="leaf-st-budget-") as folder:
        return Pace(*broadcast_object_list(list(_trial(recipe, fingerprint, texts, Path(folder), device))))


def _trial(recipe: Recipe, fingerprint: Fingerprint, texts: Sequence[Text], folder: Path, device: str | None) -> Pace:
    store = precompute(texts, _RandomTeacher(fingerprint), folder / "store", total=len(texts))
    assert store is not None  # one partition makes the whole
    quiet = {
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "num_train_epochs": 2,
    }
    arguments = {**recipe.training.arguments, **quiet, "max_steps": -1}
    trial = replace(recipe, training=replace(recipe.training, arguments=arguments))
    student = new_student(recipe, fingerprint, device)
    trainer = LeafTrainer(student, store, trial.training, training_arguments(trial, folder, student.device.type))
    clock = _EpochClock()
    trainer.add_callback(clock)
    for printing in (ProgressCallback, PrinterCallback):  # what a trial learns is of no interest
        trainer.remove_callback(printing)
    trainer.train()
    first, second = clock.ends
    started = time.perf_counter()
    trainer.evaluate()
    row = (time.perf_counter() - started) / trainer.held_out_rows
    return Pace((second - first) / (trainer.state.global_step / 2), row)
