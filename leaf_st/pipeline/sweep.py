"""A family of students of one teacher, trained on one embedding of the texts and compared by size, speed and quality.

Each student is an ordinary run in a folder of its own. The texts are embedded in one of the runs. The others get hard
links to its store, because no file of a store is changed after it was written. A repeated call resumes: each stage of a
run is skipped or resumed as by `leaf_st.pipeline.run`.
"""

import logging
import os
import re
import shutil
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leaf_st.atomic import make_folder, replace_folder, write_whole
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.evaluation.measurements.export import EXPORT
from leaf_st.evaluation.results import NDCG, retention
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.timing import Candidate, measure_latency
from leaf_st.export.export import check_exportable
from leaf_st.export.forms import exported_files, recommended_form
from leaf_st.models.load import load_model
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screening.closed_form import layers_of
from leaf_st.pipeline.sweep_table import SweepRow, figure
from leaf_st.publishing.report.svg import draw, require_matplotlib, standalone
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec
from leaf_st.run_folder import FIT, GENERAL, MODEL, RESULTS, STORE, TEXTS
from leaf_st.student.layers import last_layers
from leaf_st.student.static import is_static
from leaf_st.teacher.store import STORE_MANIFEST
from leaf_st.training.train import initial_student

ROWS, FIGURE = "sweep.json", "sweep.svg"
STATIC = "static"
_NAME = re.compile(r"(?P<layers>[0-9]+(?:,[0-9]+)*)(?:\+(?P<tokens>[0-9]+))?")
_TIMED = 21  # queries, each encoded by itself
_TORCH = "torch float32"  # the backend of a student without an exported form

_logger = logging.getLogger(__name__)


def sweep(recipe: Recipe, names: Sequence[str], folder: Path, tasks: Sequence[str] = ()) -> list[SweepRow]:
    """Train and measure the students ``names``; writes `ROWS` and `FIGURE` to ``folder``.

    Args:
        recipe: Texts, teacher and training; the student's backbone and other settings.
        names: Students: layers such as "0,4,5", a number of layers such as "3", or "static". "0,5+15000" keeps 15,000
            tokens. A student's run folder is the folder with its name in ``folder``.
        folder: A new folder, or the folder of an earlier sweep.
        tasks: Tasks of mteb and local sets; the recipe's sets that exist if empty.

    Returns:
        A row for each student, in the order of ``names``.

    Raises:
        InputError: If a name, a task or a part of the recipe cannot be used. Everything that can be checked is checked
            before the first text is embedded.
    """
    _require_one_process()
    require_matplotlib()
    if tasks:
        from leaf_st.evaluation.tasks.find import find_tasks  # imports mteb, which takes seconds

        find_tasks(tasks)
    recipes = members(recipe, names)
    for name, member in recipes.items():
        Run(member, folder / name)  # refuses a folder of another recipe
    _train({folder / name: member for name, member in recipes.items()})
    rows = _measure(recipes, folder, tasks)
    write_rows(folder / ROWS, rows)
    text = standalone(draw(figure(rows)))
    write_whole(folder / FIGURE, lambda path: _write(path, text))
    return rows


def members(recipe: Recipe, names: Sequence[str]) -> dict[str, Recipe]:
    """Return the recipe of each student by its name.

    Raises:
        InputError: If a name is unknown, or two names are of the same student.
    """
    if recipe.student.start is not None:
        raise InputError(
            f"student.start: expected None in a sweep, found {recipe.student.start}: a trained student has its layers "
            "already; set student.start=None"
        )
    found: dict[str, Recipe] = {}
    count: int | None = None
    for name in names:
        if name.partition("+")[0].isdecimal() and count is None:
            count = _layer_count(recipe)
        training = replace(recipe.training, max_length=None) if name == STATIC else recipe.training
        student = _student(name, recipe.student, count or 0)
        same = next((other for other, known in found.items() if known.student == student), None)
        if same is not None:
            raise InputError(f"--students: expected different students, found {same} and {name}: leave out one of them")
        found[name] = replace(recipe, name=f"{recipe.name}-{name}", student=student, training=training)
    return found


def _student(name: str, spec: StudentSpec, count: int) -> StudentSpec:
    """Return the student ``name`` of a model of ``count`` layers, with the other settings of ``spec``."""
    if name == STATIC:
        return StudentSpec(static=True, closed_form_rows=spec.closed_form_rows)
    if (match := _NAME.fullmatch(name)) is None:
        raise InputError(
            f"--students: expected layers such as 0,4,5, a number of layers such as 3, or {STATIC}, with a number of "
            f"tokens to keep as in 0,4,5+15000, found {name!r}: correct the name"
        )
    layers = tuple(map(int, match["layers"].split(",")))
    if len(layers) == 1:
        if not 1 <= layers[0] <= count:
            raise InputError(f"--students {name}: expected a number of layers from 1 to {count}, found {layers[0]}")
        layers = last_layers(layers[0], count)
    student = replace(spec, static=False, layers=layers)
    return replace(student, vocabulary=int(match["tokens"]), tokens=None) if match["tokens"] else student


def _layer_count(recipe: Recipe) -> int:
    """Return the number of encoder layers of the model whose layers the students keep."""
    spec, teacher = recipe.student, recipe.teacher
    values: dict[str, Any] = {"revision": spec.revision}
    if spec.backbone is None:
        values = {"revision": teacher.revision, "trust_remote_code": teacher.trust_remote_code}
    name = spec.backbone or teacher.model
    try:
        return layers_of(load_model(name, **values))
    except AttributeError:
        raise InputError(
            f"--students: expected a model with encoder layers, found none in {name}: set student.backbone"
        ) from None


