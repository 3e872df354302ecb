"""One distillation in its run folder: the stages in their order, each one able to run again alone.

runs/NAME/recipe.json  what was asked for, what it was resolved to, versions of the libraries
store/        texts and targets
general/      those of the general domain, where the recipe names them
checkpoints/  the trainer's own
model/        the student, for plain SentenceTransformer(...)
results/      measurements, one row each
report/       a page of them

Several processes (`accelerate launch`) carry out one run together: each embeds a partition of the texts, all train one
student, and the first of them writes and prints.
"""

from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import gather_object
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import get_device_name

from leaf_st.errors import InputError
from leaf_st.evaluation.alignment import measure_alignment
from leaf_st.evaluation.measurements.alignment import Alignment
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import Result
from leaf_st.models.find import commit_of, find_model, published_as
from leaf_st.models.load import load_model
from leaf_st.recipe import PAPER, TEACHER_OF_START, Precision, Recipe, TextsSpec
from leaf_st.run_folder import (
    GENERAL,
    MODEL,
    RESULTS,
    STORE,
    TEXTS,
    differences,
    known_record,
    read_record,
    write_record,
)
from leaf_st.student.new import new_student
from leaf_st.teacher.open import open_teacher, require_teacher, teacher_spec
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint, Teacher
from leaf_st.teacher.shard import text_id
from leaf_st.teacher.store import FINGERPRINT, EmbeddingStore
from leaf_st.teacher.workers import join
from leaf_st.texts.paper.fetch import chosen, closed_licences, fetch, format_sources, provenance
from leaf_st.texts.read import read_texts
from leaf_st.training.arguments import named_arguments, training_arguments
from leaf_st.training.budget import steps_within, trial_texts
from leaf_st.training.train import require_intact, train
from leaf_st.training.trainer import held_out_rows

_LIBRARIES = ("leaf-st", "sentence-transformers", "transformers", "torch", "datasets", "accelerate", "mteb")


