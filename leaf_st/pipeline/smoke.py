"""A small version of a recipe, to test that the recipe runs: tiny models, few texts, two steps."""

import logging
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from leaf_st.atomic import make_folder, replace_folder
from leaf_st.hub.dataset_url import is_dataset_url
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import LAYERS, WIDTH, save_tiny_teacher
from leaf_st.pipeline.default_texts import hub_answers
from leaf_st.pipeline.run import Run
from leaf_st.recipe import DOCSTRINGS, PAPER, Recipe, StudentSpec, TextsSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.open import kind_of
from leaf_st.training.trial import for_another_student

_logger = logging.getLogger(__name__)
_TEXTS = 1024
_TOKENS = 1000
_BATCH = 32


def smoke(recipe: Recipe, folder: Path) -> Recipe:
    """Return a small version of ``recipe``: a tiny teacher (created in ``folder``), few texts, two steps.

    Raises:
        InputError: If ``folder`` contains other files.
    """
    teacher, spec = folder / "teacher", recipe.teacher
    given = {name: value for name, value in recipe.training.arguments.items() if name != "fp16"}  # needs a GPU
    arguments = {
        **for_another_student(given),
        "max_steps": 2,
        "eval_steps": 0.5,
        "save_steps": 0.5,
        "use_cpu": True,
    }
    if arguments.get("per_device_train_batch_size", 0) > _BATCH:  # several processes need texts for full batches
        arguments["per_device_train_batch_size"] = _BATCH
    has_start, few = recipe.student.start is not None, _few(recipe.texts)
    # If both parts have one source, training uses its first texts, and validation needs texts after them.
    unseen = 64 + (_TEXTS if recipe.general and recipe.general.source == few.source else 0)
    start = folder / "start"
    small = Recipe(
        name=recipe.name,
        texts=few,
        general=recipe.general and replace(recipe.general, limit=unseen),
        # A student with a start gets the prompts of its start.
        teacher=kind_of(spec).small(replace(spec, prompts={}) if has_start else spec, str(teacher), WIDTH),
        student=_small_student(recipe.student, start, str(teacher)),
        training=replace(recipe.training, held_out_rows=16, max_length=None, budget_minutes=None, arguments=arguments),
    )
    Run(small, folder)  # refuses a foreign folder before the teacher is written there
    with PartialState().main_process_first():
        if not teacher.is_dir():
            make_folder(folder)
            replace_folder(teacher, save_tiny_teacher)
        if has_start and not start.is_dir():
            width = WIDTH if small.teacher.needs_fit else WIDTH * len(small.teacher.models)
            save_portable(build_student(teacher, dimension=width, normalized=True, layers=(0, 2)), start)
    return small


def _few(texts: TextsSpec) -> TextsSpec:
    """Return a small part of ``texts``, or of each of the paper's sources, which have no common limit.

    If the file does not exist, for example in a recipe for the user's own texts, docstrings are used instead. No
    evaluation set is read.
    """
    if texts.source == PAPER and hub_answers():
        return replace(texts, per_source=128, exclude=())
    if texts.source == PAPER or not (texts.source == DOCSTRINGS or Path(texts.source).exists()):
        missing = "is not local" if is_dataset_url(texts.source) else "does not exist"
        reason = "the hub does not answer" if texts.source == PAPER else f"{texts.source} {missing}"
        _logger.info("%s: documentation strings are used instead", reason)
        return TextsSpec(sentences=texts.sentences, limit=_TEXTS)
    return replace(texts, limit=_TEXTS, exclude=())


def _small_student(spec: StudentSpec, start: Path, backbone: str) -> StudentSpec:
    """Return a small student of the same type as ``spec``: with a start, static, or with some layers.

    Args:
        spec: The student.
        start: Folder of the small start.
        backbone: The encoder of a student whose encoder is not the teacher's.
    """
    if spec.start is not None:
        return StudentSpec(start=str(start))
    if spec.static:
        return StudentSpec(static=True, closed_form_rows=64)
    layers = [layer for layer in spec.layers or () if layer < LAYERS]
    # The tiny tokenizer has few tokens, of which none can be left out.
    return StudentSpec(
        backbone=spec.backbone and backbone,
        layers=layers or (0, 2),
        vocabulary=spec.vocabulary and _TOKENS,
        closed_form_rows=64,
    )
