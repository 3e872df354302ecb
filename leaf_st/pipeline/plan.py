"""Estimate the rows, steps, disk space and hours of a run on this machine before the run starts.

Rows of local sources are counted by the reader of the training texts. Steps and learning rates come from the trainer's
code. Hours come from a short trial of both models. If the hub cannot be reached, models of the same shape with random
weights, which are equally fast, are timed instead. Only temporary files are written.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from accelerate import PartialState

from leaf_st.models.random_weights import save_random_weights, shape_if_missing
from leaf_st.pipeline.survey import SAMPLE, SourceRows, survey
from leaf_st.recipe import PAPER, Recipe
from leaf_st.student.new import new_student
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.protocol import Fingerprint, Service, Teacher
from leaf_st.teacher.rate import seconds_per_text
from leaf_st.texts import Text
from leaf_st.texts.paper.fetch import closed_licences
from leaf_st.texts.read import read_texts, require_texts
from leaf_st.training.arguments import training_arguments
from leaf_st.training.budget import Pace, measure_pace, steps_for_pace
from leaf_st.training.schedule import CyclicDecay, schedule, steps_of_run, steps_per_epoch, validations_of_run
from leaf_st.training.trainer import HELD_OUT_SHARE, held_out_count, require_full_batch

_TRIAL_CHARACTERS = 1 << 18  # two epochs take ten to twenty seconds on two cores
_TRIAL_BATCHES = 8  # at least, even if the texts are long
_PAID_SAMPLE = 256  # texts that are timed if each costs money
_ROW_BYTES = 8 + 8 + 4 + 4  # per row of a store: number, hash, and the offsets of text and kind


@dataclass(frozen=True)
class Cycle:
    """A cycle of the learning rate.

    Attributes:
        steps: Number of optimizer steps.
        first: Learning rate of the first step.
        last: Learning rate of the last step.
    """

    steps: int
    first: float
    last: float


@dataclass(frozen=True)
class ModelSpeeds:
    """The speed of a run's models on this machine.

    Attributes:
        device: Type of the device that was timed.
        text: Seconds per text to embed.
        pace: The student's seconds per step and per validated row.
        dimension: Width of the teacher's vectors.
        precision: Precision of the teacher's weights.
        random_weights: Models that were timed with random weights, and why.
        tokens: Mean number of tokens per text, if the teacher is paid for by tokens.
        usd: Mean price per text in US dollars; None if it is unknown.
    """

    device: str
    text: float
    pace: Pace
    dimension: int
    precision: str
    random_weights: Mapping[str, str]
    tokens: float | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Plan:
    """The estimate of a run.

    Attributes:
        recipe: The recipe, with a number of steps in place of a time budget.
        folder: The run folder.
        texts: Training texts by source and kind, including held-out texts.
        general: Texts of the general domain by source and kind.
        held_out: Number of held-out texts.
        speed: The measured speed of the models.
        cycles: Cycles of the learning rate.
        batch: Texts per optimizer step.
        validations: Number of validations.
        free_bytes: Free space on the disk of the run folder.
        processes: Number of processes that work together.
    """

    recipe: Recipe
    folder: Path
    texts: tuple[SourceRows, ...]
    general: tuple[SourceRows, ...]
    held_out: int
    speed: ModelSpeeds
    cycles: tuple[Cycle, ...]
    batch: int
    validations: int
    free_bytes: int
    processes: int

    @property
    def rows(self) -> int:
        """Number of texts to embed."""
        return sum(part.rows for part in (*self.texts, *self.general))

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return sum(cycle.steps for cycle in self.cycles)

    @property
    def vector_bytes(self) -> int:
        """Size of the vectors on disk."""
        return self.rows * self.speed.dimension * np.dtype(self.recipe.teacher.store_dtype).itemsize

    @property
    def text_bytes(self) -> int:
        """Size on disk of the texts and of all other parts of a store except the vectors."""
        return sum(part.size + part.rows * (_ROW_BYTES + len(part.kind)) for part in (*self.texts, *self.general))

    @property
    def fetched_bytes(self) -> int:
        """Uncompressed size of the texts downloaded from the hub."""
        return sum(part.size for part in self.texts) if self.recipe.texts.source == PAPER else 0

    @property
    def validation_rows(self) -> int:
        """Texts per validation."""
        return self.held_out + sum(part.rows for part in self.general)

    @property
    def embedding_hours(self) -> float:
        """Hours of embedding, shared by all processes."""
        return self.rows * self.speed.text / self.processes / 3600

    @property
    def training_hours(self) -> float:
        """Hours of training, including validations."""
        validation = self.validation_rows * self.speed.pace.row
        return (self.steps * self.speed.pace.step + self.validations * validation) / 3600


def plan(recipe: Recipe, folder: Path) -> Plan:
    """Return the estimate of the run of ``recipe`` in ``folder``.

    Raises:
        InputError: If the run could not start, or a model is missing and its architecture is unknown.
    """
    training_arguments(recipe, folder, "cpu")  # reports invalid arguments before texts are counted
    if recipe.texts.source != PAPER:
        held_out_count(require_texts(recipe.texts, most=HELD_OUT_SHARE), recipe.training)
    if recipe.general is not None:
        require_texts(recipe.general, "general")
    with tempfile.TemporaryDirectory(prefix="leaf-st-plan-") as temporary:
        loadable, random_weights = _loadable(recipe, Path(temporary))
        teacher = open_teacher(loadable.teacher)
        student = new_student(loadable, teacher.fingerprint)  # reports an invalid student before counting
        texts, sample = survey(recipe.texts, prompts=teacher.prompts)
        general, _ = survey(recipe.general, "general") if recipe.general else ((), ())
        held_out, watched = _validation_rows(recipe, texts, general)
        spec = replace(recipe.training, held_out_rows=max(1, held_out + watched))
        fingerprint, device = teacher.fingerprint, student.device.type
        # Given vectors are read in the order of the table.
        timed = _first(recipe) if recipe.teacher.vector_column else sample
        text, paid = _seconds(teacher, timed), _paid(teacher, sample)
        del teacher, student  # frees the memory of a large model
        pace = _student_pace(replace(loadable, training=spec), fingerprint, device, sample)
    speed = ModelSpeeds(device, text, pace, fingerprint.dimension, fingerprint.precision, random_weights, *paid)
    if spec.budget_minutes is not None and "max_steps" not in spec.arguments:
        arguments = {**spec.arguments, "max_steps": steps_for_pace(replace(recipe, training=spec), speed.pace)}
        recipe = replace(recipe, training=replace(recipe.training, arguments=arguments))
    args = training_arguments(recipe, folder, speed.device)
    rows = sum(part.rows for part in texts) - held_out
    steps = steps_of_run(rows, args)
    return Plan(
        recipe=recipe,
        folder=folder,
        texts=tuple(texts),
        general=tuple(general),
        held_out=held_out,
        speed=speed,
        cycles=tuple(_cycles(schedule(recipe.training, args, rows, steps), args.learning_rate)),
        batch=args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        validations=validations_of_run(steps, steps_per_epoch(rows, args), args),
        free_bytes=shutil.disk_usage(_existing(folder)).free,
        processes=PartialState().num_processes,
    )


def _seconds(teacher: Teacher, sample: Sequence[Text]) -> float:
    """Return the mean seconds for a text: at the limits of a service that states them, or measured."""
    if isinstance(teacher, Service):
        stated = teacher.seconds_at_limits(sample)
        return seconds_per_text(teacher, sample[:_PAID_SAMPLE]) if stated is None else stated
    return seconds_per_text(teacher, sample)


def _paid(teacher: Teacher, sample: Sequence[Text]) -> tuple[float, float | None] | tuple[()]:
    """Return the mean tokens and the mean price of a text, if the teacher is a service."""
    if not isinstance(teacher, Service):
        return ()
    tokens = teacher.tokens_per_text(sample)
    return tokens, teacher.price(tokens)


def _first(recipe: Recipe) -> list[Text]:
    return list(islice(read_texts(recipe.texts, Counter()), SAMPLE))


def _validation_rows(recipe: Recipe, texts: Sequence[SourceRows], general: Sequence[SourceRows]) -> tuple[int, int]:
    """Return the number of held-out texts and of general texts, and check that the other texts fill a batch."""
    rows, watched = (sum(part.rows for part in parts) for parts in (texts, general))
    held_out = held_out_count(rows, recipe.training)
    require_full_batch(rows - held_out, training_arguments(recipe, Path(), "cpu"))
    return held_out, watched


def _cycles(decay: CyclicDecay, rate: float) -> Iterator[Cycle]:
    starts = decay.starts
    for start, end in zip(starts, [*starts[1:], decay.total_steps], strict=True):
        yield Cycle(end - start, rate * decay(start), rate * decay(end - 1))


def _student_pace(recipe: Recipe, fingerprint: Fingerprint, device: str, sample: Sequence[Text]) -> Pace:
    """Time the student of ``recipe`` on ``sample``."""
    batch = training_arguments(recipe, Path(), device).train_batch_size
    characters = sum(len(row.text) for row in sample) / len(sample)
    rows = max(_TRIAL_BATCHES * batch, round(_TRIAL_CHARACTERS / characters))
    return measure_pace(recipe, fingerprint, _spread(sample, rows), new_student(recipe, fingerprint))


def _spread(sample: Sequence[Text], rows: int) -> list[Text]:
    """Return at most ``rows`` texts of ``sample`` with the same distribution of lengths."""
    by_length = sorted(sample, key=lambda row: len(row.text))
    places = np.linspace(0, len(sample) - 1, min(rows, len(sample))).round().astype(int)
    return [by_length[place] for place in places]


def _loadable(recipe: Recipe, folder: Path) -> tuple[Recipe, dict[str, str]]:
    """Return ``recipe`` with missing models replaced by random weights in ``folder``, and the reason by model."""
    teacher, student, random_weights = recipe.teacher, recipe.student, {}
    if teacher.is_loaded and (missing := shape_if_missing(teacher.model, teacher.revision)):
        random_weights[teacher.model], shape = missing
        made = save_random_weights(folder / "teacher", shape)
        teacher = replace(teacher, model=str(made), revision=None)
    name = student.start or student.backbone
    if name and (missing := shape_if_missing(name, student.revision)):
        random_weights[name], shape = missing
        made = save_random_weights(folder / "student", shape)
        student = replace(student, start=None, backbone=str(made), revision=None)
    return replace(recipe, teacher=teacher, student=student), random_weights


def _existing(folder: Path) -> Path:
    """Return ``folder`` or its nearest existing parent, to measure the free space on the disk."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())


