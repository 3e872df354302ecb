"""A family of students of one teacher, trained on one embedding of the texts and compared by size, speed and quality.

Each student is an ordinary run in a folder of its own. The texts are embedded in one of the runs. The others get hard
links to its store, because no file of a store is changed after it was written. A repeated call resumes: each stage of a
run is skipped or resumed as by `leaf_st.pipeline.run`.
"""

import logging
import math
import os
import re
import shutil
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from leaf_st.atomic import make_folder, replace_folder, write_whole
from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import SharedTeacher
from leaf_st.evaluation.measurements.agreement_row import AgreementRow
from leaf_st.evaluation.measurements.alignment import Alignment
from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.evaluation.measurements.export import EXPORT
from leaf_st.evaluation.measurements.latency_rows import LatencyRow
from leaf_st.evaluation.results import NDCG, retention
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.timing import Candidate, measure_latency
from leaf_st.export.export import check_exportable
from leaf_st.export.forms import exported_files, recommended_form
from leaf_st.models.load import load_model
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screening.closed_form import layers_of
from leaf_st.pipeline.sweep_table import SweepRow, figure
from leaf_st.pipeline.text_length import tokens_read
from leaf_st.publishing.report.svg import draw, require_matplotlib, standalone
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, is_limit
from leaf_st.run_folder import FIT, GENERAL, MODEL, RESULTS, STORE, TEXTS, differences, has_begun_training, read_record
from leaf_st.student.layers import last_layers
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.store import CUT_AT, FINGERPRINT, STORE_MANIFEST, read_header
from leaf_st.texts.cut import is_too_short
from leaf_st.training.train import initial_student

