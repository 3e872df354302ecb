"""One distillation in its run folder: the stages in order, each of which can be repeated by itself.

recipe.json   the recipe as written and as resolved, and library versions
store/        texts and targets
general/      texts and targets of the general domain, if the recipe names one
vocabulary.json  the tokens that the student keeps, if the recipe limits their number
checkpoints/  written by the trainer
model/        the student, for plain SentenceTransformer(...)
results/      measurements as JSON rows
report/       the report page

Several processes (``torchrun --nproc-per-node 2 -m leaf_st run RECIPE``) carry out one run together: each process
embeds a partition of the texts, all processes train one student, and the first process writes and logs.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback

from leaf_st.atomic import make_folder
from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import SharedTeacher
from leaf_st.evaluation.measurements.agreement import AGREEMENT
from leaf_st.evaluation.measurements.agreement_row import HELD_OUT, AgreementRow
from leaf_st.evaluation.measurements.agreement_rows import measure_held_out
from leaf_st.evaluation.measurements.alignment import ALIGNMENT, Alignment, measure_alignment
from leaf_st.evaluation.results import Result
from leaf_st.lock import only_process
from leaf_st.models.load import load_model
from leaf_st.pipeline.embedding import Embedding, fit_teacher
from leaf_st.pipeline.exclude import existing_sets, missing_sets
from leaf_st.pipeline.lock import only_launch_of
from leaf_st.pipeline.pinned_texts import at_newest_commit
from leaf_st.pipeline.precision import precision_of_run, with_precision
from leaf_st.pipeline.record import (
    other_texts,
    require_outside_of_models,
    require_same_student,
    require_same_texts,
    resolved_recipe,
    run_record,
    texts_of_training,
)
from leaf_st.pipeline.results import evaluate_student, remove_results_of_another_student
from leaf_st.pipeline.run_texts import RunTexts, describe_texts, require_usable_texts
from leaf_st.pipeline.text_length import require_long_enough, unread_in_training
from leaf_st.recipe import Recipe
from leaf_st.run_folder import FIT, GENERAL, MODEL, RESULTS, STORE, has_begun_training, write_record
from leaf_st.teacher.open import kind_of, open_teacher, require_teacher
from leaf_st.teacher.protocol import Fingerprint, Service, Teacher
from leaf_st.teacher.service_errors import or_train
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.teacher.workers import WHOLE, Engine, Partition, join
from leaf_st.texts import Text
from leaf_st.texts.check import left_out
from leaf_st.training.arguments import training_arguments
from leaf_st.training.budget import steps_of_budget, with_steps
from leaf_st.training.train import initial_student, train
from leaf_st.training.trainer import untrained_rows
from leaf_st.training.trial import try_arguments

_logger = logging.getLogger(__name__)


class Run:
    """A recipe and its run folder, in this process or in all processes that a launcher started.

    Args:
        recipe: The recipe.
        folder: A new or empty folder, or the folder of an earlier run of the same recipe, which is resumed.
        max_tokens: Number of tokens after which an API is asked for no further texts; None for no limit.

    Raises:
        InputError: If the folder contains other files or the run of another recipe, or is inside the folder of a model.
    """

    def __init__(self, recipe: Recipe, folder: Path, max_tokens: int | None = None) -> None:
        self._processes = join(recipe.training.arguments.get("use_cpu", False))
        self.folder = folder
        # Each process counts its own tokens.
        self._max_tokens = None if max_tokens is None else max_tokens // self._processes.num_processes
        self._partitions = 1  # launches that share the budget and the limits of an API
        self._asked = recipe
        self.recipe = resolved_recipe(recipe, folder)
        require_outside_of_models(self.recipe, folder)
        self.use_texts(self.recipe)
        self._teacher: Teacher | None = None
        self._student: SentenceTransformer | None = None  # untrained
        self._store: EmbeddingStore | None = None
        if self.recipe.name != recipe.name:
            self._log(f"the trained student keeps the name {self.recipe.name}, because its results have this name")

    def use_texts(self, recipe: Recipe) -> None:
        """Read the texts of ``recipe``, before the run embeds; the rest of ``recipe`` is that of the run too."""
        self.recipe = recipe
        self._texts = RunTexts(recipe.texts, self.folder, self._processes)

    @property
    def is_without_store(self) -> bool:
        """Whether the student is trained and its store was deleted, so that only a measurement needs vectors again."""
        return (self.folder / MODEL).is_dir() and not (self.folder / STORE / STORE_MANIFEST).is_file()

    @property
    def teacher(self) -> Teacher:
        """The teacher, loaded at the first access."""
        if self._teacher is None:
            max_tokens = None if self._max_tokens is None else self._max_tokens // self._partitions
            teacher = open_teacher(self.recipe.teacher, self._device, max_tokens)
            if isinstance(teacher, Service) and self._partitions > 1:
                teacher.divide_limits(self._processes.num_processes * self._partitions)
            # Earlier versions did not compare the width, and a run that has begun cannot name another teacher.
            if not (self.folder / STORE).exists() and not has_begun_training(self.folder):
                kind_of(self.recipe.teacher).check_new(teacher)
            self._teacher = teacher
        return self._teacher

    def embed(self, engine: Engine = WHOLE) -> EmbeddingStore | None:
        """Embed the texts into ``store/``; the ``engine`` decides who makes which shard.

        Returns:
            The store, or None if other partitions are not embedded yet.

        Raises:
            InputError: If a part of the recipe cannot be used. Everything that only training needs is checked before
                the first text is embedded.
        """
        # All other engines make the complete store.
        partition = engine if isinstance(engine, Partition) else WHOLE
        self._partitions = partition.count
        require_same_student(self.recipe, self.folder)
        if self.is_without_store:
            self._log(f"the student is trained, but {self.folder / STORE} is incomplete: the texts are embedded again")
        self.use_texts(at_newest_commit(self.recipe))
        sets = self._existing_sets()
        self._texts.exclude(sets if self._asked.texts.exclude is None else ())
        self._log(f"texts: {describe_texts(self.recipe.texts)}")
        require_usable_texts(self.recipe, self._texts.excluded)
        has_general = self.recipe.general is None or (self.folder / GENERAL / STORE_MANIFEST).is_file()
        spec = self.recipe.teacher
        is_service = spec.embeds_new_texts and not spec.models
        with or_train(self.folder / STORE) if is_service and has_general else nullcontext():
            fingerprint = self.teacher.fingerprint
        student = self._build_student(fingerprint)
        self._texts.shorten(self.recipe, self.teacher, student)
        self._require_texts_of_training(student)
        self._use_precision_of_run()
        self._write_record(self.teacher.fingerprint, student)
        self._texts.download(student)
        if isinstance(self.teacher, Service):
            with self._processes.main_process_first():
                if self._processes.is_main_process:
                    self.teacher.require_accepted(self._new_texts)
        if self.recipe.teacher.needs_fit:
            path = self.folder / FIT
            fit_teacher(self.teacher, self._texts.read(self.teacher, Counter()), path, self._processes)
            self.recipe = replace(self.recipe, teacher=self.recipe.teacher.with_fit(path))
            self._write_record(self.teacher.fingerprint, student)
        embedding = Embedding(self.recipe.teacher, self.teacher, self._texts, student, self.folder, self._processes)
        with only_launch_of(partition, self.folder, self._processes):
            if not engine.embed(self._processes, embedding.make_shards):
                if engine.is_whole:
                    raise InputError(
                        f"{self.folder / STORE}: expected the shards of all processes, found only some, because the "
                        "machines of this launch do not see the same run folder: name a folder that all machines share "
                        "with --output, or copy the files shard-* of all machines into this folder and run the same "
                        "command again"
                    )
                return None
            self._store = EmbeddingStore(self.folder / STORE, verified=engine.is_whole)
            self._write_record(self.teacher.fingerprint, student)
            self._log(f"{len(self._store):,} texts of {self.recipe.texts.source}{left_out(embedding.skipped)}")
            if self.recipe.general is not None:
                embedding.embed_general(self.recipe.general, self._store)
        return self._store

    def _new_texts(self) -> Iterator[Text]:
        """Yield the texts of each store that has no shard yet; an earlier command checked those of other stores."""
        if not find_shards(self.folder / STORE):
            self._log(f"counting the tokens of the texts of {self.recipe.texts.source} before the first text is sent")
            yield from self._texts.read(self.teacher, Counter())
        if (general := self.recipe.general) is not None and not find_shards(self.folder / GENERAL):
            self._log(f"counting the tokens of the texts of {general.source} before the first text is sent")
            yield from self._texts.all_general(general, Counter())

    def _require_texts_of_training(self, student: SentenceTransformer) -> None:
        """Compare the texts with those of the student, before a deleted store is made again."""
        expected = texts_of_training(self.folder)
        if expected is None or (self.folder / STORE / STORE_MANIFEST).is_file():
            return
        self._texts.download(student)
        if (found := self._texts.digest(self.teacher)) != expected:
            raise other_texts(self.folder, expected, found)

    def _use_precision_of_run(self) -> None:
        """Replace the precision "auto" by that of this run's vectors, on machines of all kinds."""
        own = self.teacher.fingerprint.precision
        # Other machines may have begun or resumed the run while this one loaded the teacher.
        precision = precision_of_run(resolved_recipe(self._asked, self.folder), own)
        if precision != own:
            self._teacher = None
        self.recipe = with_precision(self.recipe, precision)

    def train(
        self, callbacks: Sequence[TrainerCallback] = (), evaluator: BaseEvaluator | None = None
    ) -> SentenceTransformer:
        """Train the student on ``store/``, or load the student if ``model/`` exists.

        Args:
            callbacks: Callbacks of the user.
            evaluator: Evaluator of sentence-transformers, called at each validation.

        Raises:
            InputError: If ``store/`` is missing, damaged, from another teacher, of texts that are shorter than the
                student reads, or of other texts than the training began with; if the student's backbone or start has
                changed since then; or if another process uses the run folder. A trained student needs no store.
        """
        with only_process(self.folder) if self._processes.is_main_process else nullcontext():
            return self._train(callbacks, evaluator)

    def _train(self, callbacks: Sequence[TrainerCallback], evaluator: BaseEvaluator | None) -> SentenceTransformer:
        require_same_student(self.recipe, self.folder)
        if self.is_without_store:
            return load_model(str(self.folder / MODEL))
        is_embedded_here = self._store is not None
        store = self._open_store()
        require_teacher(self.recipe.teacher, store.fingerprint, f"store {store.folder}")
        require_same_texts(store, self.folder)
        if (self.folder / MODEL).is_dir():
            return load_model(str(self.folder / MODEL))
        general = self._open_general(store)
        self._texts.log_closed_licences()
        # Training changes this object, so a second call must build a new student.
        student, self._student = self._build_student(store.fingerprint), None
        if not has_begun_training(self.folder):  # an earlier version may have begun with shorter texts
            require_long_enough(store, self.recipe, student)
        if not is_embedded_here and (warning := unread_in_training(store, self.recipe, student)):  # `embed` said so
            self._log(warning)
        self._write_record(store.fingerprint, student)
        if not isinstance(self._teacher, Service):  # a service counts the tokens of texts and evaluation together
            self._teacher = None  # frees the memory of a large teacher
        if self._fix_steps(store, general, student):
            self._write_record(store.fingerprint, student)
        record = self._record(store.fingerprint, student)
        if self._processes.is_main_process and not has_begun_training(self.folder):
            remove_results_of_another_student(self.folder / RESULTS)
        teacher = partial(open_teacher, self.recipe.teacher, self._device)
        return train(
            self.recipe,
            store,
            self.folder,
            student,
            teacher=teacher,
            record=record,
            general=general,
            callbacks=callbacks,
            evaluator=evaluator,
        )

    def _build_student(self, fingerprint: Fingerprint) -> SentenceTransformer:
        """Return the untrained student, which is built once."""
        if self._student is None:
            device = self._processes.device.type
            training_arguments(self.recipe, self.folder, device)
            try_arguments(self.recipe, fingerprint, device)
            student = initial_student(self.recipe, fingerprint, self._device)
            if self.recipe.student.needs_tokens:
                self._write_record(fingerprint, student)
                self.recipe = self._texts.count_tokens(self.recipe, student)
                student = initial_student(self.recipe, fingerprint, self._device)
            if layers := self.recipe.student.layers:
                kept = ",".join(map(str, layers))
                self._log(f"the student keeps {len(layers)} of the backbone's layers: {kept}")
            self._student = student
        return self._student

    def _open_store(self) -> EmbeddingStore:
        if not (self.folder / STORE).is_dir():
            raise InputError(f"{self.folder / STORE} is missing: run `leaf-st embed` first")
        self._store = self._store or EmbeddingStore(self.folder / STORE)
        return self._store

    def _open_general(self, store: EmbeddingStore) -> EmbeddingStore | None:
        """Return the store of the general domain, if the recipe names one."""
        if self.recipe.general is None:
            return None
        if not (self.folder / GENERAL).is_dir():
            raise InputError(f"{self.folder / GENERAL} is missing: run `leaf-st embed` first")
        return EmbeddingStore(self.folder / GENERAL, store.fingerprint)

    def _fix_steps(self, store: EmbeddingStore, general: EmbeddingStore | None, student: SentenceTransformer) -> bool:
        """Convert the time budget to a number of steps, once per run; returns whether the recipe changed."""
        recipe = self.recipe
        if not recipe.training.has_budget:
            return False
        if self._processes.is_main_process:
            store.require_intact()
        self._processes.wait_for_everyone()
        steps = steps_of_budget(recipe, store, general, student)
        self._log(f"{recipe.training.budget_minutes:g} minutes allow {steps:,} steps on this machine")
        rows = len(store) - len(untrained_rows(store, recipe.training))
        self.recipe = with_steps(recipe, steps, rows)
        if (fewer := self.recipe.training.arguments["max_steps"]) < steps:
            self._log(f"num_train_epochs ends the training earlier, after {fewer:,} steps")
        return True

    def leave_group(self) -> bool:
        """End the group of processes; returns whether this process is the first, which measures and prints."""
        first: bool = self._processes.is_main_process
        self._processes.destroy_process_group()
        return first

    def evaluate(self, tasks: Sequence[str] = (), shared: SharedTeacher | None = None) -> list[Result]:
        """Evaluate the student in ``model/`` in all modes on ``tasks``, or on the sets of the recipe that exist.

        Args:
            tasks: Tasks of mteb and local sets.
            shared: The teacher of this run, which was opened for several students; opened here if None.
        """
        if not (found := tasks or self._existing_sets()):
            return []
        # An API counts the tokens of texts and evaluation together. Training has dropped a local model.
        teacher, vectors = (self.teacher, None) if shared is None else (shared.teacher, shared.vectors)
        return evaluate_student(self.folder, found, teacher, vectors)

    def _existing_sets(self) -> list[str]:
        """Return the evaluation sets that exist, and log the others."""
        for name in missing_sets(self.recipe):
            self._log(f"evaluation set {name} does not exist: it is left out of the evaluation")
        return existing_sets(self.recipe)

    def held_out_results(self) -> tuple[list[AgreementRow], Alignment] | None:
        """Return agreement and distance on the held-out texts, as measured before the store was deleted.

        The result is None if the store exists or one of the two was not measured: both can then be measured only with
        the vectors in the store.
        """
        results = self.folder / RESULTS
        if not self.is_without_store or not (alignment := ALIGNMENT.read(results)):
            return None
        agreement = [row for row in AGREEMENT.read(results) if row.set == HELD_OUT]
        return (agreement, alignment[0]) if agreement else None

    def measure_alignment(self) -> Alignment:
        """Measure the distance of the student in ``model/`` to the targets of the held-out rows (paper Eq. 2).

        The rows of the general domain, if the recipe names one, are measured and recorded, but not returned.
        """
        return measure_alignment(self.folder)[0]

    def measure_agreement(self) -> list[AgreementRow]:
        """Measure which of the teacher's nearest documents the student in ``model/`` finds for the held-out queries."""
        return measure_held_out(self.folder)

    def _record(self, fingerprint: Fingerprint, student: SentenceTransformer) -> dict[str, object]:
        device, processes = str(student.device.type), self._processes.num_processes
        store, compared = self._store, self._texts.excluded is not None
        return run_record(self._asked, self.recipe, self.folder, fingerprint, device, processes, store, compared)

    def _write_record(self, fingerprint: Fingerprint, student: SentenceTransformer) -> None:
        """Write recipe.json, after texts, teacher and student were checked and before any work."""
        if self._processes.is_main_process:
            make_folder(self.folder)
            write_record(self.folder, self._record(fingerprint, student))

    @property
    def _device(self) -> str | None:
        """The device of this process among several; None, for sentence-transformers' choice, in a single process."""
        return str(self._processes.device) if self._processes.num_processes > 1 else None

    def _log(self, message: str) -> None:
        if self._processes.is_main_process:
            _logger.info(message)
