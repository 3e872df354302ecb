"""The learning rate over a run: cycles of linear decay with restarts (paper 2.2, appendix A.2)."""

import math
from dataclasses import dataclass
from typing import Literal


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

    def __call__(self, step: int) -> float:
        """Return the factor at ``step``, counted from 0."""
        unit = self.steps_per_epoch if self.decay == "epoch" else 1
        places = math.ceil(self.total_steps / unit)
        place = min(step, self.total_steps - 1) // unit
        cycle = place * self.cycles // places
        start, end = (math.ceil(border * places / self.cycles) for border in (cycle, cycle + 1))
        return 1 + (self.end_factor - 1) * ((place - start) / (end - start - 1) if end - start > 1 else 0)
