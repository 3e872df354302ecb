"""Estimate the rows, steps, disk space and hours of a run on this machine before the run starts.

Rows of local sources are counted by the reader of the training texts; if vectors are given, only rows with a usable
vector count. Steps and learning rates come from the trainer's code. Hours come from a short trial of both models. If
the hub cannot be reached, models of the same shape with random weights, which are equally fast, are timed instead. Only
temporary files are written.
"""

import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
from accelerate import PartialState

from leaf_st.models.random_weights import save_random_weights, shape_if_missing
from leaf_st.pipeline.exclude import excluded_contents
from leaf_st.pipeline.plan_types import Cycle, ModelSpeeds, Plan, ServiceCosts
from leaf_st.pipeline.run_texts import require_usable_texts
from leaf_st.pipeline.survey import SAMPLE, SourceRows, survey
from leaf_st.pipeline.text_length import cut_to, tokens_to_embed
from leaf_st.pipeline.vocabulary import count_sample
from leaf_st.recipe import Recipe, TeacherSpec
from leaf_st.run_folder import GENERAL, STORE, VOCABULARY
from leaf_st.student.new import new_student
from leaf_st.teacher.open import open_teacher, usable_texts
from leaf_st.teacher.protocol import Fingerprint, Fitted, Service, Table, Teacher
from leaf_st.teacher.rate import seconds_per_text
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.store import read_header
from leaf_st.texts import Text
from leaf_st.texts.exclude import EXCLUDED, Contents
from leaf_st.texts.read import read_texts
from leaf_st.training.arguments import training_arguments
from leaf_st.training.budget import Pace, measure_pace, steps_for_pace, with_steps
from leaf_st.training.schedule import CyclicDecay, schedule, steps_of_run, steps_per_epoch, validations_of_run
from leaf_st.training.token_lengths import bytes_per_text
from leaf_st.training.trainer import HELD_OUT_SHARE, held_out_count, require_full_batch
from leaf_st.training.trial import try_arguments

_TRIAL_CHARACTERS = 1 << 18  # two epochs take ten to twenty seconds on two cores
_TRIAL_BATCHES = 8  # at least, even if the texts are long, as far as the sample has texts for them
_FULL_BATCHES = 2  # at least, because a part of an optimizer step takes the same time for a batch of any size
_PAID_SAMPLE = 256  # texts that are timed if each costs money


def plan(recipe: Recipe, folder: Path) -> Plan:
    """Return the estimate of the run of ``recipe`` in ``folder``.

    Raises:
        InputError: If the run could not start, or a model is missing and its architecture is unknown.
    """
    training_arguments(recipe, folder, "cpu")  # reports invalid arguments before texts are counted
    excluded, skipped = excluded_contents(recipe.texts), Counter[str]()
    require_usable_texts(recipe, excluded)
    with tempfile.TemporaryDirectory(prefix="leaf-st-plan-") as temporary:
        loadable, random_weights = _loadable(recipe, Path(temporary))
        teacher = open_teacher(loadable.teacher)
        student = new_student(loadable, teacher.fingerprint)  # reports an invalid student before counting
        cut = cut_to(tokens_to_embed(recipe, teacher, student), student, teacher.fingerprint.prompts)
        texts, sample = survey(
            recipe.texts,
            prompts=teacher.prompts,
            skipped=skipped,
            excluded=excluded,
            cut=cut,
            usable=partial(usable_texts, teacher),
        )
        general, _ = survey(recipe.general, "general", cut=cut) if recipe.general else ((), ())
        held_out, watched = _validation_rows(recipe, texts, general)
        vocabulary = None
        if loadable.student.needs_tokens:
            loadable, vocabulary = count_sample(loadable, student, sample, Path(temporary) / VOCABULARY)
        spec = replace(recipe.training, held_out_rows=max(1, held_out + watched))
        fingerprint, device = teacher.fingerprint, student.device.type
        try_arguments(recipe, fingerprint, device)
        if isinstance(teacher, Table):
            text = _seconds_of_table(teacher, recipe, excluded)
        else:
            text = _seconds(teacher.unfitted if isinstance(teacher, Fitted) else teacher, sample)
        service = _service(teacher, sample) if isinstance(teacher, Service) else None
        token_bytes = bytes_per_text(student, _prompted(sample, fingerprint))
        del teacher, student  # frees the memory of a large model
        pace = _student_pace(replace(loadable, training=spec), fingerprint, device, sample)
    speed = ModelSpeeds(device, text, pace, fingerprint.dimension, fingerprint.precision, random_weights)
    speed = replace(speed, token_bytes=token_bytes, service=service)
    rows = sum(part.rows for part in texts) - held_out
    if spec.has_budget:
        recipe = with_steps(recipe, steps_for_pace(replace(recipe, training=spec), speed.pace), rows)
    args = training_arguments(recipe, folder, speed.device)
    steps = steps_of_run(rows, args)
    embedded = [_embedded(folder / STORE, texts), _embedded(folder / GENERAL, general)]
    return Plan(
        recipe=recipe,
        folder=folder,
        texts=tuple(texts),
        general=tuple(general),
        held_out=held_out,
        excluded=skipped[EXCLUDED],
        vocabulary=vocabulary,
        speed=speed,
        cycles=tuple(_cycles(schedule(recipe.training, args, rows, steps), args.learning_rate)),
        batch=args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        validations=validations_of_run(steps, steps_per_epoch(rows, args), args),
        free_bytes=shutil.disk_usage(_existing(folder)).free,
        processes=PartialState().num_processes,
        embedded=sum(done for done, _ in embedded),
        embedded_bytes=sum(size for _, size in embedded),
    )


