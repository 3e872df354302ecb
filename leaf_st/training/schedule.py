"""How many steps a run has, and the learning rate over them: cycles of linear decay with restarts (paper 2.2, A.2)."""

import math
from dataclasses import dataclass
from typing import Literal

from transformers import TrainingArguments

from leaf_st.recipe import TrainingSpec


def steps_per_epoch(rows: int, args: TrainingArguments) -> int:
    """Return the optimizer steps in which ``rows`` come once."""
    per_batch: int = args.train_batch_size * args.world_size
    batches = rows // per_batch if args.dataloader_drop_last else -(-rows // per_batch)
    return max(1, -(-batches // args.gradient_accumulation_steps))


def steps_of_run(rows: int, args: TrainingArguments) -> int:
    """Return the optimizer steps of a run that trains on ``rows``, as transformers' trainer counts them."""
    return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps_per_epoch(rows, args))


def validations_of_run(steps: int, per_epoch: int, args: TrainingArguments) -> int:
    """Return how often a run of ``steps`` optimizer steps is validated, the last time at its end."""
    at_start = int(args.eval_on_start)
    if args.eval_strategy == "no":
        return at_start
    if args.eval_strategy == "epoch":
        return at_start + math.ceil(steps / per_epoch)
    every = args.eval_steps or 1
    # Below 1, as the trainer reads it, it is a share of the run; otherwise a number of steps.
    return at_start + math.ceil(steps / (math.ceil(steps * every) if every < 1 else every))


@dataclass(frozen=True)
class CyclicDecay:
    """Rate of each step, as a factor of the start rate.

    Within a cycle the rate falls linearly from the start rate to the end rate, then the next cycle starts again
    from the top. Where the run cannot be cut into equal cycles, some are longer by one. Falling by "epoch"
    keeps the rate constant within an epoch: the first epoch of a cycle has the start rate, the last one the end
    rate (paper A.2: "from lr=1e-4 to lr=1e-5 at the 10th epoch").

    Attributes:
        total_steps: Optimizer steps of the run.
        steps_per_epoch: Optimizer steps of an epoch.
        end_factor: End rate over start rate.
        cycles: Number of cycles.
        decay: "step" or "epoch".
    """

    total_steps: int
    steps_per_epoch: int
    end_factor: float
    cycles: int
    decay: Literal["step", "epoch"]

    @property
    def starts(self) -> list[int]:
        """The step in which each cycle begins; a run may be too short for some of them."""
        starts = {self._border(cycle) * self._unit for cycle in range(self.cycles)}
        return sorted(start for start in starts if start < self.total_steps)

    def __call__(self, step: int) -> float:
        """Return the factor at ``step``, counted from 0."""
        place = min(step, self.total_steps - 1) // self._unit
        cycle = place * self.cycles // self._places
        start, end = self._border(cycle), self._border(cycle + 1)
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
    """Return the schedule of a run of ``steps`` optimizer steps that trains on ``rows`` (paper 2.2)."""
    return CyclicDecay(
        total_steps=steps,
        steps_per_epoch=steps_per_epoch(rows, args),
        end_factor=spec.end_learning_rate / args.learning_rate,
        cycles=spec.cycles,
        decay=spec.decay,
    )
