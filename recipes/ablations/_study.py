"""What the ablations share: one store, one student to start from, and the order of things.

A study is a list of variants, each a training of the same student on the same texts with one thing changed. What a
variant gave is kept under everything that shaped it: a study that was stopped goes on behind its last whole variant,
and the variant that all studies have in common (mean pooling, linear decay, batch 32, all texts, Eq. 3 alone) is
trained once. Students are measured and thrown away.

Every variant reports the mean L2 (paper Eq. 3) on the same held-out texts and, on the BEIR folders of --data, nDCG@10.
Teacher and student read 128 tokens of a text: the documents of the retrieval sets take half of their time then.
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
from _command import common_parser, common_recipe, refusing
from _outcomes import Outcome, format_table, measure_alignment, measure_retrieval, remember, save_figure
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch.utils.data import BatchSampler

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import check_folders
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.recipe import TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.student.projection import fit_projection
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import MANIFEST, EmbeddingStore
from leaf_st.texts.read import read_texts
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.sampler import LengthGroupedBatchSampler
from leaf_st.training.train import training_arguments
from leaf_st.training.trainer import LeafTrainer, held_out_count, held_out_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH = 32
_SMOKE_SAMPLES = 320  # of which two steps are taken
_UNSAVED = {"save_strategy": "no", "load_best_model_at_end": False}


class StudyTrainer(LeafTrainer):
    """`LeafTrainer`, whose arguments it has, on some ``rows`` of a store: in rising order, none of them held out."""

    def __init__(
        self,
        student: SentenceTransformer,
        store: EmbeddingStore,
        spec: TrainingSpec,
        args: SentenceTransformerTrainingArguments,
        rows: NDArray[np.int64],
    ) -> None:
        self._rows = rows  # which the trainer counts when it is made
        super().__init__(student, store, spec, args)

    @property
    def training_rows(self) -> int:
        """Rows of an epoch."""
        return len(self._rows)

    def sample(self, count: int) -> list[int]:
        """Return ``count`` random rows of those that are trained on, or all of them, in rising order."""
        rng = np.random.default_rng(self.args.seed)
        return sorted(rng.choice(self._rows, min(count, len(self._rows)), replace=False).tolist())

    def get_batch_sampler(
        self,
        dataset: Any,  # noqa: ANN401  (datasets ships no types)
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> BatchSampler:
        """Return batches of similar length, of the held-out rows or of those that are trained on."""
        if len(dataset) == len(self._held_out):
            return super().get_batch_sampler(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        others = np.setdiff1d(np.arange(len(self._lengths)), self._rows)
        return LengthGroupedBatchSampler(self._lengths, batch_size, seed, leave_out=others, drop_last=drop_last)


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        name: For the table.
        samples: Texts to read.
        training: How it learns.
        change: In words, what the fields below change: what it gave is kept under this and the values above.
        rows: Which of the rows that are not held out to train on, given the store and them; all if None.
        check: Raises an `InputError` where this variant cannot be trained, before any is.
        student: Changes the student before its projection is fitted.
        loss: Makes the loss of a student.
        trainer: Trains it.
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

    @property
    def batch(self) -> int:
        """Texts of a step."""
        return int(self.training.arguments.get("per_device_train_batch_size", BATCH))


@dataclass
class Setting:
    """What the variants of a study have in common.

    Attributes:
        run: Recipe, folder and teacher.
        samples: Texts that each variant reads.
        sets: BEIR folders to measure on.
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
        """Texts that a variant may be trained on, counted before they are embedded."""
        rows = sum(1 for _ in read_texts(self.run.recipe.texts, Counter()))
        return rows - held_out_count(rows, self.run.recipe.training)

    def student(self) -> SentenceTransformer:
        """Return a student as every variant gets it, its projection still random."""
        return new_student(self.run.recipe, self.run.teacher.fingerprint)

    def variant(self, name: str, *, samples: int | None = None, **changes: Any) -> Variant:  # noqa: ANN401
        """Return a variant; of ``changes``, fields of `Variant` and `TrainingSpec` are set, others are arguments."""
        spec = self.run.recipe.training
        own = {key: changes.pop(key) for key in list(changes) if key in Variant.__dataclass_fields__}
        learning = {key: changes.pop(key) for key in list(changes) if hasattr(spec, key)}
        spec = replace(spec, **learning, arguments={**spec.arguments, **changes})
        return Variant(name, samples or self.samples, spec, **own)