def _embedded(store: Path, parts: Sequence[SourceRows]) -> tuple[int, int]:
    """Return how many of the texts in ``parts`` the folder ``store`` contains, and the size of their shards."""
    shards, rows = find_shards(store), sum(part.rows for part in parts)
    if not shards:
        return 0, 0
    full = read_header(store)["rows_per_shard"]
    embedded = sum(max(0, min(full, rows - number * full)) for number in shards)
    return embedded, sum(path.stat().st_size for path in shards.values())


def _seconds(teacher: Teacher, sample: Sequence[Text]) -> float:
    """Return the mean seconds for a text: at the limits of a service that states them, or measured."""
    if isinstance(teacher, Service):
        stated = teacher.seconds_at_limits(sample)
        return seconds_per_text(teacher, sample[:_PAID_SAMPLE]) if stated is None else stated
    return seconds_per_text(teacher, sample)


def _seconds_of_table(teacher: Teacher, recipe: Recipe, excluded: Contents | None) -> float:
    """Return the mean seconds for one of the first texts of a table, to read the text and to find its vector."""
    started = time.perf_counter()
    read = read_texts(recipe.texts, Counter(), prompts=teacher.prompts, excluded=excluded)
    texts = list(islice(usable_texts(teacher, read, Counter()), SAMPLE))
    seconds = time.perf_counter() - started
    return seconds / len(texts) + seconds_per_text(teacher, texts)


def _service(teacher: Service, sample: Sequence[Text]) -> ServiceCosts:
    """Return what a text like those in ``sample`` costs."""
    tokens, is_limited = teacher.tokens_per_text(sample), teacher.seconds_at_limits(sample) is not None
    return ServiceCosts(teacher.address, teacher.settings, is_limited, tokens, teacher.price_per_text(sample))


def _prompted(sample: Sequence[Text], fingerprint: Fingerprint) -> list[str]:
    return [fingerprint.prompts.get(row.kind, "") + row.text for row in sample]


def _validation_rows(recipe: Recipe, texts: Sequence[SourceRows], general: Sequence[SourceRows]) -> tuple[int, int]:
    """Return the number of held-out texts and of general texts, and check that the other texts fill a batch."""
    rows, watched = (sum(part.rows for part in parts) for parts in (texts, general))
    held_out = held_out_count(rows, recipe.training)
    require_full_batch(rows - held_out, training_arguments(recipe, None, "cpu"))
    return held_out, watched


def _cycles(decay: CyclicDecay, rate: float) -> Iterator[Cycle]:
    starts = decay.starts
    for start, end in zip(starts, [*starts[1:], decay.total_steps], strict=True):
        yield Cycle(end - start, rate * decay(start), rate * decay(end - 1))


def _student_pace(recipe: Recipe, fingerprint: Fingerprint, device: str, sample: Sequence[Text]) -> Pace:
    """Time the student of ``recipe`` on ``sample``."""
    batch = training_arguments(recipe, None, device).train_batch_size * PartialState().num_processes
    characters = sum(len(row.text) for row in sample) / len(sample)
    rows = min(max(_TRIAL_BATCHES * batch, round(_TRIAL_CHARACTERS / characters)), len(sample))
    full = math.ceil(_FULL_BATCHES * batch * HELD_OUT_SHARE / (HELD_OUT_SHARE - 1))  # with those held out
    rows = max(rows, full)
    return measure_pace(recipe, fingerprint, _spread(sample, rows), new_student(recipe, fingerprint))


def _spread(sample: Sequence[Text], rows: int) -> list[Text]:
    """Return ``rows`` different texts with the distribution of lengths of ``sample``.

    If ``rows`` exceeds the size of ``sample``, texts are repeated with a number at the end, because equal texts
    would be held out together.
    """
    by_length = sorted(sample, key=lambda row: len(row.text))
    places = np.linspace(0, len(sample) - 1, rows).round().astype(int).tolist()
    texts = [by_length[place] for place in places]
    if rows <= len(sample):
        return texts
    return [row._replace(text=f"{row.text} {number}") for number, row in enumerate(texts)]


def _loadable(recipe: Recipe, folder: Path) -> tuple[Recipe, dict[str, str]]:
    """Return ``recipe`` with missing models replaced by random weights in ``folder``, and the reason by model."""
    student, random_weights, numbers = recipe.student, dict[str, str](), count()

    def loadable(spec: TeacherSpec) -> TeacherSpec:
        if (missing := shape_if_missing(spec.model, spec.revision)) is None:
            return spec
        made = folder / f"teacher-{next(numbers)}"
        random_weights[spec.model], shape = missing
        return replace(spec, model=str(save_random_weights(made, shape)), revision=None)

    teacher = recipe.teacher.map_models(loadable)
    name = student.start or student.backbone
    if name and (missing := shape_if_missing(name, student.revision)):
        random_weights[name], shape = missing
        made = save_random_weights(folder / "student", shape)
        student = replace(student, start=None, backbone=str(made), revision=None)
    if random_weights:  # whose tokenizers have other tokens than those of a file
        student = replace(student, tokens=None)
    return replace(recipe, teacher=teacher, student=student), random_weights


def _existing(folder: Path) -> Path:
    """Return ``folder`` or its nearest existing parent, to measure the free space on the disk."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
