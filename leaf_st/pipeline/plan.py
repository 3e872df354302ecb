"""What a run will take, before it is begun: rows, steps, disk, and hours at the rate of this machine.

Rows of local sources are counted as training will read them; steps and rates are those of the trainer's own code. Hours
come from a short trial of both models: of the models themselves, or, where the hub cannot be reached, of random weights
in their shape, which are as fast. Nothing is written but temporary files.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import PartialState

from leaf_st.models.random_weights import missing, save_unlearned
from leaf_st.pipeline.survey import SourceRows, survey
from leaf_st.recipe import PAPER, Recipe, said_of
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.rate import seconds_per_text
from leaf_st.texts.paper.fetch import closed_licences
from leaf_st.texts import Text
from leaf_st.training.budget import Pace, measure_pace, steps_at
from leaf_st.training.schedule import CyclicDecay, schedule, steps_of_run, steps_per_epoch, validations_of_run
from leaf_st.training.train import new_student, training_arguments
from leaf_st.training.trainer import held_out_count, require_full_batch

_TRIAL_CHARACTERS = 1 << 18  # of which two epochs take ten to twenty seconds on two cores
_TRIAL_BATCHES = 8  # at least, however long the texts
_ROW_BYTES = 8 + 8 + 4 + 4  # of a store, beside vector, text and kind: number, hash, and where text and kind end


@dataclass(frozen=True)
class Cycle:
    """A cycle of the learning rate.

    Attributes:
        steps: Optimizer steps.
        first: Rate of the first of them.
        last: Rate of the last of them.
    """

    steps: int
    first: float
    last: float


@dataclass(frozen=True)
class Speed:
    """How fast the models of a run are on this machine.

    Attributes:
        device: Where they ran.
        text: Seconds to embed a text.
        pace: Of the student.
        dimension: Width of the teacher's vectors.
        precision: Of the teacher's weights.
        unlearned: Models that were measured with random weights, and why.
    """

    device: str
    text: float
    pace: Pace
    dimension: int
    precision: str
    unlearned: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        recipe: The run's, its steps fixed where it has a budget.
        folder: Where it will be.
        texts: Texts to train on, those held out included.
        general: Texts of the general domain.
        held_out: Of the texts to train on.
        speed: As measured.
        cycles: Of the learning rate.
        batch: Texts of an optimizer step.
        validations: Their number.
        free_bytes: Room on the disk.
        processes: That work together.
    """

    recipe: Recipe
    folder: Path
    texts: tuple[SourceRows, ...]
    general: tuple[SourceRows, ...]
    held_out: int
    speed: Speed
    cycles: tuple[Cycle, ...]
    batch: int
    validations: int
    free_bytes: int
    processes: int

    @property
    def rows(self) -> int:
        """Texts to embed."""
        return sum(part.rows for part in (*self.texts, *self.general))

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return sum(cycle.steps for cycle in self.cycles)

    @property
    def vector_bytes(self) -> int:
        """Size of the vectors on disk."""
        return self.rows * self.speed.dimension * np.dtype(self.recipe.teacher.store_dtype).itemsize

    @property
    def text_bytes(self) -> int:
        """Size of the texts on disk, and of what a store holds beside them and the vectors."""
        return sum(part.size + part.rows * (_ROW_BYTES + len(part.kind)) for part in (*self.texts, *self.general))

    @property
    def fetched_bytes(self) -> int:
        """Size on disk of texts from the hub before compression, which makes less of it."""
        return sum(part.size for part in self.texts) if self.recipe.texts.source == PAPER else 0

    @property
    def validation_rows(self) -> int:
        """Texts of a validation."""
        return self.held_out + sum(part.rows for part in self.general)

    @property
    def embedding_hours(self) -> float:
        """Hours of embedding, of which each process does its part."""
        return self.rows * self.speed.text / self.processes / 3600

    @property
    def training_hours(self) -> float:
        """Hours of training, its validations included."""
        validation = self.validation_rows * self.speed.pace.row
        return (self.steps * self.speed.pace.step + self.validations * validation) / 3600


def plan(recipe: Recipe, folder: Path) -> Plan:
    """Return what the run of ``recipe`` in ``folder`` will take.

    Raises:
        InputError: If the run would be refused, or a model is nowhere and not of a known architecture.
    """
    args = training_arguments(recipe, folder, "cpu")  # what is wrong with them shall be said before texts are counted
    texts, sample = survey(recipe.texts)
    general: Sequence[SourceRows] = ()
    if recipe.general is not None:
        with said_of("general"):
            general, _ = survey(recipe.general)
    rows, watched = (sum(part.rows for part in parts) for parts in (texts, general))
    held_out = held_out_count(rows, recipe.training)
    require_full_batch(rows - held_out, args)
    spec = replace(recipe.training, held_out_rows=max(1, held_out + watched))
    speed = _measure(replace(recipe, training=spec), sample)
    if spec.budget_minutes is not None and "max_steps" not in spec.arguments:
        arguments = {**spec.arguments, "max_steps": steps_at(replace(recipe, training=spec), speed.pace)}
        recipe = replace(recipe, training=replace(recipe.training, arguments=arguments))
    args = training_arguments(recipe, folder, speed.device)
    steps = steps_of_run(rows - held_out, args)
    return Plan(
        recipe=recipe,
        folder=folder,
        texts=tuple(texts),
        general=tuple(general),
        held_out=held_out,
        speed=speed,
        cycles=tuple(_cycles(schedule(recipe.training, args, rows - held_out, steps), args.learning_rate)),
        batch=args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        validations=validations_of_run(steps, steps_per_epoch(rows - held_out, args), args),
        free_bytes=shutil.disk_usage(_existing(folder)).free,
        processes=PartialState().num_processes,
    )


