"""The part of a recipe that names the teacher, or the members of an ensemble of teachers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.errors import FieldError
from leaf_st.recipe.api import API_LIMITS, ApiSpec
from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.texts import TextByKind, TextsSpec
from leaf_st.recipe.types import AtLeast1, AtLeast2, LocalPath, ModelName, Named, NonEmpty

Precision = Literal["auto", "float32", "bfloat16"]
TEACHER_OF_START = "student.start"

_LIMITS = {"teacher.batch_size", *(f"teacher.api.{name}" for name in API_LIMITS)}
_OPTIONAL = ("api", "batch_size", "rows_per_shard", "ensemble", "dimensions", "axes")  # recorded if set
_MEMBER = re.compile(r"^teacher\.ensemble\.\d+\.")  # the beginning of a field of a member


def _to_api(value: object) -> object:
    return ApiSpec(**value) if isinstance(value, Mapping) else value


def _to_texts(value: object) -> object:
    return TextsSpec(**value) if isinstance(value, Mapping) else value


def _to_members(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    return [_to_member(member, f"teacher.ensemble.{number}") for number, member in enumerate(value)]


def _to_member(value: object, part: str) -> object:
    try:
        return TeacherSpec(**value) if isinstance(value, Mapping) else value
    except FieldError as error:
        raise error.in_part(part + error.part.removeprefix("teacher")) from error


@part("teacher")
@dataclass(frozen=True, config=CONFIG)
class TeacherSpec:
    """The model that computes the targets, and its embedding settings."""

    model: ModelName = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or folder of a sentence-transformers model, or "student.start": the teacher of the student in
    student.start, with the revision, prompts and max_length from that student's recipe.json or from the zoo."""
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
    rows_per_shard: AtLeast1 | None = None
    """Number of texts in each file of the store, which is also the number that a kill loses at most; if None, 1,024 for
    up to 2M texts, and more for more texts, up to 64 MB."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text; the model's own maximum if None."""
    batch_size: AtLeast1 | None = None
    """Number of texts that a local model embeds at a time, at most a shard; if None, 32 on a CPU and 256 on a GPU."""
    trust_remote_code: bool = False
    """Whether to run Python code from the model's repository."""
    api: Annotated[
        ApiSpec | None, BeforeValidator(_to_api), Named("mapping with the fields of teacher.api or None")
    ] = None
    """An embedding API in place of a local model; `model`, `revision` and `precision` are then ignored."""
    ensemble: Annotated[
        Sequence["TeacherSpec"],
        BeforeValidator(_to_members),
        AfterValidator(tuple),
        Named("list of mappings with fields of teacher and a weight"),
    ] = ()
    """Several teachers in place of one. Each member has the fields of `teacher` that name a model or an API, and a
    `weight` (default 1). The members' vectors are normalised, scaled by their weights and concatenated. `model` is then
    ignored, each member applies its own prompts, and `prompts` are only the student's."""
    dimensions: AtLeast1 | None = None
    """Number of principal axes to which the vectors of the ensemble are projected; no projection if None."""
    axes: LocalPath | None = None
    """File of the principal axes; if None, a run fits the axes to its first 16,384 texts and records its own file."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the vectors of a member of `ensemble`: a cosine counts with the square of the weight."""

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

    @model_validator(mode="after")
    def _check_table(self) -> "TeacherSpec":
        if self.table is not None and self.vector_column is None:
            raise Conflict("table", "expected None without teacher.vector_column, found a table: remove teacher.table")
        return self

    @model_validator(mode="after")
    def _check_batch_size(self) -> "TeacherSpec":
        if self.batch_size is not None and not self.is_loaded:
            raise Conflict(
                "batch_size",
                f"expected None with {self.in_place_of_model}, found {self.batch_size}: only a local model has a batch "
                "size (an API has teacher.api.max_items); remove it, or set it in a member of the ensemble",
            )
        return self

    @model_validator(mode="after")
    def _check_ensemble(self) -> "TeacherSpec":
        if not self.ensemble:
            for name in ("dimensions", "axes"):
                if (value := getattr(self, name)) is not None:
                    raise Conflict(name, f"expected None without teacher.ensemble, found {value!r}: remove it")
            return self
        if len(self.ensemble) < 2:
            raise Conflict("ensemble", "expected at least two members, found one: set teacher.model instead")
        if self.axes is not None and self.dimensions is None:
            raise Conflict("dimensions", "expected the number of teacher.axes, found None: set teacher.dimensions")
        for member in self.ensemble:
            for name in ("ensemble", "vector_column", "table"):
                if getattr(member, name):
                    problem = f"expected models and APIs, found a member with {name}: remove the member"
                    raise Conflict("ensemble", problem)
            for name, default in (("store_dtype", "float16"), ("rows_per_shard", None)):
                if (value := getattr(member, name)) != default:
                    problem = f"expected no {name} in a member, found {value!r}: set teacher.{name} of the ensemble"
                    raise Conflict("ensemble", problem)
        for name in ("vector_column", "table", "revision", "max_length", "api", "trust_remote_code"):
            if getattr(self, name):
                can_move = "" if name in ("vector_column", "table") else f"set {name} in a member, or "
                raise Conflict(
                    name,
                    f"expected no value with teacher.ensemble, found one: {can_move}remove the value or the ensemble "
                    "(--set teacher.ensemble=[])",
                )
        if self.precision != "auto":
            raise Conflict(
                "precision", f"expected auto with teacher.ensemble, found {self.precision}: set the members'"
            )
        return self

    @property
    def name(self) -> str:
        """The name of the teacher in results, records and cards."""
        return " + ".join(map(_short, self.names)) if self.ensemble else self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each member of an ensemble, or of the only teacher."""
        return tuple(spec.model if spec.api is None else spec.api.model for spec in self.ensemble or (self,))

    @property
    def in_place_of_model(self) -> str | None:
        """The field that names an API, given vectors or an ensemble in place of one model; None if no field does."""
        if self.vector_column is not None:
            return f"teacher.vector_column={self.vector_column}"
        return next((f"teacher.{name}" for name in ("api", "ensemble") if getattr(self, name)), None)

    @property
    def is_loaded(self) -> bool:
        """Whether the teacher is one model that is loaded here."""
        return self.in_place_of_model is None

    @property
    def embeds_new_texts(self) -> bool:
        """Whether the teacher embeds texts outside its table."""
        return self.vector_column is None

    @property
    def needs_fit(self) -> bool:
        """Whether the teacher must learn from the first texts before it embeds: the principal axes of an ensemble."""
        return self.dimensions is not None and self.fit is None

    @property
    def fit(self) -> Path | None:
        """The file with what the teacher learned from the first texts; None if there is none."""
        return None if self.axes is None else Path(self.axes)

    def with_fit(self, path: Path) -> "TeacherSpec":
        """Return the teacher with ``path`` as the file of its fit."""
        return replace(self, axes=str(path))

    @property
    def models(self) -> dict[str, "TeacherSpec"]:
        """The models that are loaded here, by their keys in a recipe."""
        members = {f"teacher.ensemble.{number}": member for number, member in enumerate(self.ensemble)}
        return {key: spec for key, spec in (members or {"teacher": self}).items() if spec.is_loaded}

    def with_table_at(self, source: str, place: str) -> "TeacherSpec":
        """Return the teacher with the table of given vectors at ``place``, if the table is at ``source``."""
        if self.table is None or self.table.source != source:
            return self
        return replace(self, table=replace(self.table, source=place))

    def map_models(self, change: Callable[["TeacherSpec"], "TeacherSpec"]) -> "TeacherSpec":
        """Return the teacher with the results of ``change`` in place of the models that are loaded here."""
        if self.ensemble:
            return replace(self, ensemble=[member.map_models(change) for member in self.ensemble])
        return change(self) if self.is_loaded else self

    def with_models(self, **values: Any) -> "TeacherSpec":  # noqa: ANN401  (any field)
        """Return the teacher with other ``values`` of the models that are loaded here."""
        return self.map_models(lambda spec: replace(spec, **values))


def with_fit(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the recorded ``values`` of a teacher with ``path`` as the file of its fit."""
    return {**values, "axes": str(path)}


def is_limit(key: str) -> bool:
    """Return whether a resumed run may change ``key``, a field of a recipe, because the field shapes no vector."""
    return _MEMBER.sub("teacher.", key) in _LIMITS


def _short(name: str) -> str:
    """Return a hub id as it is, and the last part of the path of a folder."""
    return Path(name).name if name.startswith(("/", ".", "~")) else name


def teacher_values(values: Mapping[str, Any], is_member: bool = False) -> dict[str, Any]:
    """Return ``values`` of a teacher as JSON values, without fields of other kinds of teachers.

    Records of version 0.1 have neither an API nor given vectors nor an ensemble.
    """
    unused = {"model"} if values["api"] is not None or values["ensemble"] else set[str]()
    unused |= {name for name in _OPTIONAL if not values.get(name)}
    unused |= set() if is_member else {"weight"}
    if values["vector_column"] is None:
        unused |= {"vector_column", "table"}
    members = {"ensemble": [teacher_values(member, is_member=True) for member in values["ensemble"]]}
    return {name: value for name, value in {**values, **members}.items() if name not in unused}
