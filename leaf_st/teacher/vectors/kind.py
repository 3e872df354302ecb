"""Given vectors as a kind of teacher."""

from dataclasses import replace
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.teacher.kind import Code, TeacherKind, with_model
from leaf_st.teacher.protocol import Revisions, Teacher
from leaf_st.teacher.vectors.files import is_here
from leaf_st.teacher.vectors.table import given_revision
from leaf_st.teacher.vectors.teacher import GivenVectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class GivenKind(TeacherKind):
    """A table of texts and vectors (`TeacherSpec.vector_column`). See `TeacherKind` for the methods."""

    def is_kind_of(self, spec: TeacherSpec) -> bool:
        """Return whether the vectors are given."""
        return spec.vector_column is not None

    def open(self, spec: TeacherSpec, device: str | None, max_tokens: int | None) -> Teacher:
        """Open the table."""
        return GivenVectors(spec)

    def load_model(self, spec: TeacherSpec) -> "SentenceTransformer":
        """Raise an `InputError`, because the table is no model."""
        raise InputError(
            f"teacher {spec.model}: expected a model, found vectors in {spec.table and spec.table.source}: name the "
            "teacher's folder or hub id (--teacher), or use the student in standard mode"
        )

    def precision(self, spec: TeacherSpec) -> str | None:
        """Return None: the precision is the table's."""
        return None

    def check_new(self, teacher: Teacher) -> None:
        """Check that the named model can have made the vectors."""
        assert isinstance(teacher, GivenVectors)
        teacher.require_known_width()

    def revisions(self, spec: TeacherSpec) -> Revisions:
        """Return a hash of the table."""
        return Revisions(given_revision(spec))

    def has_files(self, spec: TeacherSpec) -> bool:
        """Return whether the table is on this machine; a data set on the hub is not downloaded to be compared."""
        return spec.table is None or is_here(spec.table, spec.vector_column or "")

    def with_table(self, spec: TeacherSpec, texts: TextsSpec) -> TeacherSpec:
        """Return ``spec`` with all ``texts`` as its table, if it has none."""
        return spec if spec.table is not None else replace(spec, table=replace(texts, limit=None, exclude=None))

    def with_changeable_values(self, spec: TeacherSpec, asked: TeacherSpec) -> TeacherSpec:
        """Return ``spec`` with the ``asked`` table, which is another one if the texts were replaced."""
        return replace(spec, table=asked.table)

    def with_teacher_of_start(self, asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
        """Return ``asked`` with the model that made the vectors."""
        return with_model(asked, spec)

    def as_model(self, spec: TeacherSpec) -> TeacherSpec:
        """Return the model that made the vectors."""
        return replace(spec, vector_column=None, table=None)

    def code(self, spec: TeacherSpec, student: str, prompt: str, revision: str) -> Code:
        """Return code that reads vectors from a file."""
        return Code("import numpy as np", 'documents = np.load("documents.npy")  # the teacher\'s vectors, a row each')
