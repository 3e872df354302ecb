"""The results of a run, read and checked. No model is loaded."""

import copy
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from pydantic import BaseModel

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.measurements.latency import LATENCY
from leaf_st.evaluation.measurements.measurement import Measurement
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.rows import read_as, read_rows
from leaf_st.evaluation.sizes import MODELS, Size
from leaf_st.models.identity import local_name
from leaf_st.recipe import Recipe
from leaf_st.run_folder import MODEL, RECIPE, RESULTS, is_recorded_folder, read_run
from leaf_st.student.vocabulary_figures import VocabularyFigures
from leaf_st.zoo import ZOO

R = TypeVar("R")


class RunRecord(BaseModel):
    """The parts of a run's record (``recipe.json``) that cards and reports show unchanged.

    Attributes:
        resolved: The recipe with every value that the run used.
        arguments: Training arguments.
        teacher: Fingerprint of the teacher's vectors.
        commits: Commits on the hub of models and texts by their part of the recipe; None for a folder. Earlier versions
            had none.
        versions: Versions by library.
        sources: Data set, commit and licence by source of training texts.
        excluded: Number of rows that were left out because they equal a text of the evaluation sets, if compared.
        vocabulary: What the student keeps of its vocabulary, and what the texts lose, if it is limited.
    """

    resolved: dict[str, Any]
    arguments: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    commits: dict[str, str | None] = {}
    versions: dict[str, str] = {}
    sources: dict[str, dict[str, str | None]] = {}
    excluded: int | None = None
    vocabulary: VocabularyFigures | None = None