class Run:
    """A recipe and the folder in which it is carried out, by this process or by all that a launcher started.

    Args:
        recipe: What to do.
        folder: New, empty, or of an earlier run of the same recipe, which then goes on.

    Raises:
        InputError: If the folder holds something else or another recipe's run.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._processes = join(recipe.training.arguments.get("use_cpu", False))
        self.folder = folder
        self._asked = recipe
        self.recipe = recipe
        self._teacher: Teacher | None = None
        known = known_record(folder, recipe)
        if known is None:
            self.recipe = _with_teacher(recipe)
        else:
            resolved = Recipe.from_dict(known["resolved"])
            same = not differences(known["recipe"], recipe)
            self.recipe = resolved if same else replace(recipe, teacher=resolved.teacher)

    @property
    def teacher(self) -> Teacher:
        """The teacher, loaded when first asked for."""
        if self._teacher is None:
            self._teacher = open_teacher(self.recipe.teacher, self._device)
        return self._teacher

    def embed(self, partition: tuple[int, int] = (0, 1)) -> EmbeddingStore | None:
        """Embed the texts into ``store/``; None while other partitions are still at work.

        Of several processes each does its part of the partition.
        """
        spec = self.recipe.texts
        # What is wrong with texts, teacher, student or arguments shall be said now, not after hours of embedding.
        if spec.source == PAPER:
            chosen(spec)
        else:
            next(read_texts(spec, Counter()))
        if self.recipe.general is not None:
            next(read_texts(self.recipe.general, Counter(), "general"))
        student = new_student(self.recipe, self.teacher.fingerprint, self._device)
        training_arguments(self.recipe, self.folder, student.device.type)
        # "auto" is what this machine makes of it: another one that goes on shall not make it something else.
        resolved = replace(self.recipe.teacher, precision=cast(Precision, self.teacher.fingerprint.precision))
        self.recipe = replace(self.recipe, teacher=resolved)
        self._write_down()
        total = None
        if spec.source == PAPER:
            self._name_closed_licences()
            with self._processes.main_process_first():
                rows = fetch(spec, self.folder / TEXTS, student)
            self._print(format_sources(rows, spec.per_source))
            spec = TextsSpec(str(self.folder / TEXTS), sentences=spec.sentences)
            total = None if spec.sentences else sum(rows.values())
        skipped: Counter[str] = Counter()
        made = precompute(
            read_texts(spec, skipped),
            self.teacher,
            self.folder / STORE,
            dtype=self.recipe.teacher.store_dtype,
            partition=self._part_of(partition),
            skipped=skipped,
            total=total or sum(1 for _ in read_texts(spec, Counter())),
        )
        # Which one came last, and so has seen all shards, only they know.
        if not any(gather_object([made is not None])):
            return None
        store = EmbeddingStore(self.folder / STORE)
        self._print(f"{len(store):,} texts of {self.recipe.texts.source}{_listed(skipped)}")
        self._embed_general(store)
        return store

    def _embed_general(self, store: EmbeddingStore) -> None:
        """Embed the texts of the general domain into ``general/``, but those of ``store``, which are trained on."""
        spec = self.recipe.general
        if spec is None:
            return
        texts = {text_id(row.text): row for row in read_texts(spec, Counter(), "general")}
        trained = {identity for ids in store.ids() for identity in np.intersect1d(ids, list(texts)).tolist()}
        fresh = [row for identity, row in texts.items() if identity not in trained]
        if not fresh:
            raise InputError(f"general.source {spec.source}: all of its texts are trained on: name another source")
        dtype = self.recipe.teacher.store_dtype
        with self._processes.main_process_first():
            precompute(fresh, self.teacher, self.folder / GENERAL, dtype=dtype, total=len(fresh))
        self._print(f"{len(fresh):,} texts of {spec.source} to watch the general domain")

    def train(self) -> SentenceTransformer:
        """Train the student on ``store/``, or load it if that was done."""
        if not (self.folder / STORE).is_dir():
            raise InputError(f"{self.folder / 'store'} is not there: run `leaf-st embed` first")
        store = self._store_of_teacher(STORE)
        if (self.folder / MODEL).is_dir():
            return load_model(str(self.folder / MODEL))
        general = self._general()
        self._name_closed_licences()
        self._write_down()
        self._teacher = None  # its targets are in the store: training needs the memory
        self._fix_steps(store, general)
        return train(self.recipe, store, self.folder, self._record(), general, self._device)

    def _store_of_teacher(self, part: str) -> EmbeddingStore:
        """Open ``part`` of the run, which the recipe's teacher must have made, without loading the teacher."""
        store = EmbeddingStore(self.folder / part)
        require_teacher(self.recipe.teacher, store.fingerprint, f"store {store.folder}")
        return store

    def _fingerprint(self) -> Fingerprint:
        """Return what made the targets: the store knows, once it exists."""
        if self._teacher is None and (self.folder / STORE / FINGERPRINT).is_file():
            return EmbeddingStore(self.folder / STORE).fingerprint
        return self.teacher.fingerprint

    def _name_closed_licences(self) -> None:
        """Say it before anything is fetched, and again before training, which may be a command of its own."""
        if self.recipe.texts.source == PAPER and (closed := closed_licences(self.recipe.texts)):
            self._print(f"not all texts are open: {closed}")

    def goes_on_alone(self) -> bool:
        """End the work of several processes; True in the one that measures and prints."""
        first: bool = self._processes.is_main_process
        self._processes.destroy_process_group()
        return first

    def evaluate(self) -> list[Result]:
        """Measure the student in ``model/`` in all modes on the sets of the recipe that are there."""
        here = []
        for name in self.recipe.evaluate_on:
            if Path(name).exists():
                here.append(name)
            else:
                print(f"{name} is not there: left out")
        if not here:
            return []
        from leaf_st.evaluation.tasks.find import find_tasks
        from leaf_st.evaluation.tasks.runner import evaluate  # imports mteb, which takes seconds

        student = load_model(str(self.folder / MODEL))
        teacher = open_teacher(self.recipe.teacher, self._device)
        folder = self.folder / RESULTS
        return evaluate(find_tasks(here), teacher=teacher, student=student, modes=list(ROLES), folder=folder)

    def measure_alignment(self) -> Alignment:
        """Measure how far the student in ``model/`` is from the targets of the held-out rows (paper Eq. 2).

        Those of the general domain are measured too, where the recipe names them; returned are the held-out ones.
        """
        return measure_alignment(self.folder)[0]

    def _general(self) -> EmbeddingStore | None:
        """Return the store of the general domain, where the recipe names it."""
        if self.recipe.general is None:
            return None
        if not (self.folder / GENERAL).is_dir():
            raise InputError(f"{self.folder / 'general'} is not there: run `leaf-st embed` first")
        return self._store_of_teacher(GENERAL)

    def _write_down(self) -> None:
        """Write the recipe down before any work is spent, but not before its texts and its teacher were found."""
        if not self._processes.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_record(self.folder, self._record())

    def _fix_steps(self, store: EmbeddingStore, general: EmbeddingStore | None) -> None:
        """Turn the budget into a number of steps, once: what comes after it depends on no clock."""
        recipe = self.recipe
        if recipe.training.budget_minutes is None or "max_steps" in recipe.training.arguments:
            return
        if self._processes.is_main_process:
            require_intact(store)
        self._processes.wait_for_everyone()
        # From everywhere: the head of a source may have other lengths than the rest.
        count = trial_texts(recipe) * self._processes.num_processes
        rows = np.unique(np.random.default_rng(0).integers(len(store), size=count)).tolist()
        validation = len(held_out_rows(store, recipe.training)) + (0 if general is None else len(general))
        spec = replace(recipe.training, held_out_rows=max(1, validation))
        trial = replace(recipe, training=spec)
        steps = steps_within(trial, store.fingerprint, store.texts(rows), self._device)
        self._print(f"{recipe.training.budget_minutes:g} minutes hold {steps:,} steps on this machine")
        arguments = {**recipe.training.arguments, "max_steps": steps}
        self.recipe = replace(recipe, training=replace(recipe.training, arguments=arguments))
        self._write_down()

    def _record(self) -> dict[str, Any]:
        sources = self._sources()
        return {
            "recipe": self._asked.to_dict(),
            "resolved": self.recipe.to_dict(),
            "arguments": named_arguments(self.recipe, torch.device(self._device or get_device_name()).type),
            "processes": self._processes.num_processes,
            "teacher": self._fingerprint().to_dict(),
            "commits": _commits(self.recipe),
            **({"sources": sources} if sources else {}),
            "versions": {name: version(name) for name in _LIBRARIES},
        }

    def _sources(self) -> dict[str, Any]:
        """Return the sources of the texts that the student learns from, and learned from before it came here."""
        start, texts = self.recipe.student.start, self.recipe.texts
        before = _learned_before(start, self.recipe.student.revision) if start else {}
        return {**before, **(provenance(texts, self.folder / TEXTS) if texts.source == PAPER else {})}

    @property
    def _device(self) -> str | None:
        """This process's device among several; alone, whichever sentence-transformers finds."""
        return str(self._processes.device) if self._processes.num_processes > 1 else None

    def _part_of(self, partition: tuple[int, int]) -> tuple[int, int]:
        """Return this process's part of ``partition``; one that cannot be stays as it is, to be refused."""
        index, count = partition
        mine, processes = self._processes.process_index, self._processes.num_processes
        return (index + count * mine, count * processes) if 0 <= index < count else partition

    def _print(self, line: str) -> None:
        if self._processes.is_main_process:
            print(line, flush=True)


