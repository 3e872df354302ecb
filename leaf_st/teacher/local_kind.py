"""A sentence-transformers model on this machine as a kind of teacher."""

from dataclasses import replace
from typing import TYPE_CHECKING

from leaf_st.models.end_token import end_tokens_of
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.kind import DOCUMENTS, Code, TeacherKind, quoted, with_model
from leaf_st.teacher.local_revisions import local_revisions
from leaf_st.teacher.protocol import Revisions, Teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class LocalKind(TeacherKind):
    """One model that is loaded here (`TeacherSpec.model`). See `TeacherKind` for the methods."""

    def is_kind_of(self, spec: TeacherSpec) -> bool:
        """Return whether the teacher is one loaded model."""
        return spec.is_loaded

    def open(self, spec: TeacherSpec, device: str | None, max_tokens: int | None) -> Teacher:
        """Load the model."""
        from leaf_st.teacher.local import LocalTeacher  # imports torch, which other kinds do not need

        return LocalTeacher.load(spec, device)

    def load_model(self, spec: TeacherSpec) -> "SentenceTransformer":
        """Load the model."""
        from leaf_st.teacher.local import load_teacher_model

        return load_teacher_model(spec)

    def revisions(self, spec: TeacherSpec) -> Revisions:
        """Return hashes of the model's files."""
        return local_revisions(spec)

    def with_changeable_values(self, spec: TeacherSpec, asked: TeacherSpec) -> TeacherSpec:
        """Return ``spec`` with the ``asked`` batch size."""
        return replace(spec, batch_size=asked.batch_size)

    def with_teacher_of_start(self, asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
        """Return ``asked`` with the model of ``spec``."""
        return with_model(asked, spec)

    def code(self, spec: TeacherSpec, student: str, prompt: str, revision: str) -> Code:
        """Return code that loads the model."""
        given = [quoted(spec.model)]
        if spec.revision:
            given.append(f"revision={quoted(spec.revision)}")
        if spec.trust_remote_code:
            given.append("trust_remote_code=True")  # the card says so in the code itself
        arguments = given[0] if len(given) == 1 else "".join(f"\n    {argument}," for argument in given) + "\n"
        lines = [f"teacher = SentenceTransformer({arguments})"]
        if spec.max_length:
            lines.append(f"teacher.max_seq_length = {spec.max_length}")
        if token := end_tokens_of(revision):  # all tokenizers that follow the setting begin with their first token
            lines.append(
                f"teacher.tokenizer.add_bos_token = teacher.tokenizer.add_eos_token = True  # texts end with {token}"
            )
        # An empty prompt of the recipe replaces the prompt in the teacher's files.
        is_stated = bool(prompt) or spec.prompts.get("document") == ""
        prompted = f", prompt={quoted(prompt)}" if is_stated else ""
        lines.append(f"documents = teacher.encode_document({quoted(DOCUMENTS)}{prompted})  # once")
        return Code("", "\n".join(lines))
