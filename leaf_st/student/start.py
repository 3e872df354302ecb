"""Starting from a trained student: further training on other texts for the same teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from leaf_st.errors import InputError
from leaf_st.models.end_token import require_end_tokens
from leaf_st.models.find import find_model, published_as
from leaf_st.models.load import load_model
from leaf_st.models.prompts import prompt_for
from leaf_st.recipe import KINDS
from leaf_st.run_folder import read_record
from leaf_st.student.backbone import require_portable
from leaf_st.student.build import disable_dropout, truncate_right
from leaf_st.student.static import is_static
from leaf_st.teacher.protocol import GIVEN, Fingerprint, Revisions

_ROLE = "student.start"


def load_start(
    name: str, fingerprint: Fingerprint, *, revision: str | None = None, max_length: int | None = None
) -> SentenceTransformer:
    """Load the student ``name`` to train it further for the teacher of ``fingerprint``.

    The student keeps its modules. Published students have a bias in their Dense, or lack Normalize although the
    teacher's vectors have norm 1. A student with Normalize cannot learn from a teacher whose vectors lack norm 1.

    Args:
        name: Folder, name of the zoo, or hub id.
        fingerprint: The teacher that the student learned from.
        revision: Commit on the hub.
        max_length: Tokens read of a text; the student's own if None.

    Returns:
        The student in float32, dropout set to 0, with the teacher's similarity function.

    Raises:
        InputError: If the student does not exist, has other modules than a student, or learned from another teacher.
    """
    student = load_model(name, role=_ROLE, revision=revision, max_length=max_length)
    _require_shape(student, name)
    _require_teacher(student, name, find_model(name, revision), fingerprint)
    if fingerprint.similarity_fn_name is not None:
        student.similarity_fn_name = fingerprint.similarity_fn_name
    disable_dropout(student)
    truncate_right(student, name)
    return student


def _require_shape(student: SentenceTransformer, name: str) -> None:
    """Check that ``student`` has the modules of the paper's Eq. 1, which training and saving support."""
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
            f"student.start {name} cannot be trained further: expected Transformer, Pooling (mean), Dense (without "
            f"residual), and Normalize or not, found {found}: build a new student with student.backbone"
        )
    assert isinstance(parts[0], Transformer)
    require_portable(parts[0], _ROLE, name)


def _require_teacher(student: SentenceTransformer, name: str, folder: Path, fingerprint: Fingerprint) -> None:
    """Check by its files that ``student`` learned from the teacher of ``fingerprint``."""
    known = read_record(folder).get("teacher")
    if isinstance(known, dict) and not _same_files(known, fingerprint):
        require_end_tokens(str(known.get("revision")), fingerprint.revision, f"student.start {name}")
        raise InputError(
            f"student.start {name} learned from {known.get('teacher')} ({known.get('revision')}), the teacher here is "
            f"{fingerprint.teacher} ({fingerprint.revision}): set teacher.model to the teacher of the student"
        )
    published, here = published_as(name), fingerprint.teacher
    # The name of a folder does not determine the teacher in it.
    if known is None and published and here != published.teacher.hub_id and not Path(here).is_dir():
        raise InputError(
            f"student.start {name} learned from {published.teacher.hub_id}, the teacher here is {here}: set "
            "teacher.model to the teacher of the student"
        )
    width = student.get_embedding_dimension()
    if width != fingerprint.dimension:
        raise InputError(
            f"teacher {fingerprint.teacher} gives {fingerprint.dimension} dimensions, student.start {name} gives "
            f"{width}: set teacher.model to the teacher of the student"
        )
    if isinstance(student[-1], Normalize) and not fingerprint.normalized:
        raise InputError(
            f"student.start {name} gives vectors of norm 1, teacher {fingerprint.teacher} does not: set teacher.model "
            "to the teacher of the student"
        )
    for kind in KINDS:
        own, expected = prompt_for(student.prompts, kind), fingerprint.prompts[kind]
        if own != expected:
            raise InputError(
                f"student.start {name} has the prompt {own!r} for kind {kind}, teacher {fingerprint.teacher} has "
                f"{expected!r}: set teacher.prompts to those of the student"
            )


def _same_files(known: dict[str, Any], fingerprint: Fingerprint) -> bool:
    """Return whether the record ``known`` of a student names the teacher of ``fingerprint``."""
    if GIVEN in (fingerprint.revision[: len(GIVEN)], str(known.get("revision"))[: len(GIVEN)]):
        return known.get("teacher") == fingerprint.teacher  # the files of one of the two teachers are unknown
    hashes: dict[str, Any] = {name: known.get(name) for name in Revisions._fields}
    hashes["revision"] = str(known.get("revision"))
    return replace(fingerprint, **hashes).has_files_of(fingerprint)
