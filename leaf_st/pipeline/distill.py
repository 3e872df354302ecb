"""Distillation as one call, for scripts and notebooks: the same pipeline and run folder as ``leaf-st run``."""

import logging
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import EarlyStoppingCallback, TrainerCallback

from leaf_st.errors import InputError, require_kind
from leaf_st.evaluation.measurements.alignment import ALIGNMENT
from leaf_st.pipeline.given_texts import keep_texts
from leaf_st.pipeline.recipe_file import recipe_fields
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.recipe.types import local_folder
from leaf_st.run_folder import GIVEN, RESULTS
from leaf_st.texts.check import left_out
from leaf_st.training.arguments import OTHER_NAMES, argument_types

# Loading a model and choosing a kernel of attention change settings of torch that all threads share.
_ONE_AT_A_TIME = threading.RLock()

_logger = logging.getLogger(__name__)


def distill(
    texts: Iterable[str] | Iterable[Mapping[str, Any]] | str | Path,
    teacher: str | Path | TeacherSpec,
    *,
    layers: Sequence[int] | None = None,
    backbone: str | Path | None = None,
    static: bool = False,
    vector_column: str | None = None,
    minutes: float | None = None,
    output: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    evaluator: BaseEvaluator | None = None,
    **training: Any,  # noqa: ANN401  (keywords of SentenceTransformerTrainingArguments)
) -> SentenceTransformer:
    """Train a small student in the vector space of ``teacher``; labels are not needed.

    The call runs a recipe in the run folder ``output``, as ``leaf-st run`` does. Repeating the call resumes a stopped
    run, or returns the student of a finished run. ``layers``, ``backbone`` or ``static`` is required.

    A call from another thread waits until the first call has ended; use processes to distil at the same time.

    Args:
        texts: Training texts: strings; mappings with ``text`` and ``kind`` ("query" or "document", the default); a
            `datasets.Dataset` with these columns; or the path of a file or folder (parquet, jsonl, csv, txt, BEIR).
        teacher: Hub id or folder of a sentence-transformers model, or a `TeacherSpec`, for example of an API.
        layers: Layers to keep, such as ``(0, 4, 5)``, of ``backbone`` if given, otherwise of the teacher.
        backbone: Hub id or folder of a smaller encoder.
        static: Whether the student is a table of token vectors instead of an encoder.
        vector_column: Key or column of ``texts`` that holds the teacher's vectors, or a .npy file with a row for each
            text. The teacher is then not loaded, and ``backbone`` is required.
        minutes: Time budget of the training; a short trial determines the number of steps.
        output: Run folder; if None, a temporary folder, so that the run cannot be resumed.
        callbacks: Callbacks of transformers' trainer, such as ``EarlyStoppingCallback``. A repeated call needs the same
            callbacks, because the run folder does not keep them.
        evaluator: Evaluator of sentence-transformers, called at each validation, for a training by one process.
        **training: Keywords of `SentenceTransformerTrainingArguments`, such as ``learning_rate=3e-4``.

    Returns:
        The trained student. It does not depend on the run folder; `save_portable` saves it for other programs.

    Raises:
        InputError: If an argument or a text cannot be used, a model does not load, or ``output`` contains another run.
    """
    saved = "save a loaded model with save_pretrained and name its folder"
    api = "or pass an API as TeacherSpec(api=...)"
    require_kind("teacher", teacher, str | Path | TeacherSpec, f"a folder, hub id or TeacherSpec: {saved}, {api}")
    require_kind("backbone", backbone, str | Path | None, f"a folder or hub id: {saved}")
    # Arrays of numpy and torch are no sequences.
    layers = getattr(layers, "tolist", lambda: layers)()
    require_kind("layers", layers, Sequence | None, "layer numbers such as (0, 4, 5): name each layer")
    _refuse_values_of_recipes(training)
    _require_hooks(callbacks, evaluator, training)
    with _ONE_AT_A_TIME, _run_folder(output) as folder:
        spec = teacher if isinstance(teacher, TeacherSpec) else TeacherSpec(model=str(teacher))
        column = spec.vector_column if vector_column is None else vector_column
        source, given = (str(texts), None) if isinstance(texts, str | Path) else (str(folder / GIVEN), texts)
        recipe = Recipe(
            name=folder.resolve().name,
            texts=TextsSpec(source=source),
            teacher=replace(spec, vector_column=column),
            student=StudentSpec(backbone=None if backbone is None else str(backbone), layers=layers, static=static),
            training=TrainingSpec(budget_minutes=minutes, arguments=training),
        )
        return _carry_out(Run(recipe, folder), given, column, callbacks, evaluator)


