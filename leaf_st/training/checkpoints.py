"""Write checkpoints by steps and by the clock, resume from the last one, and write one on Ctrl-C.

Checkpoints that the recipe asks for are kept, up to its ``save_total_limit``. A checkpoint written by the clock or on
Ctrl-C is only for resuming, and is removed when the next checkpoint is complete. Such a checkpoint is in a separate
folder and does not count towards ``save_total_limit``.

With several processes, checkpoints are written only by steps, and Ctrl-C ends the processes immediately. Otherwise each
process would decide by its own clock and signals, and the processes would wait for each other forever.
"""

import logging
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import SaveStrategy

from leaf_st.errors import InputError
from leaf_st.run_folder import COMPLETE, PASSING
from leaf_st.sealed import file_checksum, read_sealed, write_sealed

_logger = logging.getLogger(__name__)

_SECONDS_AT_RISK = 120  # training time that a kill may lose; writing a checkpoint takes about one second
_NAME = re.compile(r"checkpoint-([1-9][0-9]*)")


def complete_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the complete checkpoints in ``folder`` that the recipe asked for, by step, in ascending order."""
    return {step: path for step, path in sorted(_checkpoints(folder).items()) if (path / COMPLETE).is_file()}


def last_complete_checkpoint(folder: Path, processes: int = 1, needs_best: bool = True) -> Path | None:
    """Return the newest complete checkpoint in ``folder``, and remove those that are incomplete or damaged.

    Args:
        folder: The folder of the checkpoints.
        processes: Number of processes that will train.
        needs_best: Whether the student at the end is the one with the best loss. A checkpoint is then used only if the
            checkpoint with the best loss up to its step exists too.

    Raises:
        InputError: If a different number of processes wrote the checkpoint, so that steps had more or fewer rows; or
            the checkpoint with the best loss is missing, as in an incomplete copy: nothing is removed then.
    """
    complete = {**complete_checkpoints(folder / PASSING), **complete_checkpoints(folder)}
    intact = {step: path for step, path in complete.items() if not _is_damaged(path)}
    found = [*_checkpoints(folder).items(), *_checkpoints(folder / PASSING).items()]
    newest = max((step for step, _ in found), default=None)
    # An earlier one may lack its best checkpoint, which a newer best one has replaced.
    if needs_best and newest in intact:
        _require_best(intact[newest], folder)
    names = {path.name for path in intact.values()}
    usable = {step: path for step, path in intact.items() if not needs_best or (_best(path) or path.name) in names}
    # The newest first: after a kill in between, no checkpoint is left without the earlier one that it needs.
    for _, path in sorted(found, reverse=True):
        if path not in usable.values():
            _remove(path)
    if not usable:
        return None
    last = usable[max(usable)]
    made_by = _read_mark(last).get("processes", 1)
    if made_by != processes:
        raise InputError(
            f"{last}: expected {made_by} processes, as in the training that wrote it, found {processes}: start "
            f"{made_by} processes, or delete {folder} to train from the beginning"
        )
    return last


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in ``folder`` by step, complete or not.

    A copy, link or archive of a checkpoint is the user's. Training neither reads nor removes it.
    """
    named = [(match, path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return {int(match[1]): path for match, path in named if path.is_dir() and not path.is_symlink()}


def _is_damaged(checkpoint: Path) -> bool:
    """Return whether a file of ``checkpoint`` is missing or changed, and name the file."""
    try:
        files = _read_mark(checkpoint).get("files", {})
        changed = next((name for name, checksum in files.items() if _checksum_of(checkpoint / name) != checksum), None)
    except ValueError:
        changed = COMPLETE
    if changed is not None:
        _logger.warning("%s is damaged: the checkpoint is not used, its steps are trained again", checkpoint / changed)
    return changed is not None


def _checksum_of(path: Path) -> str | None:
    return file_checksum(path) if path.is_file() else None


def _read_mark(checkpoint: Path) -> dict[str, Any]:
    mark: dict[str, Any] = read_sealed(checkpoint / COMPLETE)
    return mark


def _best(checkpoint: Path) -> str | None:
    """Return the name of the checkpoint with the best loss up to ``checkpoint``."""
    best = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).best_model_checkpoint
    return Path(best).name if best else None


def _require_best(newest: Path, folder: Path) -> None:
    """Check that the checkpoint with the best loss up to ``newest`` exists in ``folder``, intact or damaged."""
    best = _best(newest)
    places = (folder, folder / PASSING)
    if best is not None and not any((place / best).is_dir() for place in places):
        raise InputError(
            f"{newest}: expected {folder / best} too, the checkpoint with the lowest loss, found none: restore it, or "
            f"delete {folder} to train from the beginning"
        )


def _remove(checkpoint: Path) -> None:
    (checkpoint / COMPLETE).unlink(missing_ok=True)  # first, because a kill may leave a part of the folder
    shutil.rmtree(checkpoint)


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as complete, after all its other files were written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write the mark when all processes have written their files."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if args.world_size > 1:
            torch.distributed.barrier()  # each process writes the state of its random numbers
        if state.is_world_process_zero:
            files = {
                path.relative_to(folder).as_posix(): file_checksum(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            write_sealed(folder / COMPLETE, {"step": state.global_step, "processes": args.world_size, "files": files})


class SaveByTheClock(TrainerCallback):
    """Requests a checkpoint when the last one is too old.

    The callback moves checkpoints that the recipe did not ask for, so it runs after `MarkComplete` and before `Stop`.
    """

    def __init__(self) -> None:
        self._saved = time.monotonic()
        self._is_requested = False

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Start the clock."""
        self._saved = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Request a checkpoint if the last one is too old."""
        self._is_requested = control.should_save
        late = time.monotonic() - self._saved > _SECONDS_AT_RISK
        if late and args.save_strategy != SaveStrategy.NO and args.world_size == 1:
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Note whether the recipe asks for a checkpoint."""
        self._is_requested = control.should_save

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Restart the clock, and keep one checkpoint for resuming."""
        self._saved = time.monotonic()
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir))
        passing = folder / PASSING
        earlier = list(_checkpoints(passing).values())
        new = folder / f"checkpoint-{state.global_step}"
        # A training that began with an earlier version may validate a step that it does not save.
        is_best = args.load_best_model_at_end and Path(state.best_model_checkpoint or "").name == new.name
        # With BEST, the validation requests the checkpoint after the step.
        if not (self._is_requested or is_best) and args.save_strategy != SaveStrategy.BEST:
            passing.mkdir(exist_ok=True)
            new.replace(passing / new.name)
        for path in earlier:
            _remove(path)


class RemoveOld(TrainerCallback):
    """Removes checkpoints beyond a limit, by their steps; the best and the newest are always kept.

    The trainer would remove a checkpoint before the next one is complete, and would find the oldest by the clock. With
    a limit of 1, it would also remove the newest checkpoint at the end, and the copies that a user made.

    Args:
        limit: Number of checkpoints to keep. None keeps all, and so does a number below 1, as in transformers.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit if limit is not None and limit > 0 else None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Remove old checkpoints, after `SaveByTheClock` has moved those that the recipe did not ask for."""
        if self._limit is None or not state.is_world_process_zero:
            return
        complete = list(complete_checkpoints(Path(str(args.output_dir))).values())
        best = Path(state.best_model_checkpoint or "").name
        others = [path for path in complete if path.name != best]
        kept = self._limit - (len(complete) - len(others))
        if complete and complete[-1].name != best:
            kept = max(kept, 1)
        for path in others[: max(len(others) - kept, 0)]:
            _remove(path)


class Stop(TrainerCallback):
    """Ends training after the current batch, with a checkpoint, on request."""

    asked = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Stop if requested."""
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Skip the work of a complete epoch if training stops in the middle of one."""
        is_complete = float(state.epoch or 0).is_integer() or state.global_step >= state.max_steps
        if self.asked and not is_complete:
            control.should_evaluate = control.should_save = False


@contextmanager
def stop_on_ctrl_c(stop: Stop) -> Iterator[None]:
    """Make Ctrl-C request ``stop`` to end training instead of raising; the previous handler is always restored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if stop.asked:
        raise KeyboardInterrupt
