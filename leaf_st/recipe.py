"""A recipe: every value that shapes a distillation, checked when it is made.

A recipe is a Python file with a module-level ``recipe = Recipe(...)``. Training knobs are keywords of
``SentenceTransformerTrainingArguments`` and are not declared here a second time. ``recipe.json`` in the run folder
holds the same values, resolved, with the versions of the libraries.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from leaf_st.errors import InputError

Kind = Literal["query", "document"]
Precision = Literal["auto", "float32", "bfloat16"]
Distance = Literal["l2", "mse", "cosine"]
KINDS: tuple[Kind, ...] = get_args(Kind)
GENERAL_ROWS = 2048
DOCSTRINGS = "docstrings"
PAPER = "paper"
OF_START = "student.start"


@dataclass(frozen=True)
class TextsSpec:
    """Which training texts to read.

    Attributes:
        source: A file or folder (see `leaf_st.texts.files`), "docstrings", the embedded default, or "paper", the
            sources of the paper's Table 1, from the hub.
        text_column: Column of a table that holds the text.
        kind_column: Column of a table that says "query" or "document"; used where it is there.
        kind: Kind of the rows that do not say theirs.
        limit: Rows to read at most: of all, or by kind.
        sentences: Take a sentence of each document as a query as well, also of documents above the limit.
        leave_out: Names of the paper's sources that are not wanted.
        per_source: Texts to take of each of the paper's sources at most; all if None.
    """

    source: str = DOCSTRINGS
    text_column: str = "text"
    kind_column: str = "kind"
    kind: Kind = "document"
    limit: int | Mapping[str, int | None] | None = None
    sentences: bool = False
    leave_out: Sequence[str] = ()
    per_source: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("source", "text_column", "kind_column"):
            object.__setattr__(self, name, _text(f"texts.{name}", getattr(self, name)))
        _one_of("texts.kind", self.kind, KINDS)
        _true_or_false("texts.sentences", self.sentences)
        names = self.leave_out
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",") if name.strip()]
        if not isinstance(names, Sequence):
            raise InputError(f"texts.leave_out: expected names of sources, found {names!r}")
        object.__setattr__(self, "leave_out", tuple(_text("texts.leave_out", name) for name in names))
        _at_least("texts.per_source", self.per_source, 1)
        if self.source != PAPER and (self.leave_out or self.per_source):
            raise InputError(
                f"texts.leave_out and texts.per_source choose among the sources of texts.source={PAPER}, found "
                f"{self.source!r}: leave them out"
            )
        if self.source == PAPER and self.limit is not None:
            raise InputError(
                f"texts.limit: expected none with texts.source={PAPER}, found {self.limit!r}: all would be fetched and "
                "most thrown away; set texts.per_source"
            )
        if not isinstance(self.limit, Mapping):
            _at_least("texts.limit", self.limit, 1)
            return
        for kind, most in self.limit.items():
            _one_of("a key of texts.limit", kind, KINDS)
            _at_least(f"texts.limit of kind {kind}", most, 0)
        object.__setattr__(self, "limit", dict(self.limit))

    @property
    def is_limited(self) -> bool:
        """Whether a limit holds for rows of every kind."""
        if isinstance(self.limit, Mapping):
            return all(self.limit.get(kind) is not None for kind in KINDS)
        return self.limit is not None


@dataclass(frozen=True)
class TeacherSpec:
    """Which model gives the targets, and how.

    Attributes:
        model: Hub id or folder of a sentence-transformers model, or "student.start": the one that this student learned
            from, as its own recipe.json or the zoo says, with revision and prompts.
        revision: Commit on the hub.
        prompts: Prompt by kind, set before the text; the model's own where empty.
        precision: Weights while embedding: "auto" takes bfloat16 where the device has units for it.
        store_dtype: How the targets are stored.
        max_length: Tokens read of a text; the model's own if None.
        trust_remote_code: Run the model's own code; off unless asked.
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "auto"
    store_dtype: Literal["float16", "float32"] = "float16"
    max_length: int | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "model", _text("teacher.model", self.model))
        object.__setattr__(self, "revision", _text_or_none("teacher.revision", self.revision))
        _true_or_false("teacher.trust_remote_code", self.trust_remote_code)
        if not isinstance(self.prompts, Mapping):
            raise InputError(f"teacher.prompts: expected prompts by kind, found {self.prompts!r}")
        _one_of("teacher.precision", self.precision, get_args(Precision))
        _one_of("teacher.store_dtype", self.store_dtype, ("float16", "float32"))
        _at_least("teacher.max_length", self.max_length, 2)
        for kind, prompt in self.prompts.items():
            _one_of("a key of teacher.prompts", kind, KINDS)
            if not isinstance(prompt, str):
                raise InputError(f"teacher.prompts: expected a text for {kind}, found {prompt!r}")


