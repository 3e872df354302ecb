"""What is measured of a model beside its tasks, for `leaf-st measure` and `leaf-st export`.

Each measurement reads models, leaves its rows in the results folder of the student, and is shown as a table. What is
measured on several sets keeps those that are finished, under a hash of the models and the data, and goes on from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import beir_files, check_folders
from leaf_st.evaluation.rows import (
    ALIGNMENT,
    COMPRESSION,
    EXPORT,
    INDEX,
    LATENCY,
    MARGIN,
    SAMPLES,
    once,
    part_of,
    write_rows,
)
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.models.find import resolve_model
from leaf_st.models.identity import hash_files, identify
from leaf_st.recipe import DOCSTRINGS, Recipe, TeacherSpec, TextsSpec
from leaf_st.run_folder import read_run
from leaf_st.student.load import load_student, load_teacher, read_record, teacher_of

R = TypeVar("R")


def measure_compression(model: str, teacher: str | None, sets: Sequence[Path], folder: Path) -> str:
    """Measure nDCG@10 in fewer bytes; rows in ``compression.json`` of ``folder``. Returns the table."""
    from leaf_st.evaluation import compression

    rows = _over(_sets(model, sets), model, teacher, compression.measure_compression, compression.Compressed, folder)
    write_rows(folder / COMPRESSION, rows)
    return compression.format_compression(rows)


def measure_index(model: str, teacher: str | None, sets: Sequence[Path], folder: Path) -> str:
    """Measure search in an index; rows in ``index.json`` of ``folder``. Returns the table."""
    from leaf_st.evaluation import index

    rows = _over(_sets(model, sets), model, teacher, index.measure_index, index.Searched, folder)
    write_rows(folder / INDEX, rows)
    return index.format_index(rows)


def measure_margin(run: Path, sets: Sequence[Path], folder: Path) -> str:
    """Measure the checkpoints of ``run``; rows in ``margin.json`` of ``folder``. Returns the table."""
    from leaf_st.evaluation import margin
    from leaf_st.evaluation.margin_trend import format_margin

    rows = margin.measure_margin(run, sets, folder)
    write_rows(folder / MARGIN, rows)
    return format_margin(rows)


def measure_latency(models: Sequence[str], teacher: str | None, texts: str | None, folder: Path) -> str:
    """Time students and their teachers; rows in ``latency.json`` of ``folder``. Returns the table."""
    from leaf_st.evaluation import latency
    from leaf_st.evaluation.candidates import candidates, latency_texts
    from leaf_st.evaluation.latency_table import format_latency

    found = candidates(models, teacher)
    first = next(candidate for candidate in found if candidate.name == models[0])
    student: Models = {"student": (identify(first.model), first.model)}
    require_same_sizes(folder, student)
    source = texts or DOCSTRINGS
    rows = [replace(row, texts=source) for row in latency.measure_latency(found, latency_texts(source))]
    write_rows(folder / LATENCY, rows)
    if not first.random_weights:  # those are of no model
        write_sizes(folder, student)
    return format_latency(rows)


def measure_alignment(run: Path) -> Path:
    """Measure the student of ``run`` on its held-out texts, and print it. Returns the file of the rows."""
    from leaf_st.pipeline.run import Run

    Run(Recipe.from_dict(read_run(run)["recipe"]), run).measure_alignment()
    return run / "results" / ALIGNMENT


def measure_samples(model: str, teacher: str | None, sets: Sequence[Path], folder: Path) -> str:
    """Search some queries in every mode; rows in ``samples.json`` of ``folder``. Returns the lists side by side."""
    from leaf_st.evaluation import samples

    sets = sets or _sets(model, sets)[:1]
    check_folders(sets)
    rows = _over(sets, model, teacher, samples.measure_samples, samples.Sampled, folder)
    write_rows(folder / SAMPLES, rows)
    return samples.format_samples(rows)


def export(model: str, texts: str | None, sets: Sequence[Path], folder: Path) -> tuple[str, list[str]]:
    """Write the ONNX files of ``model`` into its folder; rows in ``export.json`` of ``folder``.

    Returns:
        The table, and what is wrong with each file that was not written.
    """
    from leaf_st.evaluation.candidates import latency_texts
    from leaf_st.export import export as exporting

    sets = sets_of(model, sets)
    student = load_student(model)
    exporting.check_exportable(student)
    models: Models = {"student": (identify(student), student)}
    require_same_sizes(folder, models)
    spec = _texts_of(model, texts)
    made, wrong = exporting.export(student, resolve_model(model), latency_texts(spec), sets)
    rows = [replace(row, texts=spec.source, sets=[data.resolve().name for data in sets]) for row in made]
    write_rows(folder / EXPORT, rows)
    write_sizes(folder, models)
    return exporting.format_export(rows), wrong


def _texts_of(model: str, named: str | None) -> TextsSpec:
    """Return what is named, or else what the model learned from, if it is here."""
    learned = _recipe_of(model)
    spec = TextsSpec(source=named or DOCSTRINGS)
    if named is None and learned is not None and Path(learned.texts.source).exists():
        spec = learned.texts
    print(f"texts of {spec.source}", flush=True)
    return spec


def _over(
    sets: Sequence[Path], model: str, teacher: str | None, measure: Callable[..., list[R]], kind: type[R], folder: Path
) -> list[R]:
    """Return the rows that ``measure`` gives for each of ``sets``, with one student and its teacher for all.

    Those of each set are kept in ``folder`` as soon as they are made.
    """
    student = load_student(model)
    theirs = load_teacher(TeacherSpec(model=teacher) if teacher else teacher_of(model), student)
    models: Models = {"teacher": (identify(theirs), theirs), "student": (identify(student), student)}
    require_same_sizes(folder, models)
    what, names = measure.__name__.removeprefix("measure_"), [str(identity) for identity, _ in models.values()]
    rows: list[R] = []
    for data in sets:
        part = part_of(folder, what, data.resolve().name, *names, hash_files(beir_files(data)))
        rows += once(part, kind, partial(measure, data, teacher=theirs, student=student))
        write_sizes(folder, models)
    return rows


def sets_of(model: str, named: Sequence[Path]) -> list[Path]:
    """Return the BEIR folders that are named, or else those of the model's recipe that are there, if any.

    Raises:
        InputError: If one of them is none.
    """
    recipe = _recipe_of(model)
    known = recipe.evaluate_on if recipe else ()
    folders = list(named) or [Path(name) for name in known if Path(name).is_dir()]
    check_folders(folders)
    return folders


def _recipe_of(model: str) -> Recipe | None:
    resolved = read_record(resolve_model(model)).get("resolved")
    return Recipe.from_dict(resolved) if isinstance(resolved, dict) else None


def _sets(model: str, named: Sequence[Path]) -> list[Path]:
    folders = sets_of(model, named)
    if not folders:
        raise InputError("--data: expected BEIR folders, found none, and the model's recipe names none that is here")
    return folders