def _cycles(decay: CyclicDecay, rate: float) -> Iterator[Cycle]:
    starts = decay.starts
    for start, end in zip(starts, [*starts[1:], decay.total_steps], strict=True):
        yield Cycle(end - start, rate * decay(start), rate * decay(end - 1))


def _measure(recipe: Recipe, sample: Sequence[Text]) -> Speed:
    """Time teacher and student of ``recipe`` on ``sample``."""
    with tempfile.TemporaryDirectory(prefix="leaf-st-plan-") as temporary:
        recipe, unlearned = _loadable(recipe, Path(temporary))
        teacher = LocalTeacher.load(recipe.teacher)
        new_student(recipe, teacher.fingerprint)  # what is wrong with it shall be said before anything is timed
        text = seconds_per_text(teacher, sample)
        fingerprint, device = teacher.fingerprint, str(teacher.model.device.type)
        del teacher  # it may be large
        args = training_arguments(recipe, Path(temporary), device)
        characters = sum(len(row.text) for row in sample) / len(sample)
        rows = max(_TRIAL_BATCHES * args.train_batch_size, round(_TRIAL_CHARACTERS / characters))
        pace = measure_pace(recipe, fingerprint, _spread(sample, rows))
    return Speed(device, text, pace, fingerprint.dimension, fingerprint.precision, unlearned)


def _spread(sample: Sequence[Text], rows: int) -> list[Text]:
    """Return ``rows`` of ``sample`` at most, of all lengths as they come in it."""
    by_length = sorted(sample, key=lambda row: len(row.text))
    places = np.linspace(0, len(sample) - 1, min(rows, len(sample))).round().astype(int)
    return [by_length[place] for place in places]


def _loadable(recipe: Recipe, folder: Path) -> tuple[Recipe, dict[str, str]]:
    """Return ``recipe`` with models of random weights in ``folder`` for the missing ones, and why they are missing."""
    teacher, student, unlearned = recipe.teacher, recipe.student, {}
    if gone := missing(teacher.model, teacher.revision):
        unlearned[teacher.model], shape = gone
        made = save_unlearned(folder / "teacher", shape)
        teacher = replace(teacher, model=str(made), revision=None)
    name = student.start or student.backbone
    if name and (gone := missing(name, student.revision)):
        unlearned[name], shape = gone
        made = save_unlearned(folder / "student", shape)
        student = replace(student, start=None, backbone=str(made), revision=None)
    return replace(recipe, teacher=teacher, student=student), unlearned


def _existing(folder: Path) -> Path:
    """Return the folder on whose disk ``folder`` will be."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())


def format_plan(plan: Plan) -> str:
    """Return ``plan`` as text."""
    spec, speed, pace = plan.recipe, plan.speed, plan.speed.pace
    epochs = plan.steps * plan.batch / max(1, sum(part.rows for part in plan.texts) - plan.held_out)
    closed = closed_licences(spec.texts) if spec.texts.source == PAPER else ""
    enough = plan.vector_bytes + plan.text_bytes + plan.fetched_bytes < plan.free_bytes
    lines = [
        f"plan of {spec.name} in {plan.folder}, from its beginning to its end",
        "",
        *_table(plan),
        "",
        *([f"licences   not all open: {closed}"] if closed else []),
        *([f"texts      less than {_gb(plan.fetched_bytes)}, fetched and compressed"] if plan.fetched_bytes else []),
        f"store      {_gb(plan.vector_bytes)} of vectors ({speed.dimension} x {spec.teacher.store_dtype}) and "
        f"{_gb(plan.text_bytes)} of texts; {_gb(plan.free_bytes)} are free{'' if enough else ', which is too little'}",
        f"embedding  {plan.embedding_hours:,.2f} hours: {plan.rows:,} texts, "
        f"{plan.processes / speed.text:,.1f} a second by {spec.teacher.model} in {speed.precision}",
        f"training   {plan.training_hours:,.2f} hours: {plan.steps:,} steps of {plan.batch} texts, {pace.step:.3f} s "
        f"each; {epochs:,.1f} epochs",
    ]
    for number, cycle in enumerate(plan.cycles, 1):
        lines.append(
            f"  cycle {number}  {cycle.steps:,} steps, learning rate from {cycle.first:.1e} to {cycle.last:.1e}"
        )
    lines.append(
        f"  and      {plan.validations:,} validations on {plan.validation_rows:,} texts, "
        f"{plan.validation_rows * pace.row:,.1f} s each"
    )
    hours = plan.embedding_hours + plan.training_hours
    lines.append(f"in all     {hours:,.2f} hours at the rates measured on this machine just now ({speed.device})")
    lines += [f"measured with random weights: {reason}" for reason in speed.unlearned.values()]
    return "\n".join(lines)


def _table(plan: Plan) -> list[str]:
    rows = [("source", "kind", "rows", "characters")]
    for part in plan.texts:
        rows.append((part.name, part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    for part in plan.general:
        rows.append((f"{part.name} (general)", part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    parts = (*plan.texts, *plan.general)
    mean = sum(part.rows * part.characters for part in parts) / plan.rows
    rows.append(("total", "", f"{plan.rows:,}", f"{mean:,.1f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}}  {length:>{widths[3]}}"
        for name, kind, count, length in rows
    ]


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