def format_plan(plan: Plan) -> str:
    """Return ``plan`` as text."""
    spec, speed, pace = plan.recipe, plan.speed, plan.speed.pace
    epochs = plan.steps * plan.batch / max(1, sum(part.rows for part in plan.texts) - plan.held_out)
    closed = closed_licences(spec.texts) if spec.texts.source == PAPER else ""
    enough = plan.vector_bytes + plan.text_bytes + plan.fetched_bytes < plan.free_bytes
    lines = [
        f"plan of {spec.name} in {plan.folder}, from the beginning to the end",
        "",
        _table(plan),
        "",
        *([f"licences   not all open: {closed}"] if closed else []),
        *([f"texts      less than {_gb(plan.fetched_bytes)}, fetched and compressed"] if plan.fetched_bytes else []),
        f"store      {_gb(plan.vector_bytes)} of vectors ({speed.dimension} x {spec.teacher.store_dtype}) and "
        f"{_gb(plan.text_bytes)} of texts; {_gb(plan.free_bytes)} are free{'' if enough else ', which is too little'}",
        f"embedding  {plan.embedding_hours:,.2f} hours: {plan.rows:,} texts, {_embedding_speed(plan)}",
        *_price(plan),
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
    lines.append(f"total      {hours:,.2f} hours at the speed just measured on this machine ({speed.device})")
    lines += [f"measured with random weights: {reason}" for reason in speed.random_weights.values()]
    return "\n".join(lines)


def _embedding_speed(plan: Plan) -> str:
    spec, speed = plan.recipe.teacher, plan.speed
    rate = f"{plan.processes / speed.text:,.1f} a second by {spec.name}"
    if spec.api is None:
        return f"{rate} in {speed.precision}"
    stated = spec.api.requests_per_minute or spec.api.tokens_per_minute
    return f"{rate} at {spec.api.url}, {'at the limits in teacher.api' if stated else 'measured'}"


def _price(plan: Plan) -> list[str]:
    """Return a line with tokens and price of the texts, if the teacher is an API."""
    speed, api = plan.speed, plan.recipe.teacher.api
    if speed.tokens is None or api is None:
        return []
    tokens = f"about {plan.rows * speed.tokens:,.0f} tokens"
    if speed.usd is None:
        return [f"price      {tokens}; teacher.api.price_per_million_tokens is not set"]
    each = f"{api.price_per_million_tokens:g} USD per million"
    return [f"price      {plan.rows * speed.usd:,.2f} USD: {tokens}, {each}; evaluation costs more"]


def _table(plan: Plan) -> str:
    rows = [("source", "kind", "rows", "characters")]
    for part in plan.texts:
        rows.append((part.name, part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    for part in plan.general:
        rows.append((f"{part.name} (general)", part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    parts = (*plan.texts, *plan.general)
    mean = sum(part.rows * part.characters for part in parts) / plan.rows
    rows.append(("total", "", f"{plan.rows:,}", f"{mean:,.1f}"))
    return aligned(rows, left=2)


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
