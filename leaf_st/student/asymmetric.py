"""Student and teacher as one model: the student embeds queries, the teacher documents (paper Figure 2)."""

from pathlib import Path
from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from sentence_transformers.sentence_transformer.modules import Router

from leaf_st.errors import InputError, require_kind
from leaf_st.models.load import load_model
from leaf_st.models.prompts import prompt_for
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.open import open_teacher_model, teacher_spec
from leaf_st.zoo import ASYMMETRIC, ZOO


def load(
    name: str | Path, *, asymmetric: bool = False, teacher: str | Path | None = None, trust_remote_code: bool = False
) -> SentenceTransformer:
    """Load a student, or a student for queries together with its teacher for documents.

    Args:
        name: ``leaf-ir`` or another name of the zoo (``leaf-ir-asym`` is the pair), a folder such as
            ``runs/leaf-mini/model``, or a hub id.
        asymmetric: Compose the student with its teacher.
        teacher: Folder or hub id of the teacher, if neither the zoo nor the model's ``recipe.json`` names it.
        trust_remote_code: Run the models' own code.

    Raises:
        InputError: If a model does not exist or cannot be loaded, or nothing names the teacher.
    """
    require_kind("name", name, str | Path, "a folder or the name of a model: use a loaded model as it is")
    require_kind("teacher", teacher, str | Path | None, "a folder or hub id: join loaded models with leaf_st.compose")
    name = str(name)
    if is_asymmetric(name):
        name, asymmetric = name.removesuffix(ASYMMETRIC), True
    student = load_model(name, trust_remote_code=trust_remote_code)
    if not asymmetric:
        return student
    spec = teacher_spec(name, None if teacher is None else str(teacher), student.prompts)
    return with_teacher(student, spec.with_models(trust_remote_code=trust_remote_code))


def with_teacher(student: SentenceTransformer, spec: TeacherSpec) -> SentenceTransformer:
    """Load the teacher of ``spec`` in float32 and return its composition with ``student`` (see `compose`).

    A composed model of two precisions would give queries and documents whose tensors cannot be compared.

    Raises:
        InputError: If the teacher cannot be loaded, or the vectors of the two models differ in width.
    """
    return compose(student, open_teacher_model(spec.with_models(precision="float32")))


def is_asymmetric(name: str) -> bool:
    """Return whether ``name`` is a pair of the zoo, such as ``leaf-ir-asym``."""
    return name.endswith(ASYMMETRIC) and name.removesuffix(ASYMMETRIC) in ZOO and not Path(name).is_dir()


def compose(student: SentenceTransformer, teacher: SentenceTransformer) -> SentenceTransformer:
    """Return a model that embeds queries with ``student`` and documents with ``teacher``.

    The model is sentence-transformers' Router over the modules of both models, which are shared and not copied. The
    model has the student's prompt for queries, the teacher's prompt for documents, and the teacher's similarity
    function. Plain ``encode`` uses the teacher.

    Args:
        student: Embeds queries.
        teacher: Embeds documents.

    Raises:
        InputError: If the vectors of the two models differ in width.
    """
    for argument, model in (("student", student), ("teacher", teacher)):
        expected = "a SentenceTransformer: load it by name with leaf_st.load or SentenceTransformer"
        require_kind(argument, model, SentenceTransformer, expected)
    student_width, teacher_width = student.get_embedding_dimension(), teacher.get_embedding_dimension()
    if student_width != teacher_width:
        raise InputError(
            f"teacher gives {teacher_width} dimensions, student gives {student_width}: name the teacher that the "
            "student learned from"
        )
    # nn.Sequential types its children as modules of torch; all children here are modules of sentence-transformers.
    queries, documents = (cast(list[Module], list(model.children())) for model in (student, teacher))
    router = Router.for_query_document(query_modules=queries, document_modules=documents)
    # The modules of a model with truncate_dim give wider vectors than the model.
    is_cut = student.truncate_dim is not None or teacher.truncate_dim is not None
    prompts = {"query": prompt_for(student.prompts, "query"), "document": prompt_for(teacher.prompts, "document")}
    return SentenceTransformer(
        modules=[router],
        prompts=prompts,
        similarity_fn_name=teacher.similarity_fn_name,
        truncate_dim=teacher_width if is_cut else None,
        device=str(student.device),
    )
