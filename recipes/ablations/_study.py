"""The common part of the ablations: one store, one initial student, and the sequence of steps.

A study is a list of variants. Each variant trains the same student on the same texts with one change. Outcomes are
cached under a hash of everything that shapes them: a stopped study resumes after its last finished variant, and the
baseline of all studies (mean pooling, linear decay, batch 32, all texts, only Eq. 3) is trained once. Students are
measured and discarded.

Every variant reports the mean L2 (paper Eq. 3) on the same held-out texts and, on the BEIR folders of --data, nDCG@10.
Teacher and student read 128 tokens of a text, which halves the time of the retrieval documents.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _command import common_parser, common_recipe, exit_on_input_error
from _outcomes import Outcome, Scores, cache_vectors, format_table, measure_alignment, measure_retrieval, save_figure
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import check_folders
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.recipe import TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.student.projection import fit_projection
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.texts.read import read_texts
from leaf_st.training.arguments import training_arguments
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.trainer import LeafTrainer, held_out_count, held_out_rows, untrained_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH = 32
_SMOKE_SAMPLES = 320  # enough for the checks; --smoke trains two steps
_UNSAVED = {"save_strategy": "no", "load_best_model_at_end": False}


class StudyTrainer(LeafTrainer):
    """A `LeafTrainer` that trains on ``rows`` of a store; the rows are in ascending order, and none is held out."""

    def __init__(
        self,
        student: SentenceTransformer,
        store: EmbeddingStore,
        spec: TrainingSpec,
        args: SentenceTransformerTrainingArguments,
        rows: NDArray[np.int64],
    ) -> None:
        self._rows = rows  # first, because the base class counts the rows
        super().__init__(student, store, spec, args)

    @property
    def untrained_rows(self) -> NDArray[np.int64]:
        """Rows of the store that are not trained on, in ascending order."""
        return np.setdiff1d(np.arange(len(self._lengths)), self._rows)

    def sample(self, count: int) -> list[int]:
        """Return at most ``count`` random training rows, in ascending order."""
        rng = np.random.default_rng(self.args.seed)
        return sorted(rng.choice(self._rows, min(count, len(self._rows)), replace=False).tolist())


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        name: Name in the table.
        samples: Number of training samples.
        training: The training part of the recipe.
        change: The effect of the fields below in words. The cache key consists of this text and the values above.
        rows: Function from the store and its training rows to the rows of this variant; all training rows if None.
        check: Function that raises an `InputError` if this variant cannot be trained; called before any training.
        student: Function that changes the student before the projection is fitted.
        loss: Function from a student to its loss.
        trainer: Class of the trainer.
        layers: Layers of the teacher that the student keeps, if they differ from the recipe's.
    """

    name: str
    samples: int
    training: TrainingSpec
    change: str = ""
    rows: Callable[[EmbeddingStore, NDArray[np.int64]], NDArray[np.int64]] | None = None
    check: Callable[[], None] = lambda: None
    student: Callable[[SentenceTransformer], None] = lambda student: None
    loss: Callable[[SentenceTransformer], TeacherAlignedLoss] = TeacherAlignedLoss
    trainer: type[StudyTrainer] = StudyTrainer
    layers: tuple[int, ...] | None = None

    @property
    def batch(self) -> int:
        """Batch size."""
        return int(self.training.arguments.get("per_device_train_batch_size", BATCH))


@dataclass
class Setting:
    """The values that all variants of a study share.

    Attributes:
        run: The run, with recipe, folder and teacher.
        samples: Training samples of each variant.
        sets: BEIR folders for nDCG@10.
    """

    run: Run
    samples: int
    sets: Sequence[Path]

    @property
    def teacher(self) -> Teacher:
        """The teacher."""
        return self.run.teacher

    @cached_property
    def training_rows(self) -> int:
        """Number of training texts, counted before embedding."""
        rows = sum(1 for _ in read_texts(self.run.recipe.texts, Counter(), prompts=self.run.teacher.prompts))
        return rows - held_out_count(rows, self.run.recipe.training)

    def student(self) -> SentenceTransformer:
        """Return the initial student of every variant, with a random projection."""
        return new_student(self.run.recipe, self.run.teacher.fingerprint)

    def variant(self, name: str, *, samples: int | None = None, **changes: Any) -> Variant:  # noqa: ANN401
        """Return a variant; ``changes`` are fields of `Variant` or `TrainingSpec`, or training arguments."""
        spec = self.run.recipe.training
        own = {key: changes.pop(key) for key in list(changes) if key in Variant.__dataclass_fields__}
        learning = {key: changes.pop(key) for key in list(changes) if hasattr(spec, key)}
        spec = replace(spec, **learning, arguments={**spec.arguments, **changes})
        return Variant(name, samples or self.samples, spec, **own)


@dataclass(frozen=True)
class Study:
    """A question about the method.

    Attributes:
        name: Name of the files.
        variants: Function from the setting to the variants.
        draw: Function that draws the outcomes.
        retrieval: Whether to measure nDCG@10.
        measure: Function from student, teacher and sets to nDCG@10 and agreement@10, by set and mode.
    """

    name: str
    variants: Callable[[Setting], list[Variant]]
    draw: Callable[["Axes", Sequence[Outcome]], None]
    retrieval: bool = True
    measure: Callable[[SentenceTransformer, Teacher, Sequence[Path]], tuple[Scores, Scores]] = measure_retrieval


