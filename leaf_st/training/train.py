"""The training stage: from a recipe, a store and an untrained student to the trained student's folder."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback

from leaf_st.errors import InputError
from leaf_st.models.identity import local_name
from leaf_st.models.portable import save_portable, unwritable_named
from leaf_st.recipe import Distance, Recipe
from leaf_st.run_folder import FIT
from leaf_st.sealed import write_sealed
from leaf_st.student.new import new_student
from leaf_st.student.projection import fit_projection
from leaf_st.student.static import fit_table
from leaf_st.teacher.different import require_different
from leaf_st.teacher.protocol import Fingerprint, Teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.arguments import named_arguments, training_arguments, unused_gpus
from leaf_st.training.checkpoints import last_complete_checkpoint
from leaf_st.training.divergence import DivergedError, require_finite
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.trainer import DOMAIN, GENERAL, LeafTrainer

_logger = logging.getLogger(__name__)


def initial_student(recipe: Recipe, fingerprint: Fingerprint, device: str | None = None) -> SentenceTransformer:
    """Build the student of ``recipe`` for the teacher of ``fingerprint``, before training.

    The recipe's seed determines the random weights of a new projection.

    Raises:
        InputError: If the student cannot be built.
    """
    torch.manual_seed(named_arguments(recipe, "cpu")["seed"])
    student = new_student(recipe, fingerprint, device)
    _check_learning_rates(recipe.training.arguments.get("learning_rate_mapping") or {}, student)
    return student


def _check_learning_rates(rates: Mapping[str, float], student: SentenceTransformer) -> None:
    """Check that each pattern of ``rates`` matches a parameter that the optimizer receives."""
    names = [name for name, _ in TeacherAlignedLoss(student).named_parameters()]
    for pattern in rates:
        if not any(re.search(pattern, name) for name in names):
            raise InputError(
                f"learning_rate_mapping: expected patterns of the student's parameters, such as {names[0]} and "
                f"{names[-1]}, found {pattern!r}, which matches none: correct the pattern"
            )


def train(
    recipe: Recipe,
    store: EmbeddingStore,
    run: Path,
    student: SentenceTransformer,
    *,
    teacher: Callable[[], Teacher] | None = None,
    record: Any = None,  # noqa: ANN401  (any JSON value)
    general: EmbeddingStore | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    evaluator: BaseEvaluator | None = None,
) -> SentenceTransformer:
    """Train ``student`` on ``store``, from the last checkpoint in ``run`` if one exists.

    Writes ``run/checkpoints``, ``run/results/training.json`` (the losses of the steps) and, last, ``run/model``. If
    several processes call this function, they train one student and the first process writes.

    Args:
        recipe: The recipe of the student.
        store: Texts and targets.
        run: The run folder.
        student: The untrained student from `initial_student`, which is trained in place.
        teacher: Function that opens the teacher, whose token vectors are the start of a static student. The function is
            not called for other students or if training resumes.
        record: JSON value that becomes ``recipe.json`` of the model.
        general: The store of the recipe's `general`. The results then have two losses, ``eval_domain_loss`` of the rows
            held out of ``store`` and ``eval_general_loss``.
        callbacks: Callbacks of the user.
        evaluator: Evaluator of sentence-transformers, called at each validation, in a training by one process.

    Returns:
        The student with the lowest validation loss, or that of the last step with `load_best_model_at_end=false`.

    Raises:
        InputError: If the store is too small or damaged or has the same vector for all texts, an argument is
            wrong, the teacher of a static student is missing, a different number of processes wrote the checkpoint, or
            the training diverges.
        KeyboardInterrupt: On Ctrl-C, after the current batch and a checkpoint.
    """
    max_length = student.max_seq_length
    if recipe.training.max_length is not None:
        student.max_seq_length = recipe.training.max_length
    arguments = training_arguments(recipe, run, student.device.type)
    if arguments.process_index == 0:
        if unused := unused_gpus(arguments):
            _logger.info(unused)
        for part in filter(None, (store, general)):
            part.require_intact()
        first = store.shard(0).embeddings  # an earlier version may have made the store
        require_different(store.fingerprint.teacher, first, whole=len(first) == len(store))
    with arguments.main_process_first(local=False):
        checkpoint = last_complete_checkpoint(
            run / "checkpoints", arguments.world_size, arguments.load_best_model_at_end
        )
    arguments.eval_on_start &= checkpoint is None  # a resumed training was validated at its start
    trainer = LeafTrainer(student, store, recipe.training, arguments, general, callbacks, evaluator)
    if trainer.held_out_rows < recipe.training.held_out_rows:
        _logger.info(
            "%s texts are held out for validation: at most one text in ten (training.held_out_rows is %s)",
            f"{trainer.held_out_rows:,}",
            f"{recipe.training.held_out_rows:,}",
        )
    if checkpoint is None and recipe.student.start is None:
        _fit_start(student, recipe, store, trainer.sample(recipe.student.closed_form_rows), teacher)
    try:
        with unwritable_named(run):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        require_finite(student, trainer.state, arguments)
    except DivergedError as error:
        raise InputError(f"{error}; then delete {run / 'checkpoints'} and run the same command again") from error
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # the student would stay under autocast
    if recipe.training.max_length is not None:
        student.max_seq_length = max_length
    if arguments.process_index == 0:
        (run / "results").mkdir(parents=True, exist_ok=True)
        write_sealed(run / "results" / "training.json", trainer.state.log_history)
        fit = recipe.teacher.fit
        # The teacher needs its fit to embed documents, and a user may have only the model folder.
        save_portable(student, run / "model", record, {FIT: fit} if fit else None)
        if general is not None:
            _logger.info(before_and_after(trainer, recipe.training.distance))
    # The results of this object have the same name as those of the saved student.
    student.model_card_data.set_model_id(local_name(recipe.name))
    trainer.accelerator.wait_for_everyone()
    return student


def _fit_start(
    student: SentenceTransformer,
    recipe: Recipe,
    store: EmbeddingStore,
    rows: Sequence[int],
    teacher: Callable[[], Teacher] | None,
) -> None:
    """Fit the closed-form start of the student to ``rows``; without rows its weights stay random."""
    if not rows:
        return
    _logger.info("the closed-form start of the student is fitted to %s texts", f"{len(rows):,}")
    texts, targets = store.prompted(rows), store.embeddings(rows)
    if not recipe.student.static:
        fit_projection(student, texts, targets)
    elif teacher is None:
        raise InputError("train: expected the teacher of a static student, found None: pass teacher=")
    else:
        fit_table(student, teacher(), texts, targets)


def before_and_after(trainer: LeafTrainer, distance: Distance) -> str:
    """Return one line with the losses on domain and general texts before training and of the selected model."""
    loss = "L2" if distance == "l2" else distance
    kept = trainer.state.best_global_step if trainer.args.load_best_model_at_end else trainer.state.global_step
    changes = []
    for name in (DOMAIN, GENERAL):
        key = f"eval_{name}_loss"
        losses = {row["step"]: row[key] for row in trainer.state.log_history if key in row}
        first, last = (f"{losses[step]:.4f}" if step in losses else "not measured" for step in (0, kept))
        changes.append(f"{name} {loss} {first} -> {last}")
    return ", ".join(changes)