@dataclass(frozen=True)
class StudentSpec:
    """Which model learns.

    Attributes:
        backbone: Hub id or folder of an encoder; the teacher's own if None.
        revision: Commit of the start or the backbone on the hub.
        layers: Encoder layers of the backbone to keep; all if None.
        static: A table of the teacher's tokens in place of an encoder (see `leaf_st.student.static`).
        max_length: Tokens read of a text in use; the teacher's if None, or the start's own. A static student reads all.
        closed_form_rows: Texts for the closed-form start of a new projection or table; 0 leaves it random.
        start: A student of this teacher to go on from, in place of backbone and layers: a folder, a name of the zoo
            such as "leaf-ir", or a hub id. Its modules stay what they are.
    """

    backbone: str | None = None
    revision: str | None = None
    layers: Sequence[int] | None = None
    static: bool = False
    max_length: int | None = None
    closed_form_rows: int = 4096
    start: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("start", "backbone", "revision"):
            object.__setattr__(self, name, _text_or_none(f"student.{name}", getattr(self, name)))
        _at_least("student.max_length", self.max_length, 2)
        _at_least("student.closed_form_rows", self.closed_form_rows, 0)
        if self.layers is not None:
            object.__setattr__(self, "layers", _layers(self.layers))
        _true_or_false("student.static", self.static)
        if self.start is not None:
            for name in ("backbone", "layers", "static"):
                if getattr(self, name) not in (None, False):
                    raise InputError(
                        f"student.start and student.{name} are both given: a student that goes on is built already, "
                        "leave one of them out"
                    )
        elif self.static:
            self._require_a_table_alone()
        elif self.backbone is None and self.layers is None:
            raise InputError(
                "student: neither backbone nor layers is given, so it would be the teacher again: "
                "name a smaller backbone or the layers to keep, or set static"
            )

    def _require_a_table_alone(self) -> None:
        for name in ("backbone", "revision", "layers", "max_length"):
            if (value := getattr(self, name)) is not None:
                raise InputError(
                    f"student.{name}: expected none beside student.static, found {value!r}: a static student is a "
                    "table of the teacher's tokens that reads all of a text; leave out one of the two"
                )


@dataclass(frozen=True)
class TrainingSpec:
    """How the student learns.

    Attributes:
        distance: Loss between student and teacher (paper Eq. 3: "l2").
        end_learning_rate: Rate at the end of a cycle (paper 2.2: 1e-5).
        cycles: Restarts of the rate, plus one (paper 2.2: 3).
        decay: When the rate falls: after every "step" or "epoch" (paper 2.2).
        held_out_rows: Validation rows, chosen by hash of the text (paper 2.2: 128 batches of 32).
        max_length: Tokens read of a text in training; the student's if None.
        budget_minutes: Train for about so long: a short trial fixes the number of steps, unless max_steps does.
        arguments: Keywords of SentenceTransformerTrainingArguments.
    """

    distance: Distance = "l2"
    end_learning_rate: float = 1e-5
    cycles: int = 1
    decay: Literal["step", "epoch"] = "step"
    held_out_rows: int = 4096
    max_length: int | None = None
    budget_minutes: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        _one_of("training.distance", self.distance, get_args(Distance))
        _one_of("training.decay", self.decay, ("step", "epoch"))
        _at_least("training.cycles", self.cycles, 1)
        _at_least("training.held_out_rows", self.held_out_rows, 1)
        _at_least("training.max_length", self.max_length, 2)
        if not (_is_number(self.end_learning_rate) and self.end_learning_rate >= 0):
            raise InputError(f"training.end_learning_rate: expected at least 0, found {self.end_learning_rate!r}")
        if self.budget_minutes is not None and not (_is_number(self.budget_minutes) and self.budget_minutes > 0):
            raise InputError(f"training.budget_minutes: expected more than 0, found {self.budget_minutes!r}")
        object.__setattr__(self, "arguments", dict(self.arguments))


