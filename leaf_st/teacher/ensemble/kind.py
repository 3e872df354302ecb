"""An ensemble as a kind of teacher."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.ensemble.paid import combine
from leaf_st.teacher.ensemble.teacher import Ensemble, ensemble_precision, ensemble_revisions
from leaf_st.teacher.kind import DOCUMENTS, Code, Parts, TeacherKind, quoted, require_unset
from leaf_st.teacher.protocol import Revisions, Teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class EnsembleKind(TeacherKind):
    """Several teachers (`TeacherSpec.ensemble`). See `TeacherKind` for the methods.

    Args:
        kind_of: Function that returns the kind of a member.
    """

    def __init__(self, kind_of: Callable[[TeacherSpec], TeacherKind]) -> None:
        self._kind_of = kind_of

    def is_kind_of(self, spec: TeacherSpec) -> bool:
        """Return whether the teacher has members."""
        return bool(spec.ensemble)

    def open(self, spec: TeacherSpec, device: str | None, max_tokens: int | None) -> Teacher:
        """Open all members."""
        return combine(spec, [self._kind_of(member).open(member, device, max_tokens) for member in spec.ensemble])

    def load_model(self, spec: TeacherSpec) -> "SentenceTransformer":
        """Load all members as one model."""
        if names := [member.name for member in spec.ensemble if not member.is_loaded]:
            raise InputError(
                f"teacher {spec.name}: expected local models, found the API {names[0]}, which cannot be loaded as a "
                "model: embed documents with leaf_st.open_teacher, and queries with the student"
            )
        from leaf_st.teacher.ensemble.model import ensemble_model
        from leaf_st.teacher.local import LocalTeacher

        return ensemble_model(Ensemble(spec, [LocalTeacher.load(member) for member in spec.ensemble]))

    def revisions(self, spec: TeacherSpec) -> Revisions:
        """Return the revisions, weights and settings of the members."""
        return ensemble_revisions(spec, [self._kind_of(member).revisions(member) for member in spec.ensemble])

    def precision(self, spec: TeacherSpec) -> str | None:
        """Return the members' precisions, joined."""
        return ensemble_precision(spec)

    def with_precision(self, spec: TeacherSpec, precision: str) -> TeacherSpec:
        """Return ``spec`` with the precision of each member; the inverse of `ensemble_precision`."""
        named = precision.split("+")
        pairs = zip(spec.ensemble, named * len(spec.ensemble) if len(named) == 1 else named, strict=True)
        return replace(spec, ensemble=[self._kind_of(member).with_precision(member, name) for member, name in pairs])

    def with_changeable_values(self, spec: TeacherSpec, asked: TeacherSpec) -> TeacherSpec:
        """Return ``spec`` with the ``asked`` limits of each member."""
        if not asked.ensemble:  # the start student named the teacher
            return spec
        pairs = zip(spec.ensemble, asked.ensemble, strict=True)
        return replace(
            spec, ensemble=[self._kind_of(member).with_changeable_values(member, other) for member, other in pairs]
        )

    def with_teacher_of_start(self, asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
        """Return ``spec``, the ensemble, with the ``asked`` format of the store."""
        require_unset(asked, ("max_length", "precision", "trust_remote_code"), spec)
        form = {name: getattr(asked, name) for name in ("store_dtype", "rows_per_shard")}
        return replace(spec, prompts=asked.prompts or spec.prompts, **form)

    def small(self, spec: TeacherSpec, model: str, width: int) -> TeacherSpec:
        """Return an ensemble of as many members, each of which is ``model``."""
        members = [TeacherSpec(model=model, weight=member.weight) for member in spec.ensemble]
        return TeacherSpec(ensemble=members, dimensions=spec.dimensions and width, prompts=spec.prompts)

    def tokens_of_budget(self, spec: TeacherSpec, usd: float | None, tokens: int | None) -> int | None:
        """Return the number of tokens that a budget allows; several paid members cannot share one budget."""
        paid = [member for member in spec.ensemble if member.api is not None]
        if len(paid) != 1:
            raise InputError(
                f"a budget needs exactly one paid API: expected one member of {spec.name} with teacher.api, found "
                f"{len(paid)}: leave out the budget"
            )
        return self._kind_of(paid[0]).tokens_of_budget(paid[0], usd, tokens)

    def code(self, spec: TeacherSpec, student: str, prompt: str, revision: str) -> Code:
        """Return code that opens the ensemble with this package."""
        return Code(
            "from leaf_st import open_teacher\nfrom leaf_st.teacher.open import teacher_spec",
            f"teacher = open_teacher(teacher_spec({quoted(student)}))\n"
            f"documents = teacher.encode_document({quoted(DOCUMENTS)})  # once",
        )

    def parts(self, spec: TeacherSpec) -> Parts:
        """Return the members with their weights."""
        projected = f", and projected to {spec.dimensions} dimensions" if spec.dimensions else ""
        return Parts(
            f"The teacher is an ensemble, whose vectors are concatenated after scaling by a weight{projected}:",
            [f"{member.name}, weight {member.weight:g}" for member in spec.ensemble],
        )
