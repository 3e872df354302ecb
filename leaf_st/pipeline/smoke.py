"""A recipe made small: tiny models, few texts, two steps, to see that it runs."""

from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from leaf_st.atomic import replace_folder
from leaf_st.models.portable import save_portable
from leaf_st.models.tiny import LAYERS, WIDTH, save_tiny_teacher
from leaf_st.pipeline.default_texts import hub_answers
from leaf_st.pipeline.run import Run
from leaf_st.recipe import DOCSTRINGS, PAPER, Recipe, StudentSpec, TeacherSpec, TextsSpec
from leaf_st.student.build import build_student

_TEXTS = 1024


def smoke(recipe: Recipe, folder: Path) -> Recipe:
    """Return ``recipe`` made small: a tiny teacher (made in ``folder``), few texts, two steps."""
    teacher = folder / "teacher"
    arguments = {
        **recipe.training.arguments,
        "max_steps": 2,
        "eval_steps": 0.5,
        "save_steps": 0.5,
        "use_cpu": True,
    }
    goes_on, few = recipe.student.start is not None, _few(recipe.texts)
    # Of one source the first texts are trained on, and the general ones come after them.
    unseen = 64 + (_TEXTS if recipe.general and recipe.general.source == few.source else 0)
    start = folder / "start"
    small = Recipe(
        name=recipe.name,
        # Two steps of thirty processes, too.
        texts=few,
        general=recipe.general and replace(recipe.general, limit=unseen),
        teacher=TeacherSpec(model=str(teacher), prompts={} if goes_on else recipe.teacher.prompts),
        student=_small_student(recipe.student, start),
        training=replace(recipe.training, held_out_rows=16, max_length=None, budget_minutes=None, arguments=arguments),
    )
    Run(small, folder)  # refuses a folder that is not its own, before a teacher is put there
    with PartialState().main_process_first():
        if not teacher.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            replace_folder(teacher, save_tiny_teacher)
        if goes_on and not start.is_dir():
            save_portable(build_student(teacher, dimension=WIDTH, normalized=True, layers=(0, 2)), start)
    return small


def _few(texts: TextsSpec) -> TextsSpec:
    """Return some of ``texts``: some of each source of the paper, of which no limit holds for all.

    Of a file that is not there, as where a recipe waits for the user's own, documentation takes the place.
    """
    if texts.source == PAPER and hub_answers():
        return replace(texts, per_source=128)
    if texts.source != DOCSTRINGS and not Path(texts.source).exists():
        print(f"{texts.source} is not there: this machine's documentation takes its place", flush=True)
        return TextsSpec(sentences=texts.sentences, limit=_TEXTS)
    return replace(texts, limit=_TEXTS)


def _small_student(spec: StudentSpec, start: Path) -> StudentSpec:
    """Return a student of the tiny teacher that is what ``spec`` is: one that goes on, a table, or layers."""
    if spec.start is not None:
        return StudentSpec(start=str(start))
    if spec.static:
        return StudentSpec(static=True, closed_form_rows=64)
    layers = [layer for layer in spec.layers or () if layer < LAYERS]
    return StudentSpec(layers=layers or (0, 2), closed_form_rows=64)