ROWS, FIGURE = "sweep.json", "sweep.svg"
STATIC = "static"
_NAME = re.compile(r"(?P<layers>[0-9]+(?:,[0-9]+)*)(?:\+(?P<tokens>[0-9]+))?")
_LINKED = ".linked"  # marks texts and vectors that another run of the sweep made
_TIMED = 21  # queries, each encoded by itself

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
    if (count := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise InputError(f"sweep: expected one process, found {count}: run the command without a launcher")
    require_matplotlib()
    if tasks:
        from leaf_st.evaluation.tasks.find import find_tasks  # imports mteb, which takes seconds

        if not any(task.metadata.main_score == NDCG for task in find_tasks(tasks)):
            raise InputError(
                f"--tasks {' '.join(tasks)}: expected a retrieval set, whose nDCG@10 the table shows, found none: name "
                "one, or leave out --tasks"
            )
    recipes = members(recipe, names)
    runs = {name: partial(Run, member, folder / name) for name, member in recipes.items()}
    for run in runs.values():
        run()  # refuses a folder of another recipe
    _train({folder / name: member for name, member in recipes.items()})
    queries, texts = _texts(recipe)
    for name in names:
        if name != STATIC:  # a table of token vectors, which has no ONNX form
            _export(folder / name, texts)
    timed = _time({name: folder / name / MODEL for name in names}, queries)
    # Each run is opened again, because an open run keeps its teacher in memory.
    shared, first = SharedTeacher(lambda: runs[names[0]]().teacher), folder / names[0] / FIT
    rows = []
    for name, run in runs.items():
        is_same = _content(folder / name / FIT) == _content(first)  # a longer text shifts the axes of an ensemble
        rows.append(_measure(run(), tasks, timed[name], shared if is_same else None))
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
    if spec.backbone is not None:
        return layers_of(load_model(spec.backbone, revision=spec.revision))
    code = teacher.trust_remote_code
    return layers_of(load_model(teacher.model, revision=teacher.revision, trust_remote_code=code))


def _train(recipes: Mapping[Path, Recipe]) -> None:
    """Embed the texts once, and train each student that is not trained yet."""
    missing = [folder for folder in recipes if not (folder / MODEL).is_dir()]
    if not missing:
        return
    first, recipe = _embedding_run(recipes)
    source = Run(recipe, first)
    tokens: dict[Path, int | None] = {}  # that an encoder reads of a text in training; None if it has no limit
    for folder in missing:
        student = initial_student(recipes[folder], source.teacher.fingerprint)
        if not recipes[folder].student.static:
            check_exportable(student)
            tokens[folder] = tokens_read(recipes[folder], student)
    source.embed()
    resolved = source.recipe  # with the precision, the fit and the commits that were determined when it embedded
    cut_at = read_header(first / STORE)[CUT_AT]
    del source, student  # frees the memory of a large teacher
    for folder in sorted(missing, key=lambda folder: folder != first):  # the others get the first one's token ids
        run = Run(recipes[folder], folder)
        texts = replace(run.recipe.texts, source=resolved.texts.source)
        run.use_texts(replace(run.recipe, texts=texts, general=resolved.general))
        if folder in tokens and is_too_short(cut_at, tokens[folder]):
            _logger.info("the texts of %s are cut to %s tokens, fewer than %s reads", first, f"{cut_at:,}", folder)
            run.embed()
        else:
            _share(first, folder)
            axes = folder / FIT
            teacher = resolved.teacher.with_fit(axes) if axes.is_file() else resolved.teacher
            run.recipe = replace(run.recipe, teacher=teacher)
        _logger.info("training of %s", folder)
        run.train()


def _embedding_run(recipes: Mapping[Path, Recipe]) -> tuple[Path, Recipe]:
    """Return the run folder in which the texts are embedded, and its recipe.

    This is the run of a member, or of another student of an earlier sweep in the same folder: the run with a complete
    store of the longest texts, or with the most shards. Without a store, it is the run of the member that reads least,
    preferably of those that are not trained: the texts of a trained student may be cut as for another student.
    """
    found = {folder: recipe for folder, recipe in recipes.items() if (folder / STORE / FINGERPRINT).is_file()}
    member, recipe = next(iter(recipes.items()))
    for header in sorted(member.parent.glob(f"*/{STORE}/{FINGERPRINT}")):
        folder = header.parents[1]
        if folder not in recipes and (known := _recipe_of_same_texts(folder, recipe)) is not None:
            found[folder] = known
    if not found:
        first = min(recipes, key=lambda folder: (has_begun_training(folder), *_reading(recipes[folder].student)))
        return first, recipes[first]
    first = max(found, key=lambda folder: _progress(folder / STORE))
    return first, found[first]


def _progress(store: Path) -> tuple[bool, float, int, bool]:
    """Return a sort key that is largest for the store that saves the most embedding.

    Among equal stores, this is the store that was not linked: only the student whose tokenizer cut the texts reads the
    same texts again, and `Run.embed` compares them.
    """
    is_complete = (store / STORE_MANIFEST).is_file()
    return is_complete, read_header(store)[CUT_AT] or math.inf, len(find_shards(store)), not (store / _LINKED).exists()


def _recipe_of_same_texts(folder: Path, recipe: Recipe) -> Recipe | None:
    """Return the recipe of the run in ``folder`` if its texts and teacher are those of ``recipe``; None otherwise."""
    record = read_record(folder).get("recipe")
    if not isinstance(record, dict):
        return None
    changed = [key.split(" ", 1)[0] for key in differences(record, recipe)]
    shapes = ("texts", "general", "teacher", "evaluate_on")  # the texts of the evaluation sets are left out
    is_other = any(key.split(".")[0] in shapes and not is_limit(key) for key in changed)
    # Limits, such as those of an API, are those of this call.
    return None if is_other else replace(Recipe.from_dict(record), teacher=recipe.teacher)


def _reading(student: StudentSpec) -> tuple[bool, float]:
    """Return a key by which the student that reads least of a long text comes first.

    The texts are cut to what the embedding run's student reads, so that no target covers text that a student does not
    read. A small vocabulary splits words into more tokens. A static student reads complete texts.
    """
    return student.static, student.vocabulary or float("inf")


def _share(source: Path, run: Path) -> None:
    """Link the texts and vectors in the run folder ``source`` into the run folder ``run``, unless it has a store.

    The store comes last, so a run without a complete store gets all parts.
    """
    if (run / STORE / STORE_MANIFEST).is_file():
        return
    for part in (TEXTS, Path(FIT).parts[0], GENERAL, STORE):
        if (source / part).is_dir():
            make_folder(run)
            replace_folder(run / part, partial(_link_folder, source / part))


def _link_folder(source: Path, target: Path) -> None:
    ignore = shutil.ignore_patterns(".*")  # temporary files
    shutil.copytree(source, target, copy_function=_link, ignore=ignore)
    (target / _LINKED).touch()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _texts(recipe: Recipe) -> tuple[list[str], str | None]:
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
    """Export the student of ``run``, unless all its files exist. A form outside of its limits is logged."""
    results = run / RESULTS
    rows = EXPORT.read(results)
    if rows and all((run / MODEL / row.file).is_file() for row in rows if row.error is not None):  # None for torch
        return
    assert EXPORT.measure is not None
    try:
        EXPORT.measure(Namespace(model=str(run), texts=texts, data=[], output=results))
    except InputError as error:
        if not EXPORT.read(results):  # otherwise, the other forms are exported
            raise
        _logger.warning("%s: %s", run, error)


def _time(models: Mapping[str, Path], queries: Sequence[str]) -> dict[str, LatencyRow]:
    """Return the times of single queries on one core, of each student in its recommended form, side by side."""
    candidates, backends = [], {}
    for name, model in models.items():
        files = exported_files(model)
        form = recommended_form(files)
        graphs = {form.name: files[form.name]} if form else {}
        backends[name] = form.name if form else "torch float32"
        candidates.append(Candidate(name, load_model(str(model), device="cpu"), name, graphs))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of onnxruntime too
    try:
        rows = measure_latency(candidates, {"query": queries}, [1], _TIMED)
    finally:
        torch.set_num_threads(threads)
    return {row.model: row for row in rows if row.backend == backends[row.model]}


def _measure(run: Run, tasks: Sequence[str], timed: LatencyRow, shared: SharedTeacher | None) -> SweepRow:
    """Measure what the student of ``run`` keeps."""
    _logger.info("measurements of %s", run.folder)
    model = run.folder / MODEL
    graph = exported_files(model).get(timed.backend)
    rows = run.evaluate(tasks, shared)
    if others := dict.fromkeys(row.set for row in rows if row.metric != NDCG):
        _logger.info(
            "the table shows only nDCG@10; the scores on %s are in %s", ", ".join(others), run.folder / RESULTS
        )
    results = [row for row in rows if row.metric == NDCG]
    agreement, alignment = _measure_held_out(run)
    return SweepRow(
        name=run.folder.name,
        form=timed.backend,
        parameters=timed.parameters,
        megabytes=sum(file.stat().st_size for file in ([graph] if graph else model.rglob("*.safetensors"))) / 1e6,
        milliseconds=1000 * statistics.median(timed.seconds),
        retention=retention(results),
        agreement={row.mode: row.recall_10 for row in agreement if row.group == "all"},
        l2=alignment.l2,
        sets=tuple(dict.fromkeys(row.set for row in results)),
        processor=timed.processor,
    )


def _measure_held_out(run: Run) -> tuple[list[AgreementRow], Alignment]:
    """Return agreement and distance on the held-out texts; if the store was deleted, as they were measured before."""
    return run.held_out_results() or (run.measure_agreement(), run.measure_alignment())


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
