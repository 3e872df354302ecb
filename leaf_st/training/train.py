"""The training stage: a store and a recipe in, the student's folder out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.models.portable import full_disk_named, save_portable
from leaf_st.recipe import Distance, Recipe
from leaf_st.student.new import new_student
from leaf_st.student.projection import fit_projection
from leaf_st.student.static import fit_table
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.arguments import DEFAULTS, training_arguments
from leaf_st.training.checkpoints import last_whole_checkpoint
from leaf_st.training.trainer import DOMAIN, GENERAL, LeafTrainer


def train(
    recipe: Recipe,
    store: EmbeddingStore,
    run: Path,
    record: Any = None,  # noqa: ANN401  (any JSON value)
    general: EmbeddingStore | None = None,
    device: str | None = None,
) -> SentenceTransformer:
    """Train the student of ``recipe`` on ``store``, from the last checkpoint in ``run`` if there is one.

    Writes ``run/checkpoints``, ``run/results/training.json`` (the losses over the steps) and, last, ``run/model``
    with ``record``, a JSON value, as its ``recipe.json``. With ``general``, the store of the recipe's `general`, its
    loss stands beside that of the rows held out of ``store``: ``eval_general_loss`` and ``eval_domain_loss``. Several
    processes, each of which calls this, train one student; the first of them writes.

    Returns:
        The student with the lowest validation loss.

    Raises:
        InputError: If the store is too small or damaged, an argument does not fit, or the checkpoint is of another
            number of processes.
        KeyboardInterrupt: On Ctrl-C, after the batch in flight and a checkpoint.
    """
    torch.manual_seed({**DEFAULTS, **recipe.training.arguments}["seed"])  # of a projection that stays random
    student = new_student(recipe, store.fingerprint, device)
    in_use = student.max_seq_length
    if recipe.training.max_length is not None:
        student.max_seq_length = recipe.training.max_length
    arguments = training_arguments(recipe, run, student.device.type)
    if arguments.process_index == 0:
        for part in filter(None, (store, general)):
            require_intact(part)
    with arguments.main_process_first(local=False):
        checkpoint = last_whole_checkpoint(run / "checkpoints", arguments.world_size)
    arguments.eval_on_start &= checkpoint is None  # where it goes on is not where it began
    trainer = LeafTrainer(student, store, recipe.training, arguments, general)
    if checkpoint is None and recipe.student.start is None:
        _start(student, recipe, store, trainer.sample(recipe.student.closed_form_rows))
    with full_disk_named(run):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # else it goes on under autocast
    if recipe.training.max_length is not None:
        student.max_seq_length = in_use
    if arguments.process_index == 0:
        (run / "results").mkdir(parents=True, exist_ok=True)
        write_json(run / "results" / "training.json", trainer.state.log_history)
        save_portable(student, run / "model", record)
        if general is not None:
            print(before_and_after(trainer, recipe.training.distance), flush=True)
    trainer.accelerator.wait_for_everyone()
    return student


def _start(student: SentenceTransformer, recipe: Recipe, store: EmbeddingStore, rows: Sequence[int]) -> None:
    """Give the student its closed-form start from ``rows``; none leave it random."""
    if not rows:
        return
    texts, targets = store.prompted(rows), store.embeddings(rows)
    if recipe.student.static:
        fit_table(student, open_teacher(recipe.teacher), texts, targets)
    else:
        fit_projection(student, texts, targets)


def before_and_after(trainer: LeafTrainer, distance: Distance) -> str:
    """Return the losses on domain and general texts, before training and of the model that was kept, as one line."""
    loss = "L2" if distance == "l2" else distance
    kept = trainer.state.best_global_step if trainer.args.load_best_model_at_end else trainer.state.global_step
    changes = []
    for name in (DOMAIN, GENERAL):
        key = f"eval_{name}_loss"
        losses = {row["step"]: row[key] for row in trainer.state.log_history if key in row}
        first, last = (f"{losses[step]:.4f}" if step in losses else "not measured" for step in (0, kept))
        changes.append(f"{name} {loss} {first} -> {last}")
    return ", ".join(changes)


def require_intact(store: EmbeddingStore) -> None:
    """Raise an `InputError` if a shard of ``store`` is damaged."""
    if damaged := store.damaged():
        raise InputError(f"{damaged[0]} is damaged: run `leaf-st embed` again, it makes the shard anew")
