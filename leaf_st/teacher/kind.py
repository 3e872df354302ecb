"""What other stages ask about a `TeacherSpec` without opening the teacher."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from leaf_st.errors import InputError
from leaf_st.recipe import Precision, TeacherSpec, TextsSpec
from leaf_st.teacher.protocol import Revisions, Teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DOCUMENTS = ("A student learns from a teacher.", "The moon has no air.")  # embedded by the code on a model card


@dataclass(frozen=True)
class Code:
    """Python code on a model card that embeds `DOCUMENTS` with the teacher as ``documents``.

    Attributes:
        imports: The imports, in addition to SentenceTransformer; may be empty.
        lines: The code.
    """

    imports: str
    lines: str


@dataclass(frozen=True)
class Parts:
    """The parts of a teacher, for a model card.

    Attributes:
        text: How the parts are combined.
        names: A line for each part.
    """

    text: str
    names: Sequence[str]


class TeacherKind(ABC):
    """A kind of teacher. Methods with a body are defaults.

    Attributes:
        student_shares_prompts: Whether the prompts of a student are always those of its teacher's recipe.
    """

    student_shares_prompts = True

    @abstractmethod
    def is_kind_of(self, spec: TeacherSpec) -> bool:
        """Return whether ``spec`` names a teacher of this kind."""

    @abstractmethod
    def open(self, spec: TeacherSpec, device: str | None, max_tokens: int | None) -> Teacher:
        """Open the teacher; see `leaf_st.teacher.open.open_teacher`."""

    @abstractmethod
    def load_model(self, spec: TeacherSpec) -> "SentenceTransformer":
        """Load the teacher as a model.

        Raises:
            InputError: If a model of this kind cannot be loaded, or the model does not exist.
        """

    @abstractmethod
    def revisions(self, spec: TeacherSpec) -> Revisions:
        """Return the revisions in the teacher's fingerprint."""

    @abstractmethod
    def with_teacher_of_start(self, asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
        """Return ``asked`` with ``spec``, a teacher of this kind, from which the start student learned."""

    @abstractmethod
    def code(self, spec: TeacherSpec, student: str, prompt: str, revision: str) -> Code:
        """Return the code that embeds documents with the teacher.

        Args:
            spec: The teacher.
            student: Repository of the student.
            prompt: The prompt of documents.
            revision: Revision in the fingerprint of the teacher that the student learned from; empty if unknown.
        """

    def has_files(self, spec: TeacherSpec) -> bool:
        """Return whether the files that `revisions` hashes can be compared; by default, they must exist."""
        return True

    def precision(self, spec: TeacherSpec) -> str | None:
        """Return the precision in the teacher's fingerprint; None if ``spec`` does not determine it."""
        return None if spec.precision == "auto" else spec.precision

    def prompts(self, spec: TeacherSpec) -> Mapping[str, str]:
        """Return the prompts in the teacher's fingerprint that ``spec`` determines."""
        return dict(spec.prompts)

    def check_new(self, teacher: Teacher) -> None:
        """Check ``teacher`` for a run that has not begun.

        Raises:
            InputError: If the teacher cannot be what the recipe names.
        """
        return

    def gets_student_prompts(self, spec: TeacherSpec) -> bool:
        """Return whether the teacher gets the student's prompts."""
        return not spec.ensemble  # members have prompts of their own

    def default_prompt_name(self, spec: TeacherSpec) -> str | None:
        """Return the name of the student's prompt for texts that are neither queries nor documents; None for none."""
        return None

    def with_precision(self, spec: TeacherSpec, precision: str) -> TeacherSpec:
        """Return ``spec`` with the ``precision`` of a fingerprint in place of "auto".

        Raises:
            ValueError: If it is the precision of another kind of teacher.
        """
        return replace(spec, precision=cast(Precision, precision))

    def with_table(self, spec: TeacherSpec, texts: TextsSpec) -> TeacherSpec:
        """Return ``spec`` with the training ``texts``, if the teacher is a table of them."""
        return spec

    def with_changeable_values(self, spec: TeacherSpec, asked: TeacherSpec) -> TeacherSpec:
        """Return the recorded ``spec`` with the ``asked`` limits, prices and table, which a resumed run may change."""
        return spec

    def as_model(self, spec: TeacherSpec) -> TeacherSpec:
        """Return ``spec`` for a user who names the same model and wants to load it."""
        return spec

    def small(self, spec: TeacherSpec, model: str, width: int) -> TeacherSpec:
        """Return a teacher of the same shape for a smoke run, with the tiny local ``model`` of ``width`` dimensions."""
        return TeacherSpec(model=model, prompts=spec.prompts)

    def tokens_of_budget(self, spec: TeacherSpec, usd: float | None, tokens: int | None) -> int | None:
        """Return the number of tokens that a budget in US dollars or in tokens allows; the budget is not empty.

        Raises:
            InputError: If the teacher costs nothing, or its price is unknown.
        """
        raise InputError(f"a budget needs a paid API: expected teacher.api, found {spec.name}: leave out the budget")

    def parts(self, spec: TeacherSpec) -> Parts | None:
        """Return the parts of the teacher; None if it has no parts."""
        return None


def with_model(asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
    """Return ``asked`` with the model of ``spec``, and with its prompts and length where ``asked`` has none."""
    prompts, max_length = asked.prompts or spec.prompts, asked.max_length or spec.max_length
    return replace(asked, model=spec.model, revision=spec.revision, prompts=prompts, max_length=max_length)


def require_unset(asked: TeacherSpec, names: Sequence[str], spec: TeacherSpec) -> None:
    """Check that ``asked`` sets none of the fields ``names``, which ``spec``, the teacher of a start, determines.

    Raises:
        InputError: If ``asked`` sets one of the fields.
    """
    for name in names:
        if (value := getattr(asked, name)) != getattr(TeacherSpec(), name):
            raise InputError(
                f"teacher.{name}: expected no value, because student.start learned from {spec.name}, whose settings "
                f"are kept, found {value!r}: remove the value"
            )


def quoted(value: str | Sequence[str] | None) -> str:
    """Return ``value`` as Python code."""
    return json.dumps(value, ensure_ascii=False)