def main(study: Study, description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Run ``study`` with the arguments of the command line; exits with 2 and one line on stderr on invalid input."""
    parser = common_parser(description, "runs/ablations, for all studies")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="train and show only these variants")
    options = parser.parse_args(arguments)
    with exit_on_input_error(study.name):
        setting = _setting(options, study)
        variants = _chosen(study.variants(setting), options.variants)
        _run_study(study, setting, variants)


def _setting(options: argparse.Namespace, study: Study) -> Setting:
    recipe = common_recipe("ablations", options)
    unsaved = {**recipe.training.arguments, **_UNSAVED}
    recipe = replace(recipe, training=replace(recipe.training, arguments=unsaved))
    folder = options.output or Path("runs") / ("ablations-smoke" if options.smoke else "ablations")
    run = Run(smoke(recipe, folder) if options.smoke else recipe, folder)
    sets = options.data if study.retrieval else []
    check_folders(sets)
    return Setting(run, _SMOKE_SAMPLES if options.smoke else options.samples, sets)


def _chosen(variants: list[Variant], names: Sequence[str] | None) -> list[Variant]:
    known = {variant.name: variant for variant in variants}
    if unknown := [name for name in names or () if name not in known]:
        raise InputError(f"--variants {unknown[0]}: expected some of {', '.join(known)}: correct the name")
    chosen = [known[name] for name in names or known]
    for variant in chosen:
        if variant.samples < variant.batch:
            raise InputError(
                f"--samples: expected at least {variant.batch}, the batch size of {variant.name}, "
                f"found {variant.samples}: raise --samples"
            )
        variant.check()
    return chosen


def _run_study(study: Study, setting: Setting, variants: Sequence[Variant]) -> None:
    """Train the variants that have no cached outcome; print, write and draw all outcomes."""
    store = setting.run.embed()
    assert store is not None  # one partition makes the complete store
    results, report = setting.run.folder / "results", setting.run.folder / "report"
    cache_vectors(setting.run.teacher, results)
    outcomes = []
    for variant in variants:
        path = results / f"{_identity(study, variant, setting, store)}.json"
        if not path.is_file():
            print(f"{study.name}: {variant.name}", flush=True)
            outcome = _train(study, variant, setting, store)
            write_json(path, asdict(outcome))
        outcomes.append(Outcome(**{**json.loads(path.read_text(encoding="utf-8")), "name": variant.name}))
    print(f"\n{format_table(outcomes)}")
    report.mkdir(exist_ok=True)
    write_json(report / f"{study.name}.json", [asdict(outcome) for outcome in outcomes])
    save_figure(lambda axes: study.draw(axes, outcomes), report / f"{study.name}.svg")


def _identity(study: Study, variant: Variant, setting: Setting, store: EmbeddingStore) -> str:
    """Return a hash of everything that shapes an outcome; the manifest holds the checksums of all shards."""
    shaped = {
        "store": (store.folder / STORE_MANIFEST).read_text(encoding="utf-8"),
        "student": asdict(setting.run.recipe.student),
        "training": asdict(variant.training),
        "samples": variant.samples,
        "change": variant.change,
        **({} if variant.layers is None else {"layers": variant.layers}),
        **({} if study.measure is measure_retrieval else {"measure": study.name}),
        "sets": sorted(folder.name for folder in setting.sets),
    }
    return blake2b(json.dumps(shaped, sort_keys=True).encode(), digest_size=8).hexdigest()


def _train(study: Study, variant: Variant, setting: Setting, store: EmbeddingStore) -> Outcome:
    arguments = {
        "max_steps": variant.samples // variant.batch,
        **variant.training.arguments,
    }  # --smoke sets its own
    spec = replace(variant.training, arguments=arguments)
    recipe = replace(setting.run.recipe, training=spec)
    if variant.layers is not None:
        recipe = replace(recipe, student=replace(recipe.student, layers=variant.layers))
    rows = np.setdiff1d(np.arange(len(store)), untrained_rows(store, spec))
    if variant.rows is not None:
        rows = variant.rows(store, rows)
    torch.manual_seed(arguments["seed"])
    student = new_student(recipe, store.fingerprint)
    variant.student(student)
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(recipe, Path(folder), student.device.type)
        trainer = variant.trainer(student, store, spec, args, rows)
        sample = trainer.sample(recipe.student.closed_form_rows)
        fit_projection(student, store.prompted(sample), store.embeddings(sample))
        trainer.loss = trainer.prepare_loss(variant.loss(student), student)
        trainer.train()
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # otherwise encode would run under autocast
    history = trainer.state.log_history
    checked = [row for row in history if "eval_loss" in row]
    seconds = history[-1]["train_runtime"] - sum(row["eval_runtime"] for row in checked)
    curve = [(row["step"] * variant.batch, row["eval_loss"]) for row in checked]
    steps = trainer.state.global_step
    l2 = measure_alignment(student, store, held_out_rows(store, spec))
    ndcg, agreement = study.measure(student, setting.teacher, setting.sets) if setting.sets else ({}, {})
    return Outcome(variant.name, len(rows), steps * variant.batch, steps, seconds, l2, curve, ndcg, agreement)
