"""One distillation in its run folder: the stages in their order, each one able to run again alone.

runs/NAME/recipe.json  what was asked for, what it was resolved to, versions of the libraries
store/        texts and targets
checkpoints/  the trainer's own
model/        the student, for plain SentenceTransformer(...)
results/      measurements, one row each

Several processes (`accelerate launch`) carry out one run together: each embeds a partition of the texts, all train one
student, and the first of them writes and prints.
"""

import json
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import is_temporary, replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.alignment import AlignmentEvaluator
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import Result, write_results
from leaf_st.processes import join
from leaf_st.recipe import Precision, Recipe, StudentSpec, TeacherSpec, TrainingSpec
from leaf_st.student.load import load_student, load_teacher
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.teacher.tiny import LAYERS, save_tiny_teacher
from leaf_st.texts.read import read_texts
from leaf_st.training.budget import TRIAL_TEXTS, steps_within
from leaf_st.training.train import named_arguments, new_student, require_intact, train, training_arguments
from leaf_st.training.trainer import held_out_rows

_LIBRARIES = ("leaf-st", "sentence-transformers", "transformers", "torch", "datasets", "accelerate", "mteb")

_PARTS = {"recipe.json", "store", "checkpoints", "model", "results", "report", "held_out", "teacher"}


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
        self._teacher: LocalTeacher | None = None
        known = self._known()
        if known is not None:
            resolved = Recipe.from_dict(known["resolved"])
            same = not _differences(known["recipe"], _as_json(recipe))
            self.recipe = resolved if same else replace(recipe, teacher=resolved.teacher)

    @property
    def teacher(self) -> LocalTeacher:
        """The teacher, loaded when first asked for."""
        if self._teacher is None:
            self._teacher = LocalTeacher.load(self.recipe.teacher, self._device)
        return self._teacher

    def embed(self, partition: tuple[int, int] = (0, 1)) -> EmbeddingStore | None:
        """Embed the texts into ``store/``; None while other partitions are still at work.

        Of several processes each does its part of the partition.
        """
        spec = self.recipe.texts
        # What is wrong with texts, teacher, student or arguments shall be said now, not after hours of embedding.
        next(read_texts(spec, Counter()))
        new_student(self.recipe, self.teacher.fingerprint, self._device)
        training_arguments(self.recipe, self.folder, self.teacher.model.device.type)
        # "auto" is what this machine makes of it: another one that goes on shall not make it something else.
        resolved = replace(self.recipe.teacher, precision=cast(Precision, self.teacher.fingerprint.precision))
        self.recipe = replace(self.recipe, teacher=resolved)
        self._write_down()
        skipped: Counter[str] = Counter()
        made = precompute(
            read_texts(spec, skipped),
            self.teacher,
            self.folder / "store",
            dtype=self.recipe.teacher.store_dtype,
            partition=self._part_of(partition),
            skipped=skipped,
            total=spec.limit if isinstance(spec.limit, int) else sum(1 for _ in read_texts(spec, Counter())),
        )
        # Which one came last, and so has seen all shards, only they know.
        if not any(gather_object([made is not None])):
            return None
        store = EmbeddingStore(self.folder / "store")
        self._print(f"{len(store):,} texts of {spec.source}{_listed(skipped)}")
        return store

    def train(self) -> SentenceTransformer:
        """Train the student on ``store/``, or load it if that was done."""
        if not (self.folder / "store").is_dir():
            raise InputError(f"{self.folder / 'store'} is not there: run `leaf-st embed` first")
        store = EmbeddingStore(self.folder / "store", self.teacher.fingerprint)
        if (self.folder / "model").is_dir():
            return load_student(str(self.folder / "model"))
        self._write_down()
        self._fix_steps(store)
        return train(self.recipe, store, self.folder, self._record(), self._device)

    def goes_on_alone(self) -> bool:
        """End the work of several processes; True in the one that measures and prints."""
        first: bool = self._processes.is_main_process
        self._processes.destroy_process_group()
        return first

    def evaluate(self) -> list[Result]:
        """Measure the student in ``model/`` in all modes on the sets of the recipe that are there."""
        rows: list[Result] = []
        if not self.recipe.evaluate_on:
            return rows
        from leaf_st.evaluation.retrieval import evaluate_retrieval  # imports mteb, which takes seconds

        student = load_student(str(self.folder / "model"))
        teacher = load_teacher(self.recipe.teacher, student)
        for name in self.recipe.evaluate_on:
            if not Path(name).is_dir():
                print(f"{name} is not there: left out")
                continue
            rows += evaluate_retrieval(Path(name), teacher=teacher, student=student, modes=list(ROLES))
            write_results(self.folder / "results" / "retrieval.json", rows)
        return rows

    def measure_alignment(self) -> dict[str, float]:
        """Measure how far the student in ``model/`` is from the targets of the held-out rows (paper Eq. 2)."""
        store = EmbeddingStore(self.folder / "store")
        rows = held_out_rows(store, self.recipe.training).tolist()
        student = load_student(str(self.folder / "model"))
        # As in training: the targets may be of the head of a text, where the student in use reads on.
        student.max_seq_length = self.recipe.training.max_length or student.max_seq_length
        found = AlignmentEvaluator(store.prompted(rows), store.embeddings(rows))(student)
        write_json(self.folder / "results" / "alignment.json", [{"set": "held-out texts", "rows": len(rows), **found}])
        print(f"{len(rows):,} held-out texts: mean L2 {found['l2']:.4f}, mean cosine {found['cosine']:.4f}")
        return found

    def _write_down(self) -> None:
        """Write the recipe down before any work is spent, but not before its texts and its teacher were found."""
        if not self._processes.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "recipe.json", self._record())

    def _fix_steps(self, store: EmbeddingStore) -> None:
        """Turn the budget into a number of steps, once: what comes after it depends on no clock."""
        recipe = self.recipe
        if recipe.training.budget_minutes is None or "max_steps" in recipe.training.arguments:
            return
        if self._processes.is_main_process:
            require_intact(store)
        self._processes.wait_for_everyone()
        # From everywhere: the head of a source may have other lengths than the rest.
        count = TRIAL_TEXTS * self._processes.num_processes
        rows = np.unique(np.random.default_rng(0).integers(len(store), size=count)).tolist()
        held_out = replace(recipe.training, held_out_rows=max(1, len(held_out_rows(store, recipe.training))))
        trial = replace(recipe, training=held_out)
        steps = steps_within(trial, store.fingerprint, store.texts(rows), self._device)
        self._print(f"{recipe.training.budget_minutes:g} minutes hold {steps:,} steps on this machine")
        arguments = {**recipe.training.arguments, "max_steps": steps}
        self.recipe = replace(recipe, training=replace(recipe.training, arguments=arguments))
        self._write_down()

    def _record(self) -> dict[str, Any]:
        return {
            "recipe": self._asked.to_dict(),
            "resolved": self.recipe.to_dict(),
            "arguments": named_arguments(self.recipe, str(self.teacher.model.device.type)),
            "processes": self._processes.num_processes,
            "teacher": self.teacher.fingerprint.to_dict(),
            "versions": {name: version(name) for name in _LIBRARIES},
        }

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

    def _known(self) -> dict[str, Any] | None:
        """Return the record of an earlier run in this folder, which must be of the same recipe."""
        path = self.folder / "recipe.json"
        if not path.is_file():
            if self.folder.exists() and (not self.folder.is_dir() or _foreign(self.folder)):
                raise InputError(f"{self.folder} holds something that is no run: name another --output")
            return None
        known = _read_record(path)
        for key in _differences(known["recipe"], _as_json(self._asked)):
            if key.startswith(tuple(f"{part}." for part in self._made_of())):
                raise InputError(
                    f"{self.folder} is a run of another recipe ({key}): name another --output, or delete it"
                )
        return known

    def _made_of(self) -> list[str]:
        """Return the parts of the recipe that shaped what lies in the folder already."""
        trained = any((self.folder / name).exists() for name in ("checkpoints", "model"))
        return ["texts", "teacher", "student", "training"] if trained else ["texts", "teacher"]