def _require_one_process() -> None:
    if (count := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise InputError(
            f"sweep: expected one process, found {count}: leave out the launcher, or train each student with "
            "`leaf-st run`"
        )


def _train(recipes: Mapping[Path, Recipe]) -> None:
    """Embed the texts once, and train each student that is not trained yet."""
    missing = [folder for folder in recipes if not (folder / MODEL).is_dir()]
    if not missing:
        return
    embedded = (folder for folder in recipes if (folder / STORE / STORE_MANIFEST).is_file())
    first = next(embedded, None) or min(recipes, key=lambda folder: _reading(recipes[folder].student))
    source = Run(recipes[first], first)
    for folder in missing:
        student = initial_student(recipes[folder], source.teacher.fingerprint)
        if not is_static(student):
            check_exportable(student)
    source.embed()
    for folder in sorted(missing, key=lambda folder: folder != first):  # the others get the first one's token ids
        run = source if folder == first else Run(recipes[folder], folder)
        if run is not source:
            _share(source, run)
        _logger.info("training of %s", folder)
        run.train()


def _reading(student: StudentSpec) -> tuple[bool, float]:
    """Return a key by which the student that reads least of a long text comes first.

    The texts are cut to what the embedding run's student reads, so that no target covers text that a student does not
    read. A small vocabulary splits words into more tokens. A static student reads complete texts.
    """
    return student.static, student.vocabulary or float("inf")


def _share(source: Run, run: Run) -> None:
    """Link the texts and vectors of ``source`` into the folder of ``run``, and let ``run`` use the same teacher."""
    for part in (TEXTS, Path(FIT).parts[0], GENERAL, STORE):
        shared, own = source.folder / part, run.folder / part
        if shared.is_dir() and not own.is_dir():
            make_folder(run.folder)
            ignore = shutil.ignore_patterns(".*")  # temporary files
            replace_folder(own, partial(shutil.copytree, shared, copy_function=_link, ignore=ignore))
    teacher = source.recipe.teacher  # with the precision and the fit that were determined when it embedded
    if (run.folder / FIT).is_file():
        teacher = teacher.with_fit(run.folder / FIT)
    run.recipe = replace(run.recipe, teacher=teacher)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _measure(recipes: Mapping[str, Recipe], folder: Path, tasks: Sequence[str]) -> list[SweepRow]:
    """Measure and export each student, then time all of them side by side."""
    first = next(iter(recipes.values()))
    queries, texts = _queries(first)
    parts: dict[str, dict[str, Any]] = {}
    for name, recipe in recipes.items():
        _logger.info("measurements of %s", folder / name)
        run = Run(recipe, folder / name)  # not kept, because it holds the teacher
        agreement = {row.mode: row.recall_10 for row in run.measure_agreement() if row.group == "all"}
        l2 = run.measure_alignment().l2
        tasks_rows = [row for row in run.evaluate(tasks) if row.metric == NDCG]
        _export(run.folder, texts)
        sets = tuple(dict.fromkeys(row.set for row in tasks_rows))
        parts[name] = {"agreement": agreement, "l2": l2, "retention": retention(tasks_rows), "sets": sets}
    timed = _time(list(recipes), folder, queries)
    return [SweepRow(name=name, **parts[name], **timed[name]) for name in recipes]


def _queries(recipe: Recipe) -> tuple[list[str], str | None]:
    """Return queries to time, and the source of texts for the export: None for the recipe's texts.

    If the recipe's texts are not local files of queries and documents, documentation strings are used.
    """
    if Path(recipe.texts.source).exists():
        try:
            return latency_texts(recipe.texts)["query"], None
        except InputError as error:
            _logger.info("documentation strings are timed: %s", error)
    return latency_texts()["query"], DOCSTRINGS


def _export(run: Path, texts: str | None) -> None:
    """Export the student of ``run``, unless it is exported or static. A form outside of its limits is logged."""
    results = run / RESULTS
    if EXPORT.read(results) or is_static(load_model(str(run / MODEL))):
        return
    assert EXPORT.measure is not None
    try:
        EXPORT.measure(Namespace(model=str(run), texts=texts, data=[], output=results))
    except InputError as error:
        if not EXPORT.read(results):  # otherwise, the other forms are exported
            raise
        _logger.warning("%s: %s", run, error)


def _time(names: Sequence[str], folder: Path, queries: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return size and speed of each student in its recommended form, on one core."""
    forms: dict[str, tuple[str, Path | None]] = {}
    for name in names:
        files = exported_files(folder / name / MODEL)
        recommended = recommended_form(files)
        forms[name] = (recommended.name, files[recommended.name]) if recommended else (_TORCH, None)
    models = {name: load_model(str(folder / name / MODEL), device="cpu") for name in names}
    candidates = [
        Candidate(name, models[name], name, {form: path} if path else {}) for name, (form, path) in forms.items()
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of onnxruntime too
    try:
        timed = measure_latency(candidates, {"query": queries}, [1], _TIMED)
    finally:
        torch.set_num_threads(threads)
    rows = {(row.model, row.backend): row for row in timed}
    found = {}
    for name, (form, path) in forms.items():
        row, model = rows[name, form], folder / name / MODEL
        size = path.stat().st_size if path else sum(file.stat().st_size for file in model.rglob("*.safetensors"))
        found[name] = {
            "form": form,
            "parameters": row.parameters,
            "megabytes": size / 1e6,
            "milliseconds": 1000 * statistics.median(row.seconds),
            "processor": row.processor,
        }
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
