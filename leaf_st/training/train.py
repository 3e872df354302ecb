"""The training stage: from a recipe, a store and an untrained student to the trained student's folder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.models.portable import full_disk_named, save_portable
from leaf_st.recipe import Distance, Recipe
from leaf_st.student.build import build_student
from leaf_st.student.closed_form import fit_projection
from leaf_st.student.start import load_start
from leaf_st.student.static import build_static, fit_table
from leaf_st.teacher.local import LocalTeacher, bfloat16_is_fast
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.checkpoints import last_complete_checkpoint
from leaf_st.training.trainer import DOMAIN, GENERAL, LeafTrainer

logger = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
    "seed": 42,
    "learning_rate": 1e-4,  # paper 2.2
    "weight_decay": 0.01,  # paper 2.2
    "per_device_train_batch_size": 32,  # paper 2.2
    "per_device_eval_batch_size": 32,
    "optim": "adamw_torch_fused",
    "eval_strategy": "steps",
    "eval_steps": 0.1,
    "save_strategy": "steps",
    "save_steps": 0.1,
    "save_total_limit": 2,  # the best and the last
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "logging_steps": 50,
    "report_to": "none",
    "disable_tqdm": False,  # by default it goes with the verbosity of the log
}

_WITH_GENERAL: dict[str, Any] = {"metric_for_best_model": f"eval_{DOMAIN}_loss", "eval_on_start": True}

# What would be accepted and then have no effect, or do harm, and what says it instead.
_SAID_ELSEWHERE = {
    "output_dir": "--output",
    "prompts": "teacher.prompts",
    "batch_sampler": "nothing: batches hold texts of similar length",
    "lr_scheduler_type": "training.decay and training.cycles",
    "warmup_steps": "training.decay and training.cycles",
    "warmup_ratio": "training.decay and training.cycles",
}
_WHOLE_NUMBERS = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_steps": -1,
    "seed": 0,
}


def initial_student(recipe: Recipe, fingerprint: Fingerprint, device: str | None = None) -> SentenceTransformer:
    """Build the student of ``recipe`` for the teacher of ``fingerprint``, as its training begins.

    The recipe's seed determines the random weights of a new projection.

    Raises:
        InputError: If the student cannot be built.
    """
    torch.manual_seed(named_arguments(recipe, "cpu")["seed"])
    return new_student(recipe, fingerprint, device)


def train(
    recipe: Recipe,
    store: EmbeddingStore,
    run: Path,
    student: SentenceTransformer,
    *,
    teacher: LocalTeacher | None = None,
    record: Any = None,  # noqa: ANN401  (any JSON value)
    general: EmbeddingStore | None = None,
) -> SentenceTransformer:
    """Train ``student`` on ``store``, from the last checkpoint in ``run`` if there is one.

    Writes ``run/checkpoints``, ``run/results/training.json`` (the losses of the steps) and, last, ``run/model``. If
    several processes call this function, they train one student and the first process writes.

    Args:
        recipe: The recipe of the student.
        store: Texts and targets.
        run: The run folder.
        student: The untrained student from `initial_student`, which is trained in place.
        teacher: The teacher, whose token vectors are the start of a static student; unused for other students.
        record: JSON value that becomes ``recipe.json`` of the model.
        general: The store of the recipe's `general`. The results then have two losses, ``eval_domain_loss`` of the rows
            held out of ``store`` and ``eval_general_loss``.

    Returns:
        The student with the lowest validation loss.

    Raises:
        InputError: If the store is too small or damaged, an argument is wrong, the teacher of a static student is
            missing, or another number of processes wrote the checkpoint.
        KeyboardInterrupt: On Ctrl-C, after the current batch and a checkpoint.
    """
    max_length = student.max_seq_length
    if recipe.training.max_length is not None:
        student.max_seq_length = recipe.training.max_length
    arguments = training_arguments(recipe, run, student.device.type)
    if arguments.process_index == 0:
        for part in filter(None, (store, general)):
            part.require_intact()
    with arguments.main_process_first(local=False):
        checkpoint = last_complete_checkpoint(run / "checkpoints", arguments.world_size)
    arguments.eval_on_start &= checkpoint is None  # a resumed training was validated at its start
    trainer = LeafTrainer(student, store, recipe.training, arguments, general)
    if checkpoint is None and recipe.student.start is None:
        _fit_start(student, recipe, store, trainer.sample(recipe.student.closed_form_rows), teacher)
    with full_disk_named(run):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # the student would stay under autocast
    if recipe.training.max_length is not None:
        student.max_seq_length = max_length
    if arguments.process_index == 0:
        (run / "results").mkdir(parents=True, exist_ok=True)
        write_json(run / "results" / "training.json", trainer.state.log_history)
        save_portable(student, run / "model", record)
        if general is not None:
            logger.info(before_and_after(trainer, recipe.training.distance))
    trainer.accelerator.wait_for_everyone()
    return student


def _fit_start(
    student: SentenceTransformer,
    recipe: Recipe,
    store: EmbeddingStore,
    rows: Sequence[int],
    teacher: LocalTeacher | None,
) -> None:
    """Fit the closed-form start of the student to ``rows``; without rows its weights stay random."""
    if not rows:
        return
    texts, targets = store.prompted(rows), store.embeddings(rows)
    if not recipe.student.static:
        fit_projection(student, texts, targets)
    elif teacher is None:
        raise InputError("train: expected the teacher of a static student, found None: give teacher=")
    else:
        fit_table(student, teacher.model, texts, targets)


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


def new_student(recipe: Recipe, fingerprint: Fingerprint, device: str | None = None) -> SentenceTransformer:
    """Build, or load to go on with it, the student that ``recipe`` names for the teacher of ``fingerprint``."""
    spec = recipe.student
    if spec.start is not None:
        student = load_start(spec.start, fingerprint, revision=spec.revision, max_length=spec.max_length)
        return student.to(device) if device else student
    if spec.static:
        return build_static(
            recipe.teacher.model,
            revision=recipe.teacher.revision,
            dimension=fingerprint.dimension,
            normalized=fingerprint.normalized,
            prompts=fingerprint.prompts,
            device=device,
            trust_remote_code=recipe.teacher.trust_remote_code,
        )
    backbone = recipe.student.backbone or recipe.teacher.model
    revision = recipe.student.revision if recipe.student.backbone else recipe.teacher.revision
    return build_student(
        backbone,
        revision=revision,
        dimension=fingerprint.dimension,
        normalized=fingerprint.normalized,
        layers=recipe.student.layers,
        max_length=recipe.student.max_length or fingerprint.max_length,
        prompts=fingerprint.prompts,
        device=device,
        trust_remote_code=recipe.teacher.trust_remote_code and recipe.student.backbone is None,
    )


def training_arguments(recipe: Recipe, run: Path, device: str) -> SentenceTransformerTrainingArguments:
    """Return the arguments: the paper's values, then the recipe's own.

    Raises:
        InputError: If one does not exist, does not fit, or is said elsewhere in a recipe.
    """
    arguments = named_arguments(recipe, device)
    for name, instead in _SAID_ELSEWHERE.items():
        if name in arguments:
            raise InputError(f"{name}: no argument of a recipe; set {instead}")
    for name, least in _WHOLE_NUMBERS.items():
        value = arguments.get(name, least)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}: expected a whole number of at least {least}, found {value!r}")
    for name in ("learning_rate", "num_train_epochs"):
        value = arguments.get(name, 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise InputError(f"{name}: expected more than 0, found {value!r}")
    try:
        return SentenceTransformerTrainingArguments(output_dir=str(run / "checkpoints"), **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"training arguments: {error}") from error


def named_arguments(recipe: Recipe, device: str) -> dict[str, Any]:
    """Return every argument of training that does not have transformers' own default, as ``recipe.json`` keeps it."""
    defaults = {
        "bf16": bfloat16_is_fast(torch.device(device)),
        **_DEFAULTS,
        **(_WITH_GENERAL if recipe.general else {}),
    }
    arguments = {**defaults, **recipe.training.arguments}
    if torch.distributed.is_initialized():  # the trainer would do so, and warn
        arguments["dataloader_drop_last"] = True
    return {**arguments, "use_cpu": True} if device == "cpu" else arguments
