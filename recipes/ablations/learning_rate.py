"""Learning rate schedules for three amounts of data (paper A.2, Figure 9).

Command:  python recipes/ablations/learning_rate.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   README.md in this folder.

As in the paper, a run has ten epochs, and the table gives the number of batches of 32 per epoch. The longest runs have
--samples training samples, the others a third and a ninth of that. Falling rates end at a tenth of the first rate.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from _outcomes import Outcome
from _study import BATCH, Setting, Study, StudyTrainer, Variant, main
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from leaf_st.errors import InputError
from leaf_st.teacher.store import EmbeddingStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EPOCHS = 10  # paper A.2
_BATCHES = " x "  # separates schedule and batches in a name


class CosineTrainer(StudyTrainer):
    """A trainer whose learning rate follows half a cosine, step by step."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Return the schedule from the first to the last rate."""
        end = self._spec.end_learning_rate / self.args.learning_rate
        last = max(1, num_training_steps - 1)
        optimizer = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(
            optimizer, lambda step: end + (1 - end) * (1 + math.cos(math.pi * min(step, last) / last)) / 2
        )
        return self.lr_scheduler


def require(setting: Setting, count: int) -> None:
    """Raise an `InputError` if there are fewer than ``count`` texts to train on."""
    if setting.training_rows < count:
        raise InputError(
            f"--samples: expected {count:,} training texts for an epoch, found "
            f"{setting.training_rows:,} in {setting.run.recipe.texts.source}: lower --samples, or name more --texts"
        )


def some(_: EmbeddingStore, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return ``count`` random ``rows``, in ascending order."""
    return np.sort(np.random.default_rng(0).choice(rows, count, replace=False))


def variants(setting: Setting) -> list[Variant]:
    constant = setting.run.recipe.training.arguments["learning_rate"]
    schedules = {
        "constant": {"end_learning_rate": constant},
        "linear by step": {},
        "linear by epoch": {"decay": "epoch"},
        "cosine by step": {"trainer": CosineTrainer, "change": "cosine, "},
    }
    most = setting.samples // (EPOCHS * BATCH)
    found = []
    for batches in sorted({max(1, most // share) for share in (9, 3, 1)}):
        for name, changes in schedules.items():
            count = batches * BATCH
            few = {
                "rows": partial(some, count=count),
                "samples": EPOCHS * count,
                "change": changes.get("change", "") + f"{count} random rows",
                "check": partial(require, setting, count),
            }
            found.append(setting.variant(f"{name}{_BATCHES}{batches}", **{**changes, **few}))
    return found


def draw(axes: "Axes", outcomes: Sequence[Outcome]) -> None:
    """Draw the last validation loss of each schedule over the amount of data, as Figure 9 does."""
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for outcome in outcomes:
        schedule, _, batches = outcome.name.rpartition(_BATCHES)
        lines[schedule][int(batches)] = outcome.l2["all"]
    for (schedule, losses), style in zip(
        lines.items(), ("-", "--", ":", "-."), strict=False
    ):  # styles, because some lines coincide
        axes.plot(list(losses), list(losses.values()), marker="o", linestyle=style, label=schedule)
    axes.set(xscale="log", xlabel="batches of 32 per epoch (ten epochs)", ylabel="mean L2, held-out texts")
    axes.set_xticks(amounts := sorted({batches for losses in lines.values() for batches in losses}), amounts)
    axes.minorticks_off()
    axes.legend()


if __name__ == "__main__":
    main(Study("learning_rate", variants, draw, retrieval=False), __doc__)
