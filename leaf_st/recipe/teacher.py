"""The part of a recipe that names the teacher."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.recipe.api import ApiSpec
from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.texts import TextByKind, TextsSpec
from leaf_st.recipe.types import AtLeast2, ModelName, Named, NonEmpty

Precision = Literal["auto", "float32", "bfloat16"]
TEACHER_OF_START = "student.start"


def _to_api(value: object) -> object:
    return ApiSpec(**value) if isinstance(value, Mapping) else value


def _to_texts(value: object) -> object:
    return TextsSpec(**value) if isinstance(value, Mapping) else value


@part("teacher")
@dataclass(frozen=True, config=CONFIG)
class TeacherSpec:
    """The model that computes the targets, and its embedding settings."""

    model: ModelName = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or folder of a sentence-transformers model, or "student.start": the teacher of the student in
    student.start, with the revision and prompts from that student's recipe.json or from the zoo."""
    revision: NonEmpty | None = None
    """Commit, branch or tag on the hub."""
    prompts: TextByKind = field(default_factory=dict)
    """Prompts by kind, placed before each text; the model's own prompts if empty."""
    vector_column: NonEmpty | None = None
    """Column of `texts.source` that contains the teacher's vectors, or a .npy file whose row i belongs to row i of the
    table. The model is then not loaded: its name is recorded, as are its prompts and max_length if given."""
    table: Annotated[TextsSpec | None, BeforeValidator(_to_texts), Named("texts or None")] = None
    """The table of vector_column; a run records its texts here."""
    precision: Precision = "auto"
    """Precision of the weights while embedding; "auto" is bfloat16 on devices with hardware support, else float32."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """Number format of the stored targets."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text; the model's own maximum if None."""
    trust_remote_code: bool = False
    """Whether to run Python code from the model's repository."""
    api: Annotated[
        ApiSpec | None, BeforeValidator(_to_api), Named("mapping with the fields of teacher.api or None")
    ] = None
    """An embedding API in place of a local model; `model`, `revision` and `precision` are then ignored."""

    @model_validator(mode="after")
    def _check_api(self) -> "TeacherSpec":
        if self.api is None:
            return self
        if self.vector_column is not None:
            raise Conflict(
                "vector_column",
                f"expected None with teacher.api, found {self.vector_column!r}: vectors come either from the API or "
                "from the table; remove one of the two (--set teacher.vector_column=None or --set teacher.api=None)",
            )
        if self.trust_remote_code:
            raise Conflict("trust_remote_code", "expected false with teacher.api, found true: remove it")
        if self.max_length is not None and self.api.tokenizer is None:
            raise Conflict(
                "api.tokenizer",
                "expected a model with teacher.max_length, because tokens of the API's model must be counted, found "
                "None: name a model with its tokenizer, or remove teacher.max_length",
            )
        if self.max_length is None and self.api.long_texts == "cut":
            raise Conflict(
                "max_length",
                "expected a number of tokens with teacher.api.long_texts=cut, found None: set teacher.max_length",
            )
        return self

    @property
    def name(self) -> str:
        """The name of the teacher in results, records and cards."""
        return self.model if self.api is None else self.api.model

    @property
    def is_loaded(self) -> bool:
        """Whether the teacher is a model that is loaded here, and neither an API nor given vectors."""
        return self.api is None and self.vector_column is None
