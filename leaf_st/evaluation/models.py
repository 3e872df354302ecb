"""Loading what is measured: a student, and its teacher as the student knows it."""

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.teacher.resolve import resolve_model


def load_student(name: str, revision: str | None = None) -> SentenceTransformer:
    """Load the model in a folder or on the hub, in float32.

    Raises:
        InputError: If it is nowhere or cannot be loaded.
    """
    folder = resolve_model(name, revision)
    try:
        return SentenceTransformer(str(folder), model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"model {name} cannot be loaded from {folder}: {error}") from error


def load_teacher(name: str, student: SentenceTransformer, revision: str | None = None) -> SentenceTransformer:
    """Load the teacher of ``student`` in float32, with the prompts that the student learned (design contract 9)."""
    teacher = load_student(name, revision)
    teacher.prompts = dict(student.prompts)
    return teacher
