"""Recipes: every value that shapes a distillation, validated when the recipe is created.

A recipe is a Python file with a module-level ``recipe = Recipe(...)``. Training arguments are keywords of
``SentenceTransformerTrainingArguments`` and are not declared a second time here. The run folder's ``recipe.json``
contains the same values, resolved, and the versions of the libraries.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.errors import FieldError, InputError
from leaf_st.field_types import (
    AtLeast0,
    AtLeast1,
    AtLeast2,
    Layers,
    LocalPath,
    LocalPaths,
    ModelName,
    Named,
    Names,
    NonEmpty,
    type_name,
    value_name,
)

Kind = Literal["query", "document"]
Precision = Literal["auto", "float32", "bfloat16"]
Distance = Literal["l2", "mse", "cosine"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GENERAL_ROWS = 2048
DOCSTRINGS = "docstrings"
PAPER = "paper"
TEACHER_OF_START = "student.start"
# The fields of `ApiSpec` that do not shape a vector, so that a resumed run may change them.
API_LIMITS = (
    *("api_key_env", "price_per_million_tokens", "requests_per_minute", "tokens_per_minute"),
    *("max_items", "max_tokens_per_request"),
)

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
_HELP = "`leaf-st run --help` describes every field"
_Part = TypeVar("_Part")


class _Conflict(ValueError):
    """Two field values that exclude each other. The error names the field, because pydantic adds no location."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


