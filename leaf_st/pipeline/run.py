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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from accelerate.utils import gather_object
from filelock import FileLock
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
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import require_no_student
from leaf_st.lock import only_process, only_process_of_part
from leaf_st.models.load import load_model, warn_once
from leaf_st.models.tokens import copy_tokenizer, max_length_of, unread_end
from leaf_st.pipeline.exclude import excluded_contents, existing_sets, missing_sets
from leaf_st.pipeline.record import (
    TEXTS_DIGEST,
    other_texts,
    require_outside_of_models,
    require_same_student,
    require_same_texts,
    resolved_recipe,
    run_record,
    texts_of_training,
)
from leaf_st.pipeline.text_length import cut_to, require_long_enough, tokens_read, tokens_to_embed, unread_in_training
from leaf_st.pipeline.unknown_tokens import SAMPLE, unknown_tokens
from leaf_st.pipeline.vocabulary import count_training_texts, require_counted_texts
from leaf_st.recipe import DOCSTRINGS, PAPER, Recipe, TextsSpec
from leaf_st.run_folder import (
    FIT,
    GENERAL,
    MODEL,
    RESULTS,
    STORE,
    STORE_LOCK,
    TEXTS,
    VOCABULARY,
    has_begun_training,
    read_record,
    write_record,
)
from leaf_st.student.kept_tokens import read_kept
from leaf_st.teacher.open import kind_of, open_teacher, require_teacher, usable_texts
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint, Fitted, NoVectorError, Service, Teacher
from leaf_st.teacher.service_errors import or_train
from leaf_st.teacher.store import (
    CUT_AT,
    FINGERPRINT,
    STORE_MANIFEST,
    UNIQUE_BY_KIND,
    EmbeddingStore,
    digest_of_ids,
    read_header,
)
from leaf_st.teacher.workers import WHOLE, Engine, MakerOf, Partition, join
from leaf_st.texts import Text
from leaf_st.texts.check import left_out
from leaf_st.texts.cut import Cutter
from leaf_st.texts.exclude import EXCLUDED, Contents
from leaf_st.texts.fold import text_id
from leaf_st.texts.paper.fetch import closed_licences, fetch, format_sources, selected_sources
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.progress import ReadProgress
from leaf_st.texts.read import read_texts, require_texts
from leaf_st.texts.select import Cut
from leaf_st.training.arguments import training_arguments
from leaf_st.training.budget import steps_of_budget, with_steps
from leaf_st.training.train import initial_student, train
from leaf_st.training.trainer import HELD_OUT_SHARE, held_out_count, untrained_rows
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
        self._teacher: Teacher | None = None
        self._student: SentenceTransformer | None = None  # untrained
        self._store: EmbeddingStore | None = None
        self._excluded: Contents | None = None
        if self.recipe.name != recipe.name:
            self._log(f"the trained student keeps the name {self.recipe.name}, because its results have this name")

    @property
    def is_without_store(self) -> bool:
        """Whether the student is trained and its store was deleted, so that only a measurement needs vectors again."""
        return (self.folder / MODEL).is_dir() and not (self.folder / STORE / STORE_MANIFEST).is_file()

    @property
    def _has_begun(self) -> bool:
        return (self.folder / STORE).exists() or has_begun_training(self.folder)

    @property
    def teacher(self) -> Teacher:
        """The teacher, loaded at the first access."""
        if self._teacher is None:
            max_tokens = None if self._max_tokens is None else self._max_tokens // self._partitions
            teacher = open_teacher(self.recipe.teacher, self._device, max_tokens)
            if isinstance(teacher, Service) and self._partitions > 1:
                teacher.divide_limits(self._processes.num_processes * self._partitions)
            # Earlier versions did not compare the width, and a run that has begun cannot name another teacher.
            if not self._has_begun:
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
        self._existing_sets()
        self._read_excluded()
        self._require_texts()
        has_general = self.recipe.general is None or (self.folder / GENERAL / STORE_MANIFEST).is_file()
        spec = self.recipe.teacher
        is_service = spec.embeds_new_texts and not spec.models
        with or_train(self.folder / STORE) if is_service and has_general else nullcontext():
            fingerprint = self.teacher.fingerprint
        student = self._build_student(fingerprint)
        cut_at = self._cut_at(student)
        cut = cut_to(cut_at, student, self.teacher.fingerprint.prompts)
        if cut_at is not None:
            self._log(f"texts are cut to the {cut_at:,} tokens that the student reads in training")
        elif warning := unread_end(tokens_read(self.recipe, student), self.teacher.fingerprint.max_length):
            self._log(warning)
        self._require_texts_of_training(student, cut)
        self._use_precision_of_run()
        self._write_record(self.teacher.fingerprint, student)
        texts = self._local_texts(student)
        if isinstance(self.teacher, Service) and not (self.folder / STORE / STORE_MANIFEST).is_file():
            self.teacher.require_accepted(partial(self._read_texts, texts, Counter(), cut))
        if self.recipe.teacher.needs_fit:
            self._fit_teacher(texts, cut)
            self._write_record(self.teacher.fingerprint, student)
        skipped: Counter[str] = Counter()
        with self._only_launch_of(partition):
            if not engine.embed(self._processes, partial(self._make_shards, texts, skipped, cut, cut_at)):
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
            self._log(f"{len(self._store):,} texts of {self.recipe.texts.source}{left_out(skipped)}")
            self._embed_general(self._store, cut, cut_at)
        return self._store

    def _use_precision_of_run(self) -> None:
        """Replace the precision "auto" by that of this run's vectors, on machines of all kinds.

        The store states the precision, or else the record: other machines may have begun or resumed the run while this
        one loaded the teacher. In a new run, the first process decides.
        """
        known, own = resolved_recipe(self._asked, self.folder).teacher, self.teacher.fingerprint.precision
        precision: str = gather_object([kind_of(known).precision(known) or own])[0]
        if precision != own:
            _logger.warning(
                "the teacher is loaded again in %s, the precision of this run: teacher.precision=auto means %s on this "
                "machine",
                *(precision, own),
            )
            self._teacher = None
        spec = self.recipe.teacher
        self.recipe = replace(self.recipe, teacher=kind_of(spec).with_precision(spec, precision))

    @contextmanager
    def _only_launch_of(self, partition: Partition) -> Iterator[None]:
        """Let no other launch embed the same ``partition`` at the same time: the texts would be paid for twice.

        Raises:
            InputError: If another one does.
        """
        part = (self.folder / STORE, partition.index, partition.count)
        is_first = self._processes.is_main_process
        with only_process_of_part(self.folder / STORE_LOCK, *part) if is_first else nullcontext():
            self._processes.wait_for_everyone()  # the others embed only if the first one holds the lock
            yield

    def _fit_teacher(self, spec: TextsSpec, cut: Cut) -> None:
        """Let the teacher learn from the first texts, in one process, and use the result in all processes."""
        teacher, path = self.teacher, self.folder / FIT
        assert isinstance(teacher, Fitted)  # TeacherSpec.needs_fit
        if self._processes.is_main_process:
            make_folder(path.parent)
            # Partitions of one run start together, each with a main process: all must use what the first one learned.
            with FileLock(path.with_name(".lock")):
                if not path.is_file():
                    texts = read_texts(spec, Counter(), prompts=teacher.prompts, excluded=self._excluded, cut=cut)
                    teacher.fit(texts, path)
        self._processes.wait_for_everyone()
        teacher.use(path)
        self.recipe = replace(self.recipe, teacher=self.recipe.teacher.with_fit(path))

    def _make_shards(
        self,
        spec: TextsSpec,
        skipped: Counter[str],
        cut: Cut,
        cut_at: int | None,
        own: Callable[[int], bool],
        maker_of: MakerOf | None = None,
    ) -> EmbeddingStore | None:
        """Read the texts and make the shards that ``own`` selects, as `leaf_st.teacher.workers.Make`."""
        skipped.clear()
        progress = ReadProgress()
        store = self.folder / STORE
        texts = iter(self._read_texts(spec, skipped, cut, progress))
        first = list(islice(texts, SAMPLE))
        student = self._build_student(self.teacher.fingerprint)
        if self._processes.is_main_process and (warning := unknown_tokens(student, first)):
            warn_once(warning)
        return precompute(
            chain(first, texts),
            self.teacher,
            store,
            dtype=self.recipe.teacher.store_dtype,
            own=own,
            skipped=skipped,
            total=progress.expected_texts,
            rows_per_shard=self.recipe.teacher.rows_per_shard,
            cut_at=cut_at,
            maker=None if maker_of is None else maker_of(self.recipe.teacher, self.teacher, store),
        )

    def _read_texts(
        self, spec: TextsSpec, skipped: Counter[str], cut: Cut, progress: ReadProgress | None = None
    ) -> Iterable[Text]:
        """Return the texts to embed; ``skipped`` counts the others by reason."""
        prompts = self._prompts_of_duplicates()
        texts = read_texts(spec, skipped, prompts=prompts, progress=progress, excluded=self._excluded, cut=cut)
        return usable_texts(self.teacher, texts, skipped)

    def _require_texts_of_training(self, student: SentenceTransformer, cut: Cut) -> None:
        """Compare the texts with those of the student, before a deleted store is made again."""
        expected = texts_of_training(self.folder)
        if expected is None or (self.folder / STORE / STORE_MANIFEST).is_file():
            return
        texts = self._read_texts(self._local_texts(student), Counter(), cut)
        found = digest_of_ids(np.int64(text_id(row.text)) for row in texts).tobytes().hex()
        if found != expected:
            raise other_texts(self.folder, expected, found)

    def _read_excluded(self) -> None:
        """Read the texts of the evaluation sets, which are not trained on."""
        with self._processes.main_process_first():  # mteb may download a set
            self._excluded = excluded_contents(self.recipe.texts)
        names = self.recipe.texts.exclude or ()
        if self._excluded is not None:
            self._log(f"texts that equal one of the {len(self._excluded):,} texts of {', '.join(names)} are left out")
        if self._asked.texts.exclude is None and (others := [n for n in existing_sets(self.recipe) if n not in names]):
            self._log(
                f"the store of this run may contain texts of {', '.join(others)}, because it was made without these "
                "evaluation sets"
            )

    def _require_texts(self) -> None:
        self._log(f"texts: {describe_texts(self.recipe.texts)}")
        if self.recipe.texts.source == PAPER:
            selected_sources(self.recipe.texts)
        else:
            texts = require_texts(self.recipe.texts, most=HELD_OUT_SHARE, excluded=self._excluded)
            held_out_count(texts, self.recipe.training)
        if self.recipe.general is not None:
            require_texts(self.recipe.general, "general")
        require_counted_texts(self.recipe)

    def _local_texts(self, student: SentenceTransformer) -> TextsSpec:
        """Return the texts to read; the paper's are downloaded first, cut to the tokens that ``student`` reads."""
        spec = self.recipe.texts
        if spec.source != PAPER:
            return spec
        self._log_closed_licences()
        cutter = Cutter(copy_tokenizer(student), max_length_of(student))
        with self._processes.main_process_first():
            rows = fetch(spec, self.folder / TEXTS, cutter)
        self._log(format_sources(rows, spec.per_source))
        return TextsSpec(str(self.folder / TEXTS), sentences=spec.sentences)

    def _prompts_of_duplicates(self) -> Mapping[str, str] | None:
        """Return the prompts by which `read_texts` finds duplicates; None for a store of an earlier version."""
        store = self.folder / STORE
        if (store / FINGERPRINT).is_file() and read_header(store)["unique_by"] == UNIQUE_BY_KIND:
            return None
        return self.teacher.prompts

    def _cut_at(self, student: SentenceTransformer) -> int | None:
        """Return the number of tokens to which texts are cut; None if texts stay complete, as in earlier versions."""
        store = self.folder / STORE
        if (store / FINGERPRINT).is_file() and read_header(store)[CUT_AT] is None:
            return None
        return tokens_to_embed(self.recipe, self.teacher, student)

    def _embed_general(self, store: EmbeddingStore, cut: Cut, cut_at: int | None) -> None:
        """Embed the texts of the general domain into ``general/``, without the training texts in ``store``."""
        spec = self.recipe.general
        if spec is None:
            return
        skipped: Counter[str] = Counter()
        texts = {text_id(row.text): row for row in read_texts(spec, skipped, "general", cut=cut)}
        is_trained = store.include([row.text for row in texts.values()])
        fresh = [row for row, trained in zip(texts.values(), is_trained, strict=True) if not trained]
        if trained := sum(is_trained):
            skipped["also a training text"] = trained
        if not fresh:
            raise InputError(
                f"general.source {spec.source}: expected texts outside the training texts, found none: "
                "name another source"
            )
        dtype = self.recipe.teacher.store_dtype
        with self._processes.main_process_first():
            precompute(fresh, self.teacher, self.folder / GENERAL, dtype=dtype, total=len(fresh), cut_at=cut_at)
        self._log(f"{len(fresh):,} texts of {spec.source} for validation on the general domain{left_out(skipped)}")

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
        store = self._open_store()
        require_teacher(self.recipe.teacher, store.fingerprint, f"store {store.folder}")
        require_same_texts(store, self.folder)
        if (self.folder / MODEL).is_dir():
            return load_model(str(self.folder / MODEL))
        general = self._open_general(store)
        self._log_closed_licences()
        # Training changes this object, so a second call must build a new student.
        student, self._student = self._build_student(store.fingerprint), None
        if not has_begun_training(self.folder):  # an earlier version may have begun with shorter texts
            require_long_enough(store, self.recipe, student)
        if warning := unread_in_training(store, self.recipe, student):
            self._log(warning)
        self._write_record(store.fingerprint, student)
        if not isinstance(self._teacher, Service):  # a service counts the tokens of texts and evaluation together
            self._teacher = None  # frees the memory of a large teacher
        if self._fix_steps(store, general, student):
            self._write_record(store.fingerprint, student)
        record = self._record(store.fingerprint, student)
        self._remove_results_of_another_student()
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

    def _remove_results_of_another_student(self) -> None:
        """Remove the results of an earlier student that do not name their student, when a training begins.

        Raises:
            InputError: If other results of an earlier student exist.
        """
        if has_begun_training(self.folder) or not self._processes.is_main_process:
            return
        require_no_student(self.folder / RESULTS)
        names = (ALIGNMENT.file, AGREEMENT.file, LOST_QUERIES.file)
        if found := [name for name in names if (self.folder / RESULTS / name).is_file()]:
            self._log(f"removed the results of an earlier student: {', '.join(found)}")
        for name in found:
            (self.folder / RESULTS / name).unlink()

    def _build_student(self, fingerprint: Fingerprint) -> SentenceTransformer:
        """Return the untrained student, which is built once."""
        if self._student is None:
            device = self._processes.device.type
            training_arguments(self.recipe, self.folder, device)
            try_arguments(self.recipe, fingerprint, device)
            student = initial_student(self.recipe, fingerprint, self._device)
            if self.recipe.student.needs_tokens:
                self._count_tokens(student, fingerprint)
                student = initial_student(self.recipe, fingerprint, self._device)
            if layers := self.recipe.student.layers:
                kept = ",".join(map(str, layers))
                self._log(f"the student keeps {len(layers)} of the backbone's layers: {kept}")
            self._student = student
        return self._student

    def _count_tokens(self, student: SentenceTransformer, fingerprint: Fingerprint) -> None:
        """Count the tokens of the texts, once per run, in the first process."""
        self._write_record(fingerprint, student)
        if self._excluded is None:
            self._excluded = excluded_contents(self.recipe.texts)
        texts = self._local_texts(student)
        with self._processes.main_process_first():
            self.recipe = count_training_texts(self.recipe, student, texts, self._excluded, self.folder / VOCABULARY)

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
        from leaf_st.evaluation.tasks.find import find_tasks
        from leaf_st.evaluation.tasks.runner import evaluate_tasks  # imports mteb, which takes seconds

        student = load_model(str(self.folder / MODEL))
        # An API counts the tokens of texts and evaluation together. Training has dropped a local model.
        teacher, vectors = (self.teacher, None) if shared is None else (shared.teacher, shared.vectors)
        folder = self.folder / RESULTS
        measure = partial(evaluate_tasks, teacher=teacher, student=student, folder=folder, shared=vectors)
        return [row for task in find_tasks(found) for row in self._evaluate_set(measure, task)]

    def _existing_sets(self) -> list[str]:
        """Return the evaluation sets that exist, and log the others."""
        for name in missing_sets(self.recipe):
            self._log(f"evaluation set {name} does not exist: it is left out of the evaluation")
        return existing_sets(self.recipe)

    def _evaluate_set(self, measure: Callable[..., list[Result]], task: object) -> list[Result]:
        """Evaluate the student on a set in the modes for which the teacher has vectors."""
        for modes in (list(ROLES), list(STUDENT_MODES)):
            try:
                return measure([task], modes=modes)
            except NoVectorError as error:
                self._log(f"not all of the modes {', '.join(modes)} can be measured: {error}")
        return measure([task], modes=["standard"])

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
        asked = replace(self._asked, name=self.recipe.name)
        record = run_record(asked, self.recipe, self.folder, fingerprint, device, processes)
        digest = texts_of_training(self.folder) or (None if self._store is None else self._store.texts_digest)
        if digest is not None:
            record[TEXTS_DIGEST] = digest
        # A store that was pulled was not compared with the sets of this recipe.
        compared = self._excluded is not None or "excluded" in read_record(self.folder)
        if self._store is not None and self.recipe.texts.exclude and compared:
            record["excluded"] = self._store.skipped.get(EXCLUDED, 0)
        if self.recipe.student.tokens is not None:
            record["vocabulary"] = read_kept(Path(self.recipe.student.tokens)).figures.model_dump()
        return record

    def _write_record(self, fingerprint: Fingerprint, student: SentenceTransformer) -> None:
        """Write recipe.json, after texts, teacher and student were checked and before any work."""
        if self._processes.is_main_process:
            make_folder(self.folder)
            write_record(self.folder, self._record(fingerprint, student))

    @property
    def _device(self) -> str | None:
        """The device of this process among several; None, for sentence-transformers' choice, in a single process."""
        return str(self._processes.device) if self._processes.num_processes > 1 else None

    def _log_closed_licences(self) -> None:
        """Log the sources without an open licence, before a download and before training."""
        if self.recipe.texts.source == PAPER and (closed := closed_licences(self.recipe.texts)):
            self._log(f"not all texts are open: {closed}")

    def _log(self, message: str) -> None:
        if self._processes.is_main_process:
            _logger.info(message)


def describe_texts(spec: TextsSpec) -> str:
    """Describe the source of the texts of ``spec``."""
    if spec.source == DOCSTRINGS:
        return "documentation strings of the installed Python packages"
    if spec.source != PAPER:
        return spec.source
    names = ", ".join(SOURCES[name].hub_id or name for name in selected_sources(spec))
    most = "" if spec.per_source is None else f", up to {spec.per_source:,} texts each"
    return f"{names}{most}"
