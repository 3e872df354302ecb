"""When a checkpoint is written, which one a training goes on from, and how Ctrl-C ends at one.

A checkpoint that the recipe asks for stays, as far as its ``save_total_limit`` goes. One that came by the clock or by
Ctrl-C is there to go on from and goes when the next one is whole; it lies apart, or it would push out the others.

Of several processes each would decide for itself by its own clock and its own signals, and then wait for the others
for ever. So there checkpoints come by the steps alone, and Ctrl-C ends the processes at once.
"""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from leaf_st.atomic import write_json
from leaf_st.errors import InputError

_SECONDS_AT_RISK = 120  # of training that a kill may cost; a checkpoint takes about one
_WHOLE = "complete.json"  # written last into a checkpoint: without it a kill came between
_PASSING = "passing"  # folder of the one that is there to go on from


def whole_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in ``folder`` that the recipe asked for, by step, in rising order."""
    return dict(sorted((_step(path), path) for path in folder.glob("checkpoint-*") if (path / _WHOLE).is_file()))


def last_whole_checkpoint(folder: Path, processes: int = 1) -> Path | None:
    """Return the newest checkpoint in ``folder`` that was written to its end; remove those that were not.

    Raises:
        InputError: If it is of another number of ``processes``: its steps had another number of rows.
    """
    whole = {**whole_checkpoints(folder / _PASSING), **whole_checkpoints(folder)}
    for path in folder.glob("checkpoint-*"):
        if path not in whole.values():
            shutil.rmtree(path)
    if not whole:
        return None
    last = whole[max(whole)]
    made_by = json.loads((last / _WHOLE).read_text(encoding="utf-8")).get("processes", 1)
    if made_by != processes:
        raise InputError(
            f"{last} is of a training by {made_by} processes, found {processes}: launch as many as before, or delete "
            f"{folder} to train from the start"
        )
    return last


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class MarkWhole(TrainerCallback):
    """Says of a checkpoint that it is whole, after everything else of it was written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write the mark, once all processes have written."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if args.world_size > 1:
            torch.distributed.barrier()  # each has written the state of its own random numbers
        if state.is_world_process_zero:
            write_json(folder / _WHOLE, {"step": state.global_step, "processes": args.world_size})


class SaveByTheClock(TrainerCallback):
    """Asks for a checkpoint when the last one is so old that a kill would cost more than a moment.

    It moves what the recipe did not ask for out of the way, and so comes after `MarkWhole` and before `Stop`.
    """

    def __init__(self) -> None:
        self._saved = time.monotonic()
        self._is_asked_for = False

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Count from here."""
        self._saved = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Ask, if it is time."""
        self._is_asked_for = control.should_save
        late = time.monotonic() - self._saved > _SECONDS_AT_RISK
        if late and args.save_strategy != SaveStrategy.NO and args.world_size == 1:
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Remember who asks."""
        self._is_asked_for = control.should_save

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Count from here, and leave one checkpoint to go on from."""
        self._saved = time.monotonic()
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir))
        passing = folder / _PASSING
        before = list(passing.glob("checkpoint-*"))
        # With BEST it is the validation that asks, after the step.
        if not self._is_asked_for and args.save_strategy != SaveStrategy.BEST:
            passing.mkdir(exist_ok=True)
            made = folder / f"checkpoint-{state.global_step}"
            made.replace(passing / made.name)
        for path in before:
            shutil.rmtree(path)


class Stop(TrainerCallback):
    """Ends training after the batch in flight, with a checkpoint to go on from, once asked to."""

    asked = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Stop, if asked to."""
        if self.asked:
            control.should_save = control.should_training_stop = True


@contextmanager
def asked_to_stop(stop: Stop) -> Iterator[None]:
    """Let Ctrl-C ask ``stop`` instead of interrupting; whatever happens within, the old answer to it comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
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