@dataclass(frozen=True)
class Study:
    """A question about the method.

    Attributes:
        name: Of its files.
        variants: Makes the variants.
        draw: Draws the outcomes.
        retrieval: Whether to measure nDCG@10.
    """

    name: str
    variants: Callable[[Setting], list[Variant]]
    draw: Callable[["Axes", Sequence[Outcome]], None]
    retrieval: bool = True


def main(study: Study, description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Run ``study`` as the command line says; exits with 2 and one line on stderr when the input cannot be used."""
    parser = common_parser(description, "runs/ablations, shared by all studies")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="train and show these alone")
    options = parser.parse_args(arguments)
    with refusing(study.name):
        setting = _setting(options, study)
        variants = _chosen(study.variants(setting), options.variants)
        _conduct(study, setting, variants)


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
        raise InputError(f"--variants {unknown[0]}: expected some of {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    for variant in chosen:
        if variant.samples < variant.batch:
            raise InputError(f"--samples: {variant.name} takes {variant.batch} a step, found {variant.samples}")
        variant.check()
    return chosen


def _conduct(study: Study, setting: Setting, variants: Sequence[Variant]) -> None:
    """Train what was not trained yet, and print, write and draw what all gave."""
    store = setting.run.embed()
    assert store is not None  # one partition makes the whole
    results, report = setting.run.folder / "results", setting.run.folder / "report"
    remember(setting.run.teacher, results)
    outcomes = []
    for variant in variants:
        path = results / f"{_identity(variant, setting, store)}.json"
        if not path.is_file():
            print(f"{study.name}: {variant.name}", flush=True)
            outcome = _train(variant, setting, store)
            write_json(path, asdict(outcome))
        outcomes.append(Outcome(**{**json.loads(path.read_text(encoding="utf-8")), "name": variant.name}))
    print(f"\n{format_table(outcomes)}")
    report.mkdir(exist_ok=True)
    write_json(report / f"{study.name}.json", [asdict(outcome) for outcome in outcomes])
    save_figure(lambda axes: study.draw(axes, outcomes), report / f"{study.name}.svg")


def _identity(variant: Variant, setting: Setting, store: EmbeddingStore) -> str:
    """Return a hash of all that shapes what a variant gives; the manifest names the checksums of all shards."""
    shaped = {
        "store": (store.folder / MANIFEST).read_text(encoding="utf-8"),
        "student": asdict(setting.run.recipe.student),
        "training": asdict(variant.training),
        "samples": variant.samples,
        "change": variant.change,
        "sets": sorted(folder.name for folder in setting.sets),
    }
    return blake2b(json.dumps(shaped, sort_keys=True).encode(), digest_size=8).hexdigest()


def _train(variant: Variant, setting: Setting, store: EmbeddingStore) -> Outcome:
    arguments = {"max_steps": variant.samples // variant.batch, **variant.training.arguments}  # --smoke has its own
    spec = replace(variant.training, arguments=arguments)
    recipe = replace(setting.run.recipe, training=spec)
    rows = np.setdiff1d(np.arange(len(store)), held_out_rows(store, spec))
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
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)  # else it goes on under autocast
    history = trainer.state.log_history
    checked = [row for row in history if "eval_loss" in row]
    seconds = history[-1]["train_runtime"] - sum(row["eval_runtime"] for row in checked)
    curve = [(row["step"] * variant.batch, row["eval_loss"]) for row in checked]
    steps = trainer.state.global_step
    l2 = measure_alignment(student, store, held_out_rows(store, spec))
    ndcg = measure_retrieval(student, setting.teacher, setting.sets)
    return Outcome(variant.name, len(rows), steps * variant.batch, steps, seconds, l2, curve, ndcg)
