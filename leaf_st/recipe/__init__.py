"""Recipes: every value that shapes a distillation, validated when the recipe is created.

A recipe is a Python file with a module-level ``recipe = Recipe(...)``. Training arguments are keywords of
``SentenceTransformerTrainingArguments`` and are not declared a second time here. The run folder's ``recipe.json``
contains the same values, resolved, and the versions of the libraries.
"""

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.errors import FieldError, InputError
from leaf_st.recipe.api import ApiSpec
from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.student import StudentSpec
from leaf_st.recipe.teacher import TEACHER_OF_START, Precision, TeacherSpec, is_limit, teacher_values, with_fit
from leaf_st.recipe.texts import DOCSTRINGS, KINDS, PAPER, Kind, TextsSpec
from leaf_st.recipe.training import Distance, TrainingSpec
from leaf_st.recipe.type_names import value_name
from leaf_st.recipe.types import LocalPaths

__all__ = [
    "DOCSTRINGS",
    "GENERAL_ROWS",
    "KINDS",
    "PAPER",
    "PARTS",
    "TEACHER_OF_START",
    "ApiSpec",
    "Distance",
    "Kind",
    "Precision",
    "Recipe",
    "StudentSpec",
    "TeacherSpec",
    "TextsSpec",
    "TrainingSpec",
    "is_limit",
    "with_fit",
]

GENERAL_ROWS = 2048


def _plain_name(value: str) -> str:
    if value in ("", "..") or Path(value).name != value:
        raise ValueError(f"expected a plain name that can be the name of a folder, found {value_name(value)}")
    return value


@part("")
@dataclass(frozen=True, config=CONFIG)
class Recipe:
    """A complete distillation: texts, teacher, student, training, and the evaluation sets."""

    name: Annotated[str, AfterValidator(_plain_name)]
    """Name of the student and of the run folder."""
    texts: TextsSpec = field(default_factory=TextsSpec)
    """The training texts."""
    general: TextsSpec | None = None
    """Texts of the general domain, used only for validation: the loss on these texts rises if training on `texts`
    makes the student forget the general domain. A limit is required, because each validation reads all of them."""
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    """The model that computes the targets."""
    student: StudentSpec = field(default_factory=lambda: StudentSpec(layers=(0, 4, 5)))
    """The model that is trained."""
    training: TrainingSpec = field(default_factory=TrainingSpec)
    """How the student is trained."""
    evaluate_on: LocalPaths = ()
    """Local evaluation sets that `leaf-st run` measures after training (`leaf-st evaluate --help` lists their formats).
    Missing sets in the recipe file are skipped with a message; missing sets in --set are an error."""

    @model_validator(mode="after")
    def _check_parts_together(self) -> "Recipe":
        if self.general is not None and self.general.source == PAPER:
            raise Conflict("general.source", "expected a local file or folder, found the paper's sources; set a file")
        if self.general is not None and not self.general.is_limited:
            raise Conflict(
                "general.limit",
                f"expected a limit for all rows, found {self.general.limit!r}: each validation reads all of them; "
                f"set a number such as {GENERAL_ROWS}",
            )
        if self.general is not None and self.general.exclude is not None:
            raise Conflict(
                "general.exclude",
                f"expected None, found {list(self.general.exclude)}: no student learns from general texts; remove the "
                "field, or set texts.exclude",
            )
        if self.teacher.model == TEACHER_OF_START and self.student.start is None:
            raise Conflict(
                "teacher.model",
                f"expected a student in student.start, because the teacher is {TEACHER_OF_START}, found None: set "
                "student.start or name another teacher",
            )
        if not self.teacher.embeds_new_texts:
            self._check_given_vectors(f"with {self.teacher.in_place_of_model}")
        if not self.teacher.is_loaded:
            self._check_student_without_model(f"with {self.teacher.in_place_of_model}")
        if self.teacher.weight != 1:
            raise Conflict(
                "teacher.weight",
                f"expected 1 outside teacher.ensemble, found {self.teacher.weight:g}: remove it, or set it in a member",
            )
        if self.student.static and self.training.max_length is not None:
            raise Conflict(
                "training.max_length",
                f"expected None with student.static, found {self.training.max_length}: a static student reads "
                "complete texts; remove training.max_length",
            )
        return self

    def _check_given_vectors(self, given: str) -> None:
        """Check that nothing needs the model that made the vectors, or a vector of another text."""
        if self.texts.source in (DOCSTRINGS, PAPER):
            raise Conflict("texts.source", f"expected a table {given}, found {self.texts.source}: name its file")
        if self.texts.sentences:
            raise Conflict("texts.sentences", f"expected false {given}, found true: sentences have no vectors")
        if self.general is not None:
            raise Conflict("general", f"expected None {given}: texts of another source have no vectors; remove it")
        if self.teacher.precision == "bfloat16":
            raise Conflict("teacher.precision", f"expected auto or float32 {given}, found bfloat16: no model is loaded")

    def _check_student_without_model(self, given: str) -> None:
        """Check that the student needs no part of the teacher, because the teacher's model is not available."""
        if self.student.static:
            raise Conflict(
                "student.static",
                f"expected false {given}, found true: a table needs a vector for each token of the teacher; set "
                "student.backbone instead",
            )
        if self.student.start is None and self.student.backbone is None:
            raise Conflict(
                "student.backbone",
                f"expected an encoder {given}, found None: the teacher is not one loaded model, so none of its layers "
                "can be kept; set student.backbone (and layers to keep of it) or student.start",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        values = asdict(self)
        return {**values, "teacher": teacher_values(values["teacher"])}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_dict` wrote.

        Raises:
            InputError: If a field is missing or unknown, or its value is invalid.
        """
        try:
            parts = {key: PARTS[key](**part) for key, part in value.items() if key in PARTS and part is not None}
            return cls(**{**value, **parts})
        except (FieldError, TypeError) as error:  # a TypeError: a part is not a mapping
            raise InputError(f"recipe of another version of leaf-st: {error}") from error


PARTS: dict[str, Any] = {
    "texts": TextsSpec,
    "general": TextsSpec,
    "teacher": TeacherSpec,
    "teacher.api": ApiSpec,
    "student": StudentSpec,
    "training": TrainingSpec,
}
