"""What lies in the results of a run, read and checked: nothing is measured here, and no model is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from leaf_st.errors import InputError
from leaf_st.evaluation import rows as files
from leaf_st.evaluation.alignment import Alignment
from leaf_st.evaluation.compression import Compressed
from leaf_st.evaluation.index import Searched
from leaf_st.evaluation.latency import LatencyRow
from leaf_st.evaluation.margin import MarginRow
from leaf_st.evaluation.results import TASKS, Result
from leaf_st.evaluation.rows import read_as, read_rows
from leaf_st.evaluation.samples import Sampled
from leaf_st.evaluation.sizes import Size
from leaf_st.export.export import ExportRow
from leaf_st.recipe import Recipe
from leaf_st.run_folder import read_run

TRAINING = "training.json"

R = TypeVar("R")


class Rates(BaseModel):
    """Texts per second."""

    teacher: PositiveFloat
    student: PositiveFloat


class Logged(BaseModel):
    """What the trainer wrote down at a step: validation losses are among the further numbers."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    step: int
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    train_runtime: float | None = None

    @property
    def validation(self) -> dict[str, float]:
        """Validation losses by name of the texts: "held-out", or "domain" and "general"."""
        losses = {key: value for key, value in self.__pydantic_extra__.items() if key.startswith("eval_")}
        names = {key: key.removeprefix("eval_").removesuffix("loss").rstrip("_") for key in losses if "loss" in key}
        return {name or "held-out": losses[key] for key, name in names.items()}


class Record(BaseModel):
    """The parts of ``recipe.json`` that are shown as they are."""

    resolved: dict[str, Any]
    arguments: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    versions: dict[str, str] = {}
    sources: dict[str, dict[str, str | None]] = {}


@dataclass(frozen=True)
class Measured:
    """A run and its results; what was not measured is an empty list.

    Attributes:
        run: Its folder.
        record: Its ``recipe.json``.
        recipe: The resolved recipe.
        training: ``training.json``.
        alignment: ``alignment.json``.
        sizes: ``models.json``.
        tasks: ``tasks.json``.
        compression: ``compression.json``.
        index: ``index.json``.
        margin: ``margin.json``.
        latency: ``latency.json``.
        exported: ``export.json``.
        samples: ``samples.json``.
        speed: Texts per second by side and model, ``speed.json``, which the demo writes.
    """

    run: Path
    record: Record
    recipe: Recipe
    training: list[Logged]
    alignment: list[Alignment]
    sizes: list[Size]
    tasks: list[Result]
    compression: list[Compressed]
    index: list[Searched]
    margin: list[MarginRow]
    latency: list[LatencyRow]
    exported: list[ExportRow]
    samples: list[Sampled]
    speed: dict[str, Rates]


def read_measured(run: Path) -> Measured:
    """Return what lies in ``run``.

    Raises:
        InputError: If it is no run folder, a file is damaged, or one holds results of another model.
    """
    read_run(run)
    record = read_as(run / "recipe.json", Record, "the record of a run")
    results = run / "results"
    if not (results.is_dir() or (run / "model").is_dir()):
        raise InputError(f"{run}: expected results/ beside recipe.json, found none: name the folder of a trained run")
    measured = Measured(
        run=run,
        record=record,
        recipe=Recipe.from_dict(record.resolved),
        training=_rows(results / TRAINING, Logged),
        alignment=_rows(results / files.ALIGNMENT, Alignment),
        sizes=_rows(results / files.MODELS, Size),
        tasks=_rows(results / TASKS, Result),
        compression=_rows(results / files.COMPRESSION, Compressed),
        index=_rows(results / files.INDEX, Searched),
        margin=_rows(results / files.MARGIN, MarginRow),
        latency=_rows(results / files.LATENCY, LatencyRow),
        exported=_rows(results / files.EXPORT, ExportRow),
        samples=_rows(results / files.SAMPLES, Sampled),
        speed=_speed(results / "speed.json"),
    )
    _require_one_student(measured)
    return measured


def _rows(path: Path, kind: type[R]) -> list[R]:
    return read_rows(path, kind) if path.exists() else []


def _speed(path: Path) -> dict[str, Rates]:
    return read_as(path, dict[str, Rates], "texts per second by side and model") if path.exists() else {}


def _require_one_student(measured: Measured) -> None:
    """Look whether all results are of the student of this run; latency may have others beside it."""
    student = f"local/{measured.recipe.name}"  # as `leaf_st.models.identity` calls it
    named = {
        TASKS: [row.model for row in measured.tasks if row.mode != "teacher"],
        files.MODELS: [row.model for row in measured.sizes if row.role == "student"],
        files.COMPRESSION: [row.model for row in measured.compression if row.mode != "teacher"],
        files.INDEX: [row.model for row in measured.index if row.mode != "teacher"],
        files.SAMPLES: [row.model for row in measured.samples if row.mode != "teacher"],
    }
    for name, models in named.items():
        if others := [model for model in models if model != student]:
            raise InputError(f"{_path(measured, name)} holds results of {others[0]}, not of {student}: move it away")
    first = next((row for row in measured.latency if row.model != row.teacher), None)
    counts = [row.parameters for row in measured.sizes if row.role == "student"]
    if first and counts and first.parameters not in counts:
        raise InputError(
            f"{_path(measured, files.LATENCY)} begins with {first.model} of {first.parameters:,} parameters, and "
            f"{student} has {counts[0]:,}: measure this one first"
        )
    hashes = [row.revision for row in measured.tasks if row.mode != "teacher" and row.revision]
    hashes += [row.revision for row in measured.sizes if row.role == "student"]
    if len(set(hashes)) > 1:
        raise InputError(
            f"{_path(measured, TASKS)} and {files.MODELS} hold results of several students of one name "
            f"({', '.join(dict.fromkeys(hashes))}): move them away and measure again"
        )


def _path(measured: Measured, name: str) -> Path:
    return measured.run / "results" / name