_DATA_FILES = (".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".npy", ".npz", ".py")
# The revision of an API names the tokenizer that cuts its texts, which may be in a folder.
_TOKENIZER = re.compile(r'("cut": "\d+ tokens of )((?:[^"\\]|\\.)+)')
_MODELS = ("model", "start", "backbone")  # fields of a recipe that name a model


@dataclass(frozen=True)
class Results:
    """A run and the rows of its measurements.

    Attributes:
        run: The run folder.
        record: The run's record.
        recipe: The resolved recipe.
        measured: Rows by name of the measurement. A measurement without rows may be absent.
        sizes: Sizes of teacher and student (``models.json``).
    """

    run: Path
    record: RunRecord
    recipe: Recipe
    measured: Mapping[str, Sequence[Any]]
    sizes: Sequence[Size] = ()

    def rows(self, measurement: Measurement[R]) -> Sequence[R]:
        """Return the rows of ``measurement``, none if it was not measured."""
        return self.measured.get(measurement.name, ())

    def size(self, role: str) -> Size | None:
        """Return the size of the teacher or the student, None if it is not known."""
        return next((row for row in self.sizes if row.role == role), None)


def read_results(run: Path) -> Results:
    """Return the results in the folder ``run``.

    Raises:
        InputError: If ``run`` is not a run folder, a file is damaged, or a file contains results of another model.
    """
    known = read_run(run)  # without what earlier versions recorded and this version refuses
    record = read_as(run / RECIPE, RunRecord, "the record of a run", upgrade=lambda _: known)
    folder = run / RESULTS
    if not (folder.is_dir() or (run / MODEL).is_dir()):
        raise InputError(
            f"{run}: expected results/ beside recipe.json, found neither results/ nor model/: name the folder of a "
            "trained run"
        )
    models = folder / MODELS
    results = Results(
        run=run,
        record=record,
        recipe=Recipe.from_dict(record.resolved),
        measured={measurement.name: measurement.read(folder) for measurement in registry.MEASUREMENTS},
        sizes=read_rows(models, Size) if models.exists() else [],
    )
    _require_one_student(results)
    return results


def _require_one_student(results: Results) -> None:
    """Check that the student of all rows is the student of this run."""
    student = local_name(results.recipe.name)
    rows = {name: [row for row in rows if _belongs_to_student(row)] for name, rows in results.measured.items()}
    rows["models"] = [row for row in results.sizes if row.role == "student"]
    folder = results.run / RESULTS
    for name, of_student in rows.items():
        if others := [row.model for row in of_student if row.model != student]:
            raise InputError(
                f"{folder / name}.json contains results of {others[0]}, not of {student}: move the file to another "
                "folder"
            )
    _require_timed_student(results, student)
    _require_one_revision(folder, rows)


def _require_one_revision(folder: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    hashed = {name: [row for row in of_name if getattr(row, "revision", None)] for name, of_name in rows.items()}
    revisions = dict.fromkeys(row.revision for of_name in hashed.values() for row in of_name)
    if len(revisions) > 1:
        names = ", ".join(f"{name}.json" for name, of_name in hashed.items() if of_name)
        raise InputError(
            f"{folder}: {names} contain results of several students with the same name ({', '.join(revisions)}): move "
            "the files to another folder and measure again"
        )


def _belongs_to_student(row: Any) -> bool:  # noqa: ANN401  (a row of any measurement)
    return hasattr(row, "model") and getattr(row, "mode", "teacher") != "teacher"


def _require_timed_student(results: Results, student: str) -> None:
    """Check that the first student in the latency rows has the size of this run's student; others may follow."""
    first = next((row for row in results.rows(LATENCY) if row.model != row.teacher), None)
    size = results.size("student")
    if first and size and first.parameters != size.parameters:
        raise InputError(
            f"{results.run / RESULTS / LATENCY.file} begins with {first.model} of {first.parameters:,} parameters, "
            f"but {student} has {size.parameters:,}: measure the latency again with {student} as the first model"
        )


def require_results(run: Path, without_results: bool = False) -> None:
    """Check that ``run`` has task results, unless ``without_results``.

    Raises:
        InputError: If ``run`` has no task results.
    """
    if not (without_results or TASKS.read(run / RESULTS)):
        raise InputError(
            f"{run / RESULTS}: expected results of tasks for the card, found none: measure some with "
            "`leaf-st evaluate`, or use --without-results"
        )


def strip_folders(results: Results) -> Results:
    """Return ``results`` for readers on other machines; see `strip_record`."""
    record = RunRecord.model_validate(strip_record(results.record.model_dump()))
    return replace(
        results,
        record=record,
        recipe=Recipe.from_dict(record.resolved),
        measured={name: [_strip_row(row) for row in rows] for name, rows in results.measured.items()},
    )


def _strip_row(row: Any) -> Any:  # noqa: ANN401  (a row of any measurement)
    if isinstance(row, BaseModel):
        return row.model_copy(update=strip_paths(row.model_dump()))
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    return replace(row, **{name: strip_paths(value) for name, value in values.items()})


def strip_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``record`` of a run for readers on other machines.

    Each path is replaced by its last part, and each name of the zoo by the hub id and the revision. The record states
    which models are folders: a relative path of another machine looks like a hub id, and a run folder may have the name
    of a model of the zoo.
    """
    shared = copy.deepcopy(dict(record))
    commits: dict[str, str | None] = shared.get("commits") or {}
    names: dict[str, str] = {}
    for key, part in [*_parts_with_models(shared.get("recipe")), *_parts_with_models(shared.get("resolved"))]:
        for field in _MODELS:
            if isinstance(name := part.get(field), str):
                if is_recorded_folder(name, key, commits):
                    part[field] = names[name] = Path(name).name or name
                elif name in ZOO:
                    part[field] = names[name] = ZOO[name].hub_id
                    part["revision"] = part.get("revision") or ZOO[name].revision
    teacher = shared.get("teacher")
    if isinstance(teacher, dict) and isinstance(joined := teacher.get("teacher"), str):
        teacher["teacher"] = " + ".join(names.get(name, name) for name in joined.split(" + "))
    stripped: dict[str, Any] = strip_paths(shared)
    return stripped


def _parts_with_models(recipe: Mapping[str, Any] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each part of ``recipe`` that can name a model, after its key in the recorded commits."""
    teacher = (recipe or {}).get("teacher") or {}
    yield "student", (recipe or {}).get("student") or {}
    yield "teacher", teacher
    for name, members in teacher.items():  # of an ensemble
        for number, member in enumerate(members if isinstance(members, list | tuple) else ()):
            if isinstance(member, dict):
                yield f"teacher.{name}.{number}", member


def strip_paths(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Return a JSON value in which each path is replaced by its last part."""
    if isinstance(value, dict):
        return {key: strip_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(strip_paths(item) for item in value)
    if not isinstance(value, str):
        return value
    value = _TOKENIZER.sub(lambda found: found[1] + strip_paths(found[2]), value)
    if PureWindowsPath(value).drive and "\\" in value:  # of a run on another system
        return PureWindowsPath(value).name
    return Path(value).name if _is_path(value) else value


def _is_path(text: str) -> bool:
    if text.startswith(("~/", "./", "../")) or (len(text) > 1 and Path(text).is_absolute()):
        return True
    if "/" in text and "://" not in text and " " not in text and text.endswith(_DATA_FILES):
        return True  # of a run in another folder, or a file that does not exist any more
    # os.path.exists, because Path.exists raises for a name that is too long, such as a part of a prompt
    return "/" in text and len(text) < 1024 and os.path.exists(text)