def _with_teacher(recipe: Recipe) -> Recipe:
    """Return ``recipe`` with a teacher that has a name, where it asks for that of the student."""
    if recipe.teacher.model != TEACHER_OF_START or recipe.student.start is None:
        return recipe
    taught = teacher_spec(recipe.student.start)
    prompts = recipe.teacher.prompts or taught.prompts
    teacher = replace(recipe.teacher, model=taught.model, revision=taught.revision, prompts=prompts)
    return replace(recipe, teacher=teacher)


def _learned_before(start: str, revision: str | None) -> dict[str, Any]:
    folder = find_model(start, revision)
    known: dict[str, Any] = read_record(folder).get("sources", {})
    # Those of the paper's authors came without a record, and without commits of their texts.
    return known or (provenance(TextsSpec(PAPER), folder / TEXTS) if published_as(start) else {})


def _commits(recipe: Recipe) -> dict[str, str | None]:
    """Return the commits that teacher and student's start or backbone are at, whatever revision names them."""
    student = recipe.student.start or recipe.student.backbone
    named = {"teacher": (recipe.teacher.model, recipe.teacher.revision), "student": (student, recipe.student.revision)}
    return {part: commit_of(find_model(name, revision)) for part, (name, revision) in named.items() if name}


def _listed(skipped: Counter[str]) -> str:
    if not skipped:
        return ""
    return "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
