"""The measurement ``training``: losses and learning rate over the steps, as the trainer logged them."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from leaf_st.evaluation.measurements.measurement import Figure, Measurement, Section, Table
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class LogRow(BaseModel):
    """The trainer's log at one step; validation losses are among the additional numbers.

    Attributes:
        step: Optimizer step.
        epoch: Number of finished epochs, with the fraction of the current epoch.
        loss: Loss on training texts since the last log.
        learning_rate: Learning rate.
        train_runtime: Seconds of the training since its start or its last resume; only in the last log.
        train_steps_per_second: Steps per second in this time; only in the last log.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    step: int
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    train_runtime: float | None = None
    train_steps_per_second: float | None = None

    @property
    def whole_runtime(self) -> float | None:
        """Seconds of the training; None except in the last log, and None if the training was resumed."""
        seconds, rate = self.train_runtime, self.train_steps_per_second
        rounding = 0.0005  # of the rate
        if seconds is None or (rate is not None and seconds * (rate + rounding) < 0.9 * self.step):
            return None
        return seconds

    @property
    def validation(self) -> dict[str, float]:
        """Validation losses by name of the texts: "held-out", or "domain" and "general"."""
        losses = {key: value for key, value in self.__pydantic_extra__.items() if key.startswith("eval_")}
        names = {key: key.removeprefix("eval_").removesuffix("loss").rstrip("_") for key in losses if "loss" in key}
        return {name or "held-out": losses[key] for key, name in names.items()}


def training_lines(rows: Sequence[LogRow]) -> list[list[str]]:
    """Return the validation losses as cells, a line per validation, each beside the last loss on training texts."""
    names = list(dict.fromkeys(name for row in rows for name in row.validation))
    lines = [["step", "epoch", "loss, training texts", *(f"loss, {name} texts" for name in names), "learning rate"]]
    for row in {row.step: row for row in rows if row.validation}.values():
        before = [other for other in rows if other.loss is not None and other.step <= row.step]
        trained = before[-1] if before else None
        losses = [f"{row.validation[name]:.4f}" if name in row.validation else "-" for name in names]
        rate = f"{trained.learning_rate:.2e}" if trained and trained.learning_rate is not None else "-"
        epoch = "-" if row.epoch is None else f"{row.epoch:.2f}"
        lines.append([f"{row.step:,}", epoch, f"{trained.loss:.4f}" if trained else "-", *losses, rate])
    return lines


def _section(rows: Sequence[LogRow]) -> Section:
    text = (
        "The student learns to reproduce the teacher's vectors; training minimises nothing else. Lower is better. By "
        "default, the loss is the L2 distance, which is between 0 and 2 for vectors of norm 1."
    )
    caption = "Loss on training texts and on texts that are held out of training; below, the learning rate."
    figure = Figure("Training", partial(_draw, rows=rows), caption, (4.8, 3.8))
    header, *lines = training_lines(rows)
    return Section([text], [figure], [Table("training", header, lines, left=0, caption="Validations")])


def _draw(canvas: "Canvas", rows: Sequence[LogRow]) -> None:
    above, below = canvas.subplots(2, sharex=True, height_ratios=(3, 1))
    trained = [(row.step, row.loss) for row in rows if row.loss is not None]
    if trained:
        above.plot(*zip(*trained, strict=True), color="C0", linewidth=1, label="training texts")
    for number, name in enumerate(dict.fromkeys(name for row in rows for name in row.validation), 1):
        points = [(row.step, row.validation[name]) for row in rows if name in row.validation]
        above.plot(*zip(*points, strict=True), ".-", color=f"C{number}", label=f"{name} texts")
    rates = [(row.step, row.learning_rate) for row in rows if row.learning_rate is not None]
    if rates:
        below.plot(*zip(*rates, strict=True), color="C0", linewidth=1)
    above.set_ylabel("mean loss")
    above.legend()
    below.set(xlabel="optimizer step", ylabel="learning rate")
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    below.xaxis.set_major_formatter("{x:,.0f}")


TRAINING = Measurement(
    name="training",
    row=LogRow,
    title="Training",
    help="train the student",
    command=("train",),
    table=lambda rows: aligned(training_lines(rows), left=0),
    section=_section,
    needs="Training logs the losses: `leaf-st train RECIPE.py --output FOLDER`",
    on_card=False,
)
