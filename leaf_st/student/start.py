"""A student that has learned already, to go on from: on other texts, in the same teacher's space."""

from pathlib import Path
from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from leaf_st.errors import InputError
from leaf_st.models.find import resolve_model
from leaf_st.recipe import KINDS
from leaf_st.student.build import disable_dropout, set_max_length
from leaf_st.student.load import load_student, published_as, read_record
from leaf_st.student.static import is_static
from leaf_st.teacher.local import own_prompt
from leaf_st.teacher.protocol import Fingerprint


def load_start(
    name: str, fingerprint: Fingerprint, *, revision: str | None = None, max_length: int | None = None
) -> SentenceTransformer:
    """Load the student ``name`` to go on with training it for the teacher of ``fingerprint``.

    Its modules stay what they are: published students have a bias in their Dense, or leave out Normalize although the
    teacher's vectors have norm 1. One that normalises where the teacher does not could never reach the targets.

    Args:
        name: Folder, name of the zoo, or hub id.
        fingerprint: The teacher it learned from.
        revision: Commit on the hub.
        max_length: Tokens read of a text; its own if None.

    Returns:
        The student in float32, dropout set to 0.

    Raises:
        InputError: If it is nowhere, no student of this kind, or not one of this teacher.
    """
    folder = resolve_model(name, revision)
    student = load_student(str(folder)).float()
    _require_shape(student, name)
    _require_teacher(student, name, folder, fingerprint)
    if max_length is not None:
        set_max_length(cast(Transformer, student[0]), max_length, name)
    disable_dropout(student)
    return student


def _require_shape(student: SentenceTransformer, name: str) -> None:
    """Check that ``student`` has the modules of Eq. 1 of the paper, which are those that are saved right."""
    if is_static(student):
        raise InputError(
            f"student.start {name} is a static student, a table of token vectors; expected one with an encoder: train "
            "a table from its closed-form start, with student.static=True and without student.start"
        )
    parts = list(student)
    expected = (Transformer, Pooling, Dense, Normalize)
    right = len(parts) in (3, 4) and all(isinstance(part, kind) for part, kind in zip(parts, expected, strict=False))
    if not (right and parts[1].pooling_mode == "mean" and parts[1].include_prompt and not parts[2].use_residual):
        found = ", ".join(type(part).__name__ for part in parts)
        raise InputError(
            f"student.start {name} is no student to go on from: expected Transformer, Pooling (mean), Dense (without "
            f"residual), and Normalize or not, found {found}: build a student of it with student.backbone"
        )


def _require_teacher(student: SentenceTransformer, name: str, folder: Path, fingerprint: Fingerprint) -> None:
    """Check what can be known of the space that ``student`` lives in."""
    known = read_record(folder).get("teacher")
    if isinstance(known, dict) and known.get("revision") != fingerprint.revision:
        raise InputError(
            f"student.start {name} learned from {known.get('teacher')} ({known.get('revision')}), the teacher here is "
            f"{fingerprint.teacher} ({fingerprint.revision}): set teacher.model to the one it learned from"
        )
    published, here = published_as(name), fingerprint.teacher
    # What is in a folder its name does not say.
    if known is None and published and here != published.teacher.hub_id and not Path(here).is_dir():
        raise InputError(
            f"student.start {name} learned from {published.teacher.hub_id}, the teacher here is {here}: set "
            "teacher.model to the one it learned from"
        )
    width = student.get_embedding_dimension()
    if width != fingerprint.dimension:
        raise InputError(
            f"teacher {fingerprint.teacher} gives {fingerprint.dimension} dimensions, student.start {name} gives "
            f"{width}: set teacher.model to the one it learned from"
        )
    if isinstance(student[-1], Normalize) and not fingerprint.normalized:
        raise InputError(
            f"student.start {name} gives vectors of norm 1, teacher {fingerprint.teacher} does not: set teacher.model "
            "to the one it learned from"
        )
    for kind in KINDS:
        ours, theirs = own_prompt(student.prompts, kind), fingerprint.prompts[kind]
        if ours != theirs:
            raise InputError(
                f"student.start {name} has the prompt {ours!r} for kind {kind}, teacher {fingerprint.teacher} has "
                f"{theirs!r}: set teacher.prompts to those of the student"
            )