def _refuse_values_of_recipes(training: Mapping[str, Any]) -> None:
    """Refuse a value of recipes among the keywords, before the recipe is checked without the value."""
    for name in training:
        if name in argument_types() or name in OTHER_NAMES:
            continue
        if fields := [field.key for field in recipe_fields() if field.key.rpartition(".")[2] == name]:
            remedy = "write a recipe file, and run the file with `leaf-st run`"
            if f"teacher.{name}" in fields:
                remedy = f"pass TeacherSpec(model=..., {name}=...) as the teacher, or {remedy}"
            elif name == "budget_minutes":
                remedy = "use the keyword minutes"
            raise InputError(
                f"{name}: expected a keyword of distill or of SentenceTransformerTrainingArguments, found a value of "
                f"recipes ({', '.join(fields)}): {remedy}"
            )


def _require_hooks(
    callbacks: Sequence[TrainerCallback], evaluator: BaseEvaluator | None, training: Mapping[str, Any]
) -> None:
    """Check what the trainer gets, before texts are embedded: their vectors may cost money."""
    require_kind("callbacks", callbacks, Sequence, "a list of callbacks: put the callback into a list")
    for callback in callbacks:
        kind = callback if isinstance(callback, type) else type(callback)  # the trainer takes classes too
        if not issubclass(kind, TrainerCallback):
            raise InputError(
                f"callbacks: expected objects of transformers.TrainerCallback, found a {kind.__name__}: write a class "
                "with this base"
            )
        if issubclass(kind, EarlyStoppingCallback) and training.get("eval_strategy") == "no":
            raise InputError(
                "callbacks: expected validations for EarlyStoppingCallback, found eval_strategy='no': remove one of "
                "the two"
            )
    one = "an object of a class of sentence-transformers' evaluators: pass one evaluator"
    require_kind("evaluator", evaluator, BaseEvaluator | None, one)


@contextmanager
def _run_folder(output: str | Path | None) -> Iterator[Path]:
    if output is not None:
        yield local_folder(output)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("output: expected a run folder that all processes share, found None: name a folder")
    with tempfile.TemporaryDirectory(prefix="leaf-st-") as temporary:
        yield Path(temporary, "distilled")


def _carry_out(
    run: Run,
    texts: Iterable[Any] | None,
    column: str | None,
    callbacks: Sequence[TrainerCallback],
    evaluator: BaseEvaluator | None,
) -> SentenceTransformer:
    """Embed, train and measure; ``texts`` is None if the recipe names a file."""
    if texts is not None:
        with PartialState().main_process_first():
            beside = column is not None and column.endswith(".npy")
            keep_texts(texts, run.folder / GIVEN, None if beside else column)
    alignment = run.folder / RESULTS / ALIGNMENT.file
    # A finished run whose store was deleted needs no vectors, which an API would be paid for again.
    store = None if run.is_without_store and alignment.is_file() else run.embed()
    # Without the console of `leaf-st run`, Python shows no message below a warning.
    if store is not None and store.skipped and PartialState().is_main_process:
        _logger.warning("%s texts are used%s", f"{len(store):,}", left_out(Counter(store.skipped)))
    student = run.train(callbacks, evaluator)
    if PartialState().is_main_process and not alignment.is_file():
        run.measure_alignment()
    # The group of processes stays: the script may distil again, or let one process save the student.
    PartialState().wait_for_everyone()
    return student