@dataclass(frozen=True)
class Recipe:
    """A whole distillation: texts, teacher, student, training, and the sets it is measured on.

    Attributes:
        name: Name of the student, and of the run folder.
        texts: Training texts.
        general: Texts of the general domain, of which none is trained on: where training on `texts` forgets them, the
            loss on them rises. They need a limit, since every validation reads them all.
        teacher: The model that gives the targets.
        student: The model that learns.
        training: How it learns.
        evaluate_on: Sets on this disk that `leaf-st run` measures on after training (`leaf-st evaluate --help` has
            their kinds); those absent are left out, and said so.
    """

    name: str
    texts: TextsSpec = field(default_factory=TextsSpec)
    general: TextsSpec | None = None
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    student: StudentSpec = field(default_factory=lambda: StudentSpec(layers=(0, 4, 5)))
    training: TrainingSpec = field(default_factory=TrainingSpec)
    evaluate_on: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.name, str) or self.name in ("", "..") or Path(self.name).name != self.name:
            raise InputError(f"recipe name {self.name!r}: expected a plain name that can be a folder's")
        for name, part in PARTS.items():
            value = getattr(self, name)
            if not isinstance(value, part) and (name != "general" or value is not None):
                raise InputError(f"{name}: expected a {part.__name__}, found {value!r}")
        if self.general is not None and self.general.source == PAPER:
            raise InputError("general.source: expected local texts, found the paper's: name a file")
        if self.general is not None and not self.general.is_limited:
            raise InputError(
                f"general.limit: expected a limit of all rows such as {GENERAL_ROWS}, found {self.general.limit!r}: "
                "every validation reads all of them"
            )
        if self.teacher.model == OF_START and self.student.start is None:
            raise InputError(f"teacher.model={OF_START}: student.start is not given: name a student or a teacher")
        if self.student.static and self.training.max_length is not None:
            raise InputError(
                f"training.max_length: a static student reads all tokens, found {self.training.max_length}"
            )
        folders = (self.evaluate_on,) if isinstance(self.evaluate_on, str | Path) else self.evaluate_on
        if not isinstance(folders, Sequence):
            raise InputError(f"evaluate_on: expected sets on this disk, found {folders!r}")
        object.__setattr__(self, "evaluate_on", tuple(_text("evaluate_on", folder) for folder in folders))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `to_dict` gave."""
        try:
            made = {key: PARTS[key](**part) for key, part in value.items() if key in PARTS and part is not None}
            return cls(**{**value, **made})
        except TypeError as error:  # a key that is missing, or that another version knew
            raise InputError(f"recipe of another version of leaf-st: {error}") from error


PARTS: dict[str, Any] = {
    "texts": TextsSpec,
    "general": TextsSpec,
    "teacher": TeacherSpec,
    "student": StudentSpec,
    "training": TrainingSpec,
}


@contextmanager
def said_of(part: str) -> Iterator[None]:
    """Let errors about a `TextsSpec` name ``part`` of the recipe, "general" perhaps, where they say "texts"."""
    keys = "|".join(item.name for item in fields(TextsSpec))
    try:
        yield
    except InputError as error:
        raise InputError(re.sub(rf"\btexts\.(?=({keys})\b)", f"{part}.", str(error))) from error


def _layers(value: object) -> tuple[int, ...]:
    """Return layer numbers as a tuple; a single number is one layer."""
    layers = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    if not layers or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise InputError(f"student.layers: expected numbers of layers such as 0,4,5, found {value!r}")
    return layers


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(key: str, value: object) -> str:
    """Return a text or path as text, which is what recipe.json can hold."""
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{key}: expected a text, found {value!r}")
    return str(value)


def _text_or_none(key: str, value: object) -> str | None:
    return None if value is None else _text(key, value)


def _true_or_false(key: str, value: object) -> None:
    if not isinstance(value, bool):  # the text "false" would be true
        raise InputError(f"{key}: expected True or False, found {value!r}")


def _one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{key}: expected one of {', '.join(allowed)}, found {value!r}")


def _at_least(key: str, value: object, least: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{key}: expected a whole number of at least {least}, found {value!r}")
