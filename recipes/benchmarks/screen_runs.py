"""Measure finished runs, teacher x layers x steps, from which `leaf-st screen` predicts.

Command:  python recipes/benchmarks/screen_runs.py TEACHER ... [--data FOLDER ...] [--output runs/screen]

TEACHER is a run folder with a store (`leaf-st embed`), or a recipe file, whose texts are embedded first. --set changes
the recipe files: --set texts.source=FILE. If the run folder has a trained student, this student is measured too. The
script trains a student for each entry of --grid, LAYERS:STEPS. Each training has one learning rate cycle, because a
checkpoint of a longer run is worse than a finished run of as many steps. With --data, the retention on BEIR folders is
measured; the teacher must then be available. The rows are written to measured_runs.json of the package (--runs) after
each run, beside the rows of other runs. A stopped command resumes after the last finished run.

Result:   Nine runs of two teachers took 20 minutes on two cores; `screen_prediction.py` prints the rows.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from leaf_st.cli.console import messages_shown, quieten
from leaf_st.errors import InputError, exit_on_error
from leaf_st.evaluation.beir import BeirSet, check_folders, document_text, load_beir
from leaf_st.evaluation.embedder import QueriesAndDocuments
from leaf_st.evaluation.measurements.baseline import backbone_name
from leaf_st.evaluation.measurements.training import TRAINING
from leaf_st.evaluation.ranking import exact_ndcg
from leaf_st.evaluation.results import retention_percent
from leaf_st.evaluation.rows import part_file, read_or_make, write_rows
from leaf_st.models.load import load_model
from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screening.closed_form import encode_rows, layers_of, measure_closed_form
from leaf_st.pipeline.screening.runs import MEASURED_RUNS, MeasuredRun, measured_runs
from leaf_st.pipeline.screening.search import agreement, plan_search
from leaf_st.recipe import Recipe, TrainingSpec
from leaf_st.run_folder import MODEL, RESULTS, STORE, read_run
from leaf_st.teacher.local import load_teacher_model
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.training.arguments import named_arguments
from leaf_st.training.train import initial_student, train
from leaf_st.training.trainer import held_out_rows, untrained_rows

_FITTED = 4096  # texts of the closed form, as in `leaf-st screen`
_GRID = ("0,4,5:250,1000", "0,5:500,2000", "0,2,4,5:250,1000", "0,1,2,3,4,5:500", "0:500")
_LEARNING_RATE = 3e-4  # as in leaf_mini.py


@dataclass(frozen=True)
class Planned:
    """A training of the grid.

    Attributes:
        layers: Layers of the backbone.
        steps: Optimizer steps.
    """

    layers: tuple[int, ...]
    steps: int

    @property
    def work(self) -> int:
        """Layers times steps, to which the time is about proportional."""
        return len(self.layers) * self.steps


@dataclass
class TeacherRun:
    """A teacher and its store.

    Attributes:
        folder: The run folder.
        recipe: The recipe of the store.
        store: Texts and the teacher's vectors.
        sets: BEIR folders for the retention.
    """

    folder: Path
    recipe: Recipe
    store: EmbeddingStore
    sets: Sequence[Path]

    def with_student(self, planned: Planned) -> Recipe:
        """Return the recipe of a training of the grid."""
        arguments = {
            **{"learning_rate": _LEARNING_RATE, "max_steps": planned.steps},
            **{"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False},
        }
        if "use_cpu" in self.recipe.training.arguments:
            arguments["use_cpu"] = self.recipe.training.arguments["use_cpu"]
        training = TrainingSpec(held_out_rows=self.recipe.training.held_out_rows, arguments=arguments)
        return replace(
            self.recipe, student=replace(self.recipe.student, layers=planned.layers), training=training, general=None
        )

    def equals_teacher(self, planned: Planned) -> bool:
        """Return whether the student of ``planned`` has all layers of the teacher, so that it is the teacher."""
        if self.recipe.student.backbone is not None:
            return False
        return len(planned.layers) == layers_of(load_teacher_model(self.recipe.teacher))

    @cached_property
    def searched(self) -> list[tuple[BeirSet, QueriesAndDocuments, float]]:
        """The sets with the teacher's vectors and the teacher's nDCG@10."""
        teacher, found = open_teacher(self.recipe.teacher), []
        for folder in self.sets:
            beir = load_beir(folder)
            queries = teacher.encode_query([row["text"] for row in beir.queries])
            documents = teacher.encode_document([document_text(row) for row in beir.corpus])
            found.append((beir, (queries, documents), exact_ndcg(beir, queries, documents, teacher)))
        return found

    def retention(self, student: SentenceTransformer) -> float | None:
        """Return the share of the teacher's mean nDCG@10 that ``student`` keeps in asymmetric mode, in percent."""
        scores, expected = [], []
        for beir, (_, documents), score in self.searched if self.sets else ():
            queries = student.encode_query([row["text"] for row in beir.queries], show_progress_bar=False)
            scores.append(exact_ndcg(beir, np.asarray(queries, np.float32), documents, student))
            expected.append(score)
        return retention_percent(float(np.mean(scores)), float(np.mean(expected))) if scores else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all runs, and write a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teachers", type=Path, nargs="+", metavar="TEACHER", help="run folder or recipe file")
    parser.add_argument(
        "--grid", nargs="+", default=_GRID, metavar="LAYERS:STEPS", help="students (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[], metavar="FOLDER", help="BEIR folders")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe files")
    parser.add_argument("--output", type=Path, default=Path("runs/screen"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--runs", type=Path, default=MEASURED_RUNS, metavar="FILE", help="JSON file of the rows")
    options = parser.parse_args(arguments)
    name = "screen_runs"
    with exit_on_error(name, "the same command resumes after the last finished run"), messages_shown(name):
        quieten()
        check_folders(options.data)
        grid = [planned for entry in options.grid for planned in _parsed(entry)]
        sources = [_open(path, options) for path in options.teachers]
        started = time.perf_counter()
        _measure_all(sources, grid, options)
        print(f"{(time.perf_counter() - started) / 60:.1f} minutes; the rows are in {options.runs}")


def _parsed(entry: str) -> Iterator[Planned]:
    try:
        layers, steps = (tuple(map(int, part.split(","))) for part in entry.split(":"))
    except ValueError:
        raise InputError(f"--grid {entry}: expected LAYERS:STEPS, such as 0,4,5:250,1000: correct the entry") from None
    return (Planned(layers, count) for count in steps)


def _open(path: Path, options: argparse.Namespace) -> TeacherRun:
    if path.suffix == ".py":
        recipe = load_recipe(path, options.set)
        path = options.output / "stores" / recipe.name
        Run(recipe, path).embed()
    return TeacherRun(path, Recipe.from_dict(read_run(path)["resolved"]), EmbeddingStore(path / STORE), options.data)


def _measure_all(sources: Sequence[TeacherRun], grid: Sequence[Planned], options: argparse.Namespace) -> None:
    """Measure the trained students, then the trainings of the grid for each teacher, the cheapest first."""
    todo = [(source, source.recipe) for source in sources if (source.folder / MODEL).is_dir()]
    todo += [
        (source, source.with_student(planned))
        for planned in sorted(grid, key=lambda each: each.work)
        for source in sources
        if not source.equals_teacher(planned)
    ]
    for number, (source, recipe) in enumerate(todo, 1):
        started = time.perf_counter()
        row = _measured(source, recipe, options)
        known = measured_runs(options.runs) if options.runs.exists() else []
        write_rows(options.runs, [*(run for run in known if _key(run) != _key(row)), row])
        print(
            f"{number} of {len(todo)}: {row.teacher}, {row.student}, {row.steps:,} steps: L2 {row.start_l2:.3f} -> "
            f"{row.l2:.3f}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )


def _key(run: MeasuredRun) -> tuple[object, ...]:
    return run.teacher, run.student, run.steps, run.batch_size, run.texts


def _measured(source: TeacherRun, recipe: Recipe, options: argparse.Namespace) -> MeasuredRun:
    """Return the row of a training, from the output folder if the training is finished."""
    shaped = (json.dumps(part, sort_keys=True) for part in (recipe.to_dict(), source.store.fingerprint.to_dict()))
    manifest = (source.store.folder / STORE_MANIFEST).read_text(encoding="utf-8")
    part = part_file(options.output, "screen", recipe.name, manifest, *shaped, *sorted(map(str, options.data)))
    return read_or_make(part, MeasuredRun, lambda: [_row(source, recipe, options.output / "models" / part.stem)])[0]


def _row(source: TeacherRun, recipe: Recipe, folder: Path) -> MeasuredRun:
    """Measure the closed-form start, train the student in ``folder`` or load the run's student, and measure it."""
    store = source.store
    held_out = held_out_rows(store, recipe.training).tolist()
    others = np.setdiff1d(np.arange(len(store)), untrained_rows(store, recipe.training))
    drawn = np.random.default_rng(0).choice(others, min(_FITTED, len(others)), replace=False)
    fitted = np.sort(drawn).tolist()
    student = initial_student(recipe, store.fingerprint)
    start = measure_closed_form(recipe, store, student, fitted, held_out)
    is_trained = recipe is source.recipe
    run = source.folder if is_trained else folder
    student = load_model(run / MODEL) if is_trained else train(recipe, store, run, student)
    history = json.loads((run / RESULTS / TRAINING.file).read_text(encoding="utf-8"))
    student.max_seq_length = recipe.training.max_length or student.max_seq_length  # as in training
    found, expected = encode_rows(student, store, held_out), store.embeddings(held_out).astype(np.float32)
    return MeasuredRun(
        teacher=recipe.teacher.name,
        student=backbone_name(recipe),
        layers=start.layers,
        dimension=store.dimension,
        spread=start.spectrum.spread,
        start_rows=start.fitted_on,
        start_r2=start.r2,
        start_l2=start.l2,
        start_agreement=start.agreement,
        texts=len(others),
        steps=history[-1]["step"],
        batch_size=named_arguments(recipe, "cpu")["per_device_train_batch_size"],
        l2=float(np.linalg.norm(found - expected, axis=1).mean()),
        agreement=agreement(found, expected, plan_search(store, fitted, held_out), store, student),
        retention=source.retention(student),
        source="recipes/benchmarks/screen_runs.py",
    )


if __name__ == "__main__":
    main()
