"""Student and teacher as one model: queries go to the student, documents to the teacher (paper Figure 2)."""

from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from sentence_transformers.sentence_transformer.modules import Router

from leaf_st.errors import InputError


def compose(student: SentenceTransformer, teacher: SentenceTransformer) -> SentenceTransformer:
    """Return a model whose ``encode_query`` is the student's and whose ``encode_document`` is the teacher's.

    It is sentence-transformers' Router over the modules of both, which it shares with them. The prompts are the
    student's for queries and the teacher's for documents. Plain ``encode`` goes to the teacher.

    Args:
        student: Gives the query vectors.
        teacher: Gives the document vectors.

    Raises:
        InputError: If their vectors do not have one width.
    """
    ours, theirs = student.get_embedding_dimension(), teacher.get_embedding_dimension()
    if ours != theirs:
        raise InputError(
            f"teacher gives {theirs} dimensions, student gives {ours}: name the teacher that the student learned from"
        )
    # nn.Sequential says of its parts that they are modules of torch; here they are all of this kind.
    ours_in_order, theirs_in_order = (cast(list[Module], list(model.children())) for model in (student, teacher))
    router = Router.for_query_document(query_modules=ours_in_order, document_modules=theirs_in_order)
    prompts = {"query": student.prompts.get("query") or "", "document": teacher.prompts.get("document") or ""}
    return SentenceTransformer(
        modules=[router],
        prompts=prompts,
        similarity_fn_name=teacher.similarity_fn_name,
        device=str(student.device),
    )
