"""A training of one step with a tiny student, which finds arguments that only training refuses, before any work."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from transformers import PrinterCallback, ProgressCallback

from leaf_st.errors import InputError
from leaf_st.models.random_weights import WIDTH, save_tiny_teacher
from leaf_st.recipe import KINDS, Recipe
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.texts import Text
from leaf_st.training.arguments import DEFAULTS, accelerate_variables, training_arguments
from leaf_st.training.budget import RandomTeacher
from leaf_st.training.divergence import DivergedError
from leaf_st.training.trainer import LeafTrainer

# Most recipes set only these, which need no trial. Tests train with each of them.
_USUAL = {*DEFAULTS, "max_steps", "num_train_epochs", "use_cpu", "bf16", "gradient_accumulation_steps", "max_grad_norm"}
# Arguments that would slow the trial, or send its losses elsewhere.
_REPLACED = {
    "max_steps": 1,
    "per_device_train_batch_size": 8,  # which the texts of the trial fill
    "eval_steps": 1,
    "save_steps": 1,
    "logging_steps": 1,
    "eval_delay": 0,
    "report_to": "none",
    "torch_compile": False,
}
# Arguments that name parameters or modules of the real student, and values that are right for every student.
_OF_THE_STUDENT: dict[str, Any] = {"learning_rate_mapping": {}, "optim_target_modules": "all-linear"}
# Four texts of each length, so that a batch of eight texts of similar length has padding.
_TEXTS = [Text(f"text {number} of a trial" + number // 4 * " run", KINDS[number % len(KINDS)]) for number in range(40)]


def for_another_student(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return training ``arguments`` without names of the recipe's student, for a training of a tiny student."""
    return {name: _OF_THE_STUDENT.get(name, value) for name, value in arguments.items()}


def try_arguments(recipe: Recipe, fingerprint: Fingerprint, device: str) -> None:
    """Train a tiny student for one step with the training arguments of ``recipe``, if some of them are unusual.

    Args:
        recipe: The recipe.
        fingerprint: The teacher's fingerprint.
        device: Type of the device that the training will use.

    Raises:
        InputError: If the training fails.
    """
    given = recipe.training.arguments
    # Arguments of several processes need the real student.
    if (given.keys() <= _USUAL and not accelerate_variables()) or PartialState().num_processes > 1:
        return
    trial = partial(_failure, recipe, fingerprint, device)
    if (error := trial(given)) is None:
        return
    if isinstance(error, InputError) and not isinstance(error, DivergedError):
        raise error
    names, error = _causes(trial, given, error)
    reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if "exited unexpectedly" in reason:  # the child has printed its own error
        reason += "; a script that uses workers must be a file, and needs `if __name__ == '__main__':`"
    if names:
        remedy = f"change or remove {', '.join(names)}"
    elif variables := accelerate_variables():
        remedy = f"no argument causes it: unset {variables}, or correct what the error names"
    else:
        remedy = "correct what the error names: no argument causes it"
    raise InputError(
        f"training arguments: expected arguments that work together, but a trial of one step failed with "
        f"{type(error).__name__}: {reason}; {remedy}"
    ) from error


def _causes(
    trial: Callable[[Mapping[str, Any]], Exception | None], given: Mapping[str, Any], error: Exception
) -> tuple[list[str], Exception]:
    """Return the names of the arguments that a failure needs, and the error of a trial with only these.

    The trial is repeated without each argument in turn. An argument without which it fails in the same way is innocent.
    """
    needed = {name: value for name, value in given.items() if name not in _REPLACED}
    for name in sorted(needed):
        fewer = {other: value for other, value in needed.items() if other != name}
        found = trial(fewer)
        if found is not None and type(found) is type(error):
            needed, error = fewer, found
    return sorted(needed), error


def _failure(recipe: Recipe, fingerprint: Fingerprint, device: str, arguments: Mapping[str, Any]) -> Exception | None:
    """Return the error of a trial with ``arguments`` in place of those of ``recipe``; None if the trial succeeds."""
    progress_and_logs = StringIO()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="leaf-st-trial-") as folder,
            torch.random.fork_rng(),
            redirect_stdout(progress_and_logs),
            redirect_stderr(progress_and_logs),
        ):
            tried = replace(recipe, training=replace(recipe.training, arguments=arguments))
            _train(tried, replace(fingerprint, dimension=WIDTH, normalized=True), device, Path(folder))
    except Exception as error:  # arguments reach code of transformers, accelerate and torch
        return error
    return None


def _train(recipe: Recipe, fingerprint: Fingerprint, device: str, folder: Path) -> None:
    arguments = {**for_another_student(recipe.training.arguments), **_REPLACED}
    # More than two accumulated batches would only slow the trial.
    arguments["gradient_accumulation_steps"] = min(2, arguments.get("gradient_accumulation_steps", 1))
    spec = replace(recipe.training, arguments=arguments, held_out_rows=4, max_length=None, cycles=1)
    student = SentenceTransformer(str(save_tiny_teacher(folder / "student")), device=device)
    store = precompute(_TEXTS, RandomTeacher(fingerprint), folder / "store")
    assert store is not None  # the only partition completes the store
    args = training_arguments(replace(recipe, training=spec), folder, device)
    trainer = LeafTrainer(student, store, spec, args, store if recipe.general else None)
    for printing in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(printing)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of losses that mean nothing
    try:
        trainer.train()
    finally:
        logging.disable(level)
