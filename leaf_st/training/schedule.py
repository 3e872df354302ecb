"""The number of steps of a run, and the learning rate of each step: cycles of linear decay (paper 2.2, A.2)."""

import math
from dataclasses import dataclass
from typing import Literal

from transformers import TrainingArguments

from leaf_st.recipe import TrainingSpec


def steps_per_epoch(rows: int, args: TrainingArguments) -> int:
    """Return the optimizer steps of one epoch of ``rows``."""
    per_batch: int = args.train_batch_size * args.world_size
    batches = rows // per_batch if args.dataloader_drop_last else -(-rows // per_batch)
    return max(1, -(-batches // args.gradient_accumulation_steps))


def steps_of_run(rows: int, args: TrainingArguments) -> int:
    """Return the optimizer steps of a run on ``rows``, as transformers' trainer counts steps."""
    return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps_per_epoch(rows, args))


def validations_of_run(steps: int, per_epoch: int, args: TrainingArguments) -> int:
    """Return the number of validations in a run of ``steps`` optimizer steps, including the one at the end."""
    at_start = int(args.eval_on_start)
    if args.eval_strategy == "no":
        return at_start
    if args.eval_strategy == "epoch":
        return at_start + math.ceil(steps / per_epoch)
    every = args.eval_steps or 1
    # The trainer reads a value below 1 as a share of the run, any other value as a number of steps.
    return at_start + math.ceil(steps / (math.ceil(steps * every) if every < 1 else every))


@dataclass(frozen=True)
class CyclicDecay:
    """The learning rate of each step, as a factor of the start rate.

    Within a cycle the rate falls linearly from the start rate to the end rate, and the next cycle begins at the start
    rate again. If the run cannot be divided into equal cycles, some cycles are longer by one step or epoch. Decay by
    "epoch" keeps the rate constant within an epoch: the first epoch of a cycle has the start rate, the last epoch the
    end rate (paper A.2: "from lr=1e-4 to lr=1e-5 at the 10th epoch"). A cycle of a single epoch decays by step, because
    otherwise its rate would never fall.

    Attributes:
        total_steps: Optimizer steps of the run.
        steps_per_epoch: Optimizer steps of an epoch.
        end_factor: End rate divided by start rate.
        cycles: Number of cycles.
        decay: When the rate falls: "step" or "epoch".
    """

    total_steps: int
    steps_per_epoch: int
    end_factor: float
    cycles: int
    decay: Literal["step", "epoch"]

    @property
    def starts(self) -> list[int]:
        """The first step of each cycle; a short run may have fewer cycles."""
        starts = {self._border(cycle) * self._unit for cycle in range(self.cycles)}
        return sorted(start for start in starts if start < self.total_steps)

    def __call__(self, step: int) -> float:
        """Return the factor at ``step``, counted from 0."""
        step = min(step, self.total_steps - 1)
        place = step // self._unit
        cycle = place * self.cycles // self._places
        start, end = self._border(cycle), self._border(cycle + 1)
        if end - start == 1:  # a single epoch, or a single step
            place, start, end = step, start * self._unit, min(end * self._unit, self.total_steps)
        return 1 + (self.end_factor - 1) * ((place - start) / (end - start - 1) if end - start > 1 else 0)

    @property
    def _unit(self) -> int:
        return self.steps_per_epoch if self.decay == "epoch" else 1

    @property
    def _places(self) -> int:
        return math.ceil(self.total_steps / self._unit)

    def _border(self, cycle: int) -> int:
        return math.ceil(cycle * self._places / self.cycles)


def schedule(spec: TrainingSpec, args: TrainingArguments, rows: int, steps: int) -> CyclicDecay:
    """Return the schedule of a run of ``steps`` optimizer steps on ``rows`` (paper 2.2)."""
    return CyclicDecay(
        total_steps=steps,
        steps_per_epoch=steps_per_epoch(rows, args),
        end_factor=spec.end_learning_rate / args.learning_rate,
        cycles=spec.cycles,
        decay=spec.decay,
    )
