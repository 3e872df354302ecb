"""Loading what is measured: a student, and its teacher as the student knows it."""

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.resolve import resolve_model


def load_student(name: str, revision: str | None = None, trust_remote_code: bool = False) -> SentenceTransformer:
    """Load the model in a folder or on the hub, in float32.

    Raises:
        InputError: If it is nowhere or cannot be loaded.
    """
    folder = resolve_model(name, revision, trust_remote_code)
    try:
        return SentenceTransformer(
            str(folder), model_kwargs={"dtype": torch.float32}, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"model {name} cannot be loaded from {folder}: {error}") from error


def load_teacher(spec: TeacherSpec, student: SentenceTransformer) -> SentenceTransformer:
    """Load the teacher of ``student`` in float32, with the prompts that the student learned (design contract 9).

    A student that has no prompt for a kind leaves the teacher its own.
    """
    teacher = load_student(spec.model, spec.revision, spec.trust_remote_code)
    teacher.prompts = {**teacher.prompts, **{kind: prompt for kind, prompt in student.prompts.items() if prompt}}
    return teacher
