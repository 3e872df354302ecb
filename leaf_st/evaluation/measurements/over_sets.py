"""Measuring one student and its teacher on several retrieval sets; finished sets survive an interruption."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leaf_st.errors import InputError
from leaf_st.evaluation.rows import part_file, read_or_make, write_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.recipe import Recipe

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from leaf_st.teacher.protocol import Teacher

R = TypeVar("R")


def measure_over_sets(
    name: str,
    row: type[R],
    measure: "Callable[..., list[R]]",
    models: "tuple[Teacher, SentenceTransformer]",
    sets: Sequence[Path],
    results: Path,
    made_of: Sequence[str] = (),
) -> list[R]:
    """Measure each set and write all rows to ``results/NAME.json``.

    The rows of a set are written to a part file as soon as the set is finished. A repeated call reads finished sets
    from these files.

    Args:
        name: Name of the measurement.
        row: Row type.
        measure: Function of a BEIR folder, ``teacher`` and ``student`` that returns the rows.
        models: Teacher and student.
        sets: BEIR folders.
        results: Results folder.
        made_of: What shapes the rows besides the models and the data.

    Raises:
        InputError: If the results folder belongs to other models, or a set cannot be used.
    """
    from leaf_st.evaluation.beir import revision_of
    from leaf_st.models.identity import identify

    teacher, student = models
    known: Models = {"teacher": (teacher.identity, teacher), "student": (identify(student), student)}
    require_same_sizes(results, known)
    names = [*(str(identity) for identity, _ in known.values()), *made_of]
    rows: list[R] = []
    for data in sets:
        part = part_file(results, name, data.resolve().name, *names, revision_of(data))
        rows += read_or_make(part, row, partial(measure, data, teacher=teacher, student=student))
        write_sizes(results, known)
    write_rows(results / f"{name}.json", rows)
    return rows


def measure_named_sets(
    name: str,
    row: type[R],
    measure: "Callable[..., list[R]]",
    options: argparse.Namespace,
    made_of: Sequence[str] = (),
) -> list[R]:
    """Measure the sets of ``--data``, or the sets of the recipe that exist, with the models of the command line.

    Args:
        name: As for `measure_over_sets`.
        row: As for `measure_over_sets`.
        measure: As for `measure_over_sets`.
        options: Parsed arguments ``model``, ``data``, ``teacher`` and ``output``.
        made_of: As for `measure_over_sets`.

    Raises:
        InputError: If a model or a set cannot be used.
    """
    sets = require_sets(options.model, options.data)
    models = load_pair(options.model, options.teacher)
    return measure_over_sets(name, row, measure, models, sets, options.output, made_of)


def load_pair(model: str, teacher: str | None) -> "tuple[Teacher, SentenceTransformer]":
    """Return the teacher and the student ``model``.

    Args:
        model: The student.
        teacher: Folder or hub id of the teacher; by default the teacher that the student learned from.

    Raises:
        InputError: If a model cannot be loaded, the student contains a teacher, or nothing names the teacher.
    """
    from leaf_st.evaluation.embedder import require_one_model
    from leaf_st.models.load import load_model
    from leaf_st.teacher.open import open_teacher, teacher_spec

    student = load_model(model)
    require_one_model(student)
    return open_teacher(teacher_spec(model, teacher, student.prompts)), student


def find_sets(model: str, named: Sequence[Path]) -> list[Path]:
    """Return the BEIR folders ``named``; without names, the folders of the model's recipe that exist.

    Raises:
        InputError: If a folder is not a retrieval set.
    """
    from leaf_st.evaluation.beir import check_folders

    recipe = recorded_recipe(model)
    folders = list(named) or (retrieval_sets(recipe) if recipe else [])
    check_folders(folders)
    return folders


def retrieval_sets(recipe: Recipe) -> list[Path]:
    """Return the BEIR folders among the sets of ``recipe`` that exist; a recipe may name sets of other types too."""
    from leaf_st.evaluation.beir import is_beir

    folders = [Path(name) for name in recipe.evaluate_on]
    return [folder for folder in folders if folder.is_dir() and is_beir(folder)]


def require_sets(model: str, named: Sequence[Path]) -> list[Path]:
    """Return the folders of `find_sets`, at least one.

    Raises:
        InputError: If there is no folder, or a folder is not a retrieval set.
    """
    folders = find_sets(model, named)
    if not folders:
        raise InputError("--data: expected BEIR folders, found none, and no set of the model's recipe exists: name one")
    return folders


def recorded_recipe(model: str) -> Recipe | None:
    """Return the recipe that a model folder records; None if the folder records no recipe."""
    from leaf_st.models.find import find_model
    from leaf_st.run_folder import read_record

    resolved = read_record(find_model(model)).get("resolved")
    return Recipe.from_dict(resolved) if isinstance(resolved, dict) else None