def smoke(recipe: Recipe, folder: Path) -> Recipe:
    """Return ``recipe`` made small: a tiny teacher (made in ``folder``), few texts, two steps."""
    teacher = folder / "teacher"
    layers = [layer for layer in recipe.student.layers or () if layer < LAYERS]
    arguments = {
        **recipe.training.arguments,
        "max_steps": 2,
        "eval_steps": 0.5,
        "save_steps": 0.5,
        "use_cpu": True,
    }
    small = Recipe(
        name=recipe.name,
        texts=replace(recipe.texts, limit=1024),  # two steps of thirty processes, too
        teacher=TeacherSpec(model=str(teacher), prompts=recipe.teacher.prompts),
        student=StudentSpec(layers=layers or (0, 2), closed_form_rows=64),
        training=TrainingSpec(distance=recipe.training.distance, held_out_rows=16, arguments=arguments),
    )
    Run(small, folder)  # refuses a folder that is not its own, before a teacher is put there
    with PartialState().main_process_first():
        if not teacher.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            replace_folder(teacher, save_tiny_teacher)
    return small


def _foreign(folder: Path) -> bool:
    return any(path.name not in _PARTS and not is_temporary(path) for path in folder.iterdir())


def _as_json(recipe: Recipe) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(json.dumps(recipe.to_dict()))


def _read_record(path: Path) -> dict[str, Any]:
    """Return the record that an earlier run wrote to ``path``."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): name another --output, or delete it") from error
    if not isinstance(known, dict) or not {"recipe", "resolved"} <= set(known):
        raise InputError(f"{path} is no record of a run: name another --output, or delete it")
    return known


def _listed(skipped: Counter[str]) -> str:
    if not skipped:
        return ""
    return "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Name the values in which two recipes differ."""
    found: list[str] = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r}, is {new!r}")
    return found