def _part(name: str) -> Callable[[type[_Part]], type[_Part]]:
    """Make the constructor of a pydantic dataclass raise `FieldError`, with ``name`` as the part of the recipe."""

    def decorate(cls: type[_Part]) -> type[_Part]:
        validate = cls.__init__

        @wraps(validate)
        def init(self: _Part, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            try:
                validate(self, *args, **kwargs)
            except ValidationError as error:
                raise _field_error(cls, name, error, args, kwargs) from error

        cls.__init__ = init  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def _field_error(
    cls: type[Any], part: str, error: ValidationError, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FieldError:
    """Return one of pydantic's errors as an error about a recipe field."""
    errors = error.errors(include_url=False)
    # An unknown field comes first, because a misspelled field is also reported as missing.
    first = next((item for item in errors if item["type"] == "unexpected_keyword_argument"), errors[0])
    problem, names = first.get("ctx", {}).get("error"), [item.name for item in fields(cls)]
    if isinstance(problem, FieldError):  # of a part of this part
        return problem
    if isinstance(problem, _Conflict):
        return FieldError(part, problem.field, str(problem))
    if not first["loc"]:
        return FieldError(part, "", str(problem or first["msg"]))
    place = first["loc"][0]
    key = names[place] if isinstance(place, int) and place < len(names) else str(place)
    if key not in names:
        return FieldError(part, key, f"no such field, expected one of {', '.join(names)}")
    if first["type"] == "missing":
        return FieldError(part, key, f"no value given; {_HELP}")
    if problem is not None:
        return FieldError(part, key, str(problem))
    value = kwargs[key] if key in kwargs else args[names.index(key)]
    expected = type_name(get_type_hints(cls, include_extras=True)[key])
    return FieldError(part, key, f"expected {expected}, found {value_name(value)}; {_HELP}")


_Limits = Annotated[
    Mapping[Kind, AtLeast0 | None],
    AfterValidator(dict),
    Named("mapping from query or document to int, such as {'query': 500, 'document': 1000}"),
]


@_part("texts")
@dataclass(frozen=True, config=_CONFIG)
class TextsSpec:
    """The training texts."""

    source: LocalPath = DOCSTRINGS
    """A file or folder, "docstrings" (the documentation strings of the installed packages), or "paper" (the nine
    sources of the paper's Table 1, read from the Hugging Face Hub). See `leaf_st.texts.files` for the formats."""
    text_column: NonEmpty = "text"
    """Table column that contains the text."""
    kind_column: NonEmpty = "kind"
    """Table column that contains "query" or "document"; ignored if the table has no such column."""
    kind: Kind = "document"
    """Kind of the rows that do not state a kind."""
    limit: AtLeast1 | _Limits | None = None
    """Maximum number of texts, in total or for each kind; no maximum if None."""
    sentences: bool = False
    """Whether to use one sentence of each document as an additional query, including documents above the limit."""
    leave_out: Names = ()
    """Names of the paper's sources to leave out; valid only with source "paper"."""
    per_source: AtLeast1 | None = None
    """Maximum number of texts from each of the paper's sources; no maximum if None. Valid only with source "paper"."""

    @model_validator(mode="after")
    def _check_paper(self) -> "TextsSpec":
        if self.source == PAPER:
            if self.limit is not None:
                raise _Conflict(
                    "limit",
                    f"expected None with source={PAPER}, found {self.limit!r}: all texts would be fetched and most of "
                    "them discarded; set per_source instead",
                )
            return self
        for name in ("leave_out", "per_source"):
            if value := getattr(self, name):
                raise _Conflict(
                    name,
                    f"expected source={PAPER}, whose sources this field selects, found source={self.source!r} with "
                    f"{name}={value!r}: remove the field",
                )
        return self

    @property
    def is_limited(self) -> bool:
        """Whether the number of rows is limited for every kind."""
        if isinstance(self.limit, Mapping):
            return all(self.limit.get(kind) is not None for kind in KINDS)
        return self.limit is not None


_PROMPTS = "mapping from query or document to text"


def _by_kind(prompts: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(prompts.keys() - set(KINDS)):
        raise ValueError(f"expected {_PROMPTS}, found the key {unknown[0]!r}: use one of {', '.join(KINDS)}")
    return dict(prompts)


def _api_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected an address such as https://api.openai.com/v1, found {url!r}")
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "expected an address without a user, password or query, because recipes and model cards show the address: "
            "put the key into the environment variable of teacher.api.api_key_env"
        )
    return url.rstrip("/")


_INPUT_TYPES = "mapping from query or document to text"
_API = "mapping with the fields of teacher.api"


@_part("teacher.api")
@dataclass(frozen=True, config=_CONFIG)
class ApiSpec:
    """An embedding API with OpenAI's interface. The key comes from the environment only."""

    url: Annotated[str, AfterValidator(_api_url)]
    """Address of the API without "/embeddings", such as https://api.openai.com/v1 or http://127.0.0.1:11434/v1."""
    model: NonEmpty
    """Name of the model in the API."""
    dimensions: AtLeast1 | None = None
    """Width of the vectors to request; the model's own width if None."""
    input_type: Annotated[Mapping[str, str], AfterValidator(_by_kind), Named(_INPUT_TYPES)] = field(
        default_factory=dict
    )
    """Value of "input_type" in a request by kind, such as search_query and search_document; not sent if empty."""
    extra_body: Annotated[Mapping[str, Any], AfterValidator(dict)] = field(default_factory=dict)
    """Further values of each request."""
    api_key_env: NonEmpty = "OPENAI_API_KEY"
    """Environment variable that contains the key; servers without keys ignore a missing variable."""
    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None
    """Price in US dollars, for --dry-run and --budget-usd."""
    requests_per_minute: AtLeast1 | None = None
    """Limit of the account; without a value, the limit in the API's responses applies."""
    tokens_per_minute: AtLeast1 | None = None
    """Limit of the account; without a value, the limit in the API's responses applies."""
    max_items: AtLeast1 = 2048
    """Maximum number of texts in a request."""
    max_tokens_per_request: AtLeast1 = 300_000
    """Maximum number of tokens in a request."""
    tokenizer: ModelName | None = None
    """Hub id or folder of a model with the tokenizer of the API's model. It counts tokens; without it, a token is
    assumed to have four characters."""
    long_texts: Literal["refuse", "cut"] = "refuse"
    """What happens to a text with more than teacher.max_length tokens of the tokenizer: "refuse" stops before the text
    is sent, "cut" sends the first tokens."""

    @model_validator(mode="after")
    def _check_cut(self) -> "ApiSpec":
        if self.long_texts == "cut" and self.tokenizer is None:
            raise _Conflict("tokenizer", "expected a model with long_texts=cut, found None: name a model")
        return self


def _to_api(value: object) -> object:
    return ApiSpec(**value) if isinstance(value, Mapping) else value


def _to_texts(value: object) -> object:
    return TextsSpec(**value) if isinstance(value, Mapping) else value


@_part("teacher")
@dataclass(frozen=True, config=_CONFIG)
class TeacherSpec:
    """The model that computes the targets, and its embedding settings."""

    model: ModelName = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or folder of a sentence-transformers model, or "student.start": the teacher of the student in
    student.start, with the revision and prompts from that student's recipe.json or from the zoo."""
    revision: NonEmpty | None = None
    """Commit, branch or tag on the hub."""
    prompts: Annotated[Mapping[str, str], AfterValidator(_by_kind), Named(_PROMPTS)] = field(default_factory=dict)
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
    api: Annotated[ApiSpec | None, BeforeValidator(_to_api), Named(f"{_API} or None")] = None
    """An embedding API in place of a local model; `model`, `revision` and `precision` are then ignored."""

    @model_validator(mode="after")
    def _check_api(self) -> "TeacherSpec":
        if self.api is None:
            return self
        if self.vector_column is not None:
            raise _Conflict(
                "vector_column",
                f"expected None with teacher.api, found {self.vector_column!r}: vectors come either from the API or "
                "from the table; remove one of the two (--set teacher.vector_column=None or --set teacher.api=None)",
            )
        if self.trust_remote_code:
            raise _Conflict("trust_remote_code", "expected false with teacher.api, found true: remove it")
        if self.max_length is not None and self.api.tokenizer is None:
            raise _Conflict(
                "api.tokenizer",
                "expected a model with teacher.max_length, because tokens of the API's model must be counted, found "
                "None: name a model with its tokenizer, or remove teacher.max_length",
            )
        if self.max_length is None and self.api.long_texts == "cut":
            raise _Conflict(
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


@_part("student")
@dataclass(frozen=True, config=_CONFIG)
class StudentSpec:
    """The model that is trained."""

    backbone: ModelName | None = None
    """Hub id or folder of an encoder; the teacher's encoder if None."""
    revision: NonEmpty | None = None
    """Commit, branch or tag of the backbone or the start on the hub."""
    layers: Layers | None = None
    """Encoder layers of the backbone to keep, such as 0,4,5; all layers if None."""
    static: bool = False
    """Whether to train a table of token vectors instead of an encoder (see `leaf_st.student.static`)."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text after training; the teacher's (or the start's) if None. A static student has
    no maximum."""
    closed_form_rows: AtLeast0 = 4096
    """Number of texts to which a new projection or table is fitted in closed form before training; 0 keeps the random
    weights."""
    start: ModelName | None = None
    """A trained student to train further, instead of a backbone: a folder, a zoo name such as "leaf-ir", or a hub id.
    Training adds and removes no modules."""

    @model_validator(mode="after")
    def _check_kind_of_student(self) -> "StudentSpec":
        if self.start is not None:
            self._require_unset("start", ("backbone", "layers", "static"), "a trained student already has its modules")
        elif self.static:
            self._require_unset(
                "static",
                ("backbone", "revision", "layers", "max_length"),
                "a static student is a table of the teacher's tokens and reads complete texts",
            )
        elif self.backbone is None and self.layers is None:
            raise _Conflict(
                "",
                "expected backbone, layers, static or start, found none of them, so the student would equal the "
                "teacher: set a smaller backbone, the layers to keep, or static",
            )
        return self

    def _require_unset(self, key: str, others: tuple[str, ...], reason: str) -> None:
        for name in others:
            if (value := getattr(self, name)) not in (None, False):
                raise _Conflict(
                    name,
                    f"expected no value with student.{key}, found {value_name(value)}: {reason}; leave out one "
                    f"of the two, with --set student.{name}={_unset(value)} or "
                    f"--set student.{key}={_unset(getattr(self, key))}",
                )


def _unset(value: object) -> str:
    return "false" if value is True else "None"


@_part("training")
@dataclass(frozen=True, config=_CONFIG)
class TrainingSpec:
    """How the student is trained."""

    distance: Distance = "l2"
    """Loss between the student's and the teacher's vectors (paper Eq. 3: "l2")."""
    end_learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    """Learning rate at the end of a cycle (paper 2.2: 1e-5)."""
    cycles: AtLeast1 = 1
    """Number of learning rate cycles (paper 2.2: 3)."""
    decay: Literal["step", "epoch"] = "step"
    """When the learning rate decreases: after each step or after each epoch (paper 2.2: "epoch")."""
    held_out_rows: AtLeast1 = 4096
    """Number of validation texts, selected by a hash of the text (paper 2.2: 128 batches of 32)."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text during training; the student's maximum if None."""
    budget_minutes: Annotated[float, Field(gt=0)] | None = None
    """Approximate training time: a short trial determines the number of steps, unless max_steps is set."""
    arguments: Annotated[Mapping[str, Any], AfterValidator(dict)] = field(default_factory=dict)
    """Keywords of SentenceTransformerTrainingArguments. In --set, use the keyword as the key: learning_rate=2e-5."""


def _plain_name(value: str) -> str:
    if value in ("", "..") or Path(value).name != value:
        raise ValueError(f"expected a plain name that can be the name of a folder, found {value_name(value)}")
    return value


@_part("")
@dataclass(frozen=True, config=_CONFIG)
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
            raise _Conflict("general.source", "expected a local file or folder, found the paper's sources; set a file")
        if self.general is not None and not self.general.is_limited:
            raise _Conflict(
                "general.limit",
                f"expected a limit for all rows, found {self.general.limit!r}: each validation reads all of them; "
                f"set a number such as {GENERAL_ROWS}",
            )
        if self.teacher.model == TEACHER_OF_START and self.student.start is None:
            raise _Conflict(
                "teacher.model",
                f"expected a student in student.start, because the teacher is {TEACHER_OF_START}, found None: set "
                "student.start or name another teacher",
            )
        if self.teacher.vector_column is not None:
            self._check_given_vectors(f"with teacher.vector_column={self.teacher.vector_column}")
        if self.teacher.api is not None:
            self._check_student_without_model("with teacher.api")
        if self.student.static and self.training.max_length is not None:
            raise _Conflict(
                "training.max_length",
                f"expected None with student.static, found {self.training.max_length}: a static student reads "
                "complete texts; remove training.max_length",
            )
        return self

    def _check_given_vectors(self, given: str) -> None:
        """Check that nothing needs the model that made the vectors, or a vector of another text."""
        if self.texts.source in (DOCSTRINGS, PAPER):
            raise _Conflict("texts.source", f"expected a table {given}, found {self.texts.source}: name its file")
        if self.texts.sentences:
            raise _Conflict("texts.sentences", f"expected false {given}, found true: sentences have no vectors")
        if self.general is not None:
            raise _Conflict("general", f"expected None {given}: texts of another source have no vectors; remove it")
        if self.teacher.precision == "bfloat16":
            raise _Conflict(
                "teacher.precision", f"expected auto or float32 {given}, found bfloat16: no model is loaded"
            )
        self._check_student_without_model(given)

    def _check_student_without_model(self, given: str) -> None:
        """Check that the student needs no part of the teacher, because the teacher's model is out of reach."""
        if self.student.static:
            raise _Conflict(
                "student.static",
                f"expected false {given}, found true: a table needs a vector for each token of the teacher; set "
                "student.backbone instead",
            )
        if self.student.start is None and self.student.backbone is None:
            raise _Conflict(
                "student.backbone",
                f"expected an encoder {given}, found None: the teacher is not loaded, so none of its layers can be "
                "kept; set student.backbone (and layers to keep of it) or student.start",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        values = asdict(self)
        # Records of version 0.1 have neither an API nor given vectors. An API replaces the model.
        del values["teacher"]["api" if self.teacher.api is None else "model"]
        if self.teacher.vector_column is None:
            del values["teacher"]["vector_column"], values["teacher"]["table"]
        return values

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_dict` wrote.

        Raises:
            InputError: If a field is missing or unknown, or its value is invalid.
        """
        try:
            parts = {key: PARTS[key](**part) for key, part in value.items() if key in PARTS and part is not None}
            return cls(**{**value, **parts})
        except FieldError as error:
            raise InputError(f"recipe of another version of leaf-st: {error}") from error


PARTS: dict[str, Any] = {
    "texts": TextsSpec,
    "general": TextsSpec,
    "teacher": TeacherSpec,
    "teacher.api": ApiSpec,
    "student": StudentSpec,
    "training": TrainingSpec,
}
