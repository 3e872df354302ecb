"""The sizes of the models in a results folder, for code that reads results without loading a model."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import Role
from leaf_st.evaluation.rows import read_rows, write_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from leaf_st.models.identity import Identity
    from leaf_st.teacher.protocol import Teacher

Models = Mapping[Role, "tuple[Identity, Teacher | SentenceTransformer]"]

_logger = logging.getLogger(__name__)

MODELS = "models.json"  # the file of the sizes in a results folder


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Attributes:
        role: Teacher or student.
        model: Name of the model.
        revision: Hash of the model (`leaf_st.models.identity`).
        parameters: Number of weights.
        dimension: Width of the vectors.
        length: Number of tokens that the model reads of a text; None if it has no limit, if the number is unknown, and
            in results of earlier versions.
        reads_starts: Whether the model is an API that was found to read only the start of a long text in a
            measurement.
    """

    role: Role
    model: str
    revision: str
    parameters: int
    dimension: int
    length: int | None = None
    reads_starts: bool = False


def unread_texts(sizes: Iterable[Size]) -> str | None:
    """Return a warning if the student of ``sizes`` reads fewer tokens of a text than the teacher; else None."""
    from leaf_st.models.tokens import unread_end

    lengths = {row.role: row.length for row in sizes}
    return unread_end(lengths.get("student"), lengths.get("teacher"))


def read_starts(sizes: Iterable[Size]) -> str | None:
    """Return a warning if a measurement found that the teacher of ``sizes`` reads only starts of texts; else None."""
    if not any(row.reads_starts for row in sizes):
        return None
    return (
        "the teacher's API reads only the start of a long text: on long documents, retention is measured with the "
        "teacher's vectors of their starts"
    )


def require_same_sizes(folder: Path, models: Models, remedy: str = "name another --output") -> None:
    """Check that ``models.json`` of ``folder``, if it exists, describes these ``models``.

    Results of other models would be lost or mixed with the results of these models.

    Args:
        folder: Results folder.
        models: Identity and model by role.
        remedy: Last part of the error message.

    Raises:
        InputError: If the file describes other models, or contains anything else.
    """
    for role, row in _read(folder).items():
        if role in models and not models[role][0].has_revision(row.revision):
            raise InputError(
                f"{folder} contains results of the {role} {row.model} ({row.revision}), not of {models[role][0]}: "
                f"{remedy}"
            )


def require_no_student(folder: Path) -> None:
    """Check that no student was measured in the results folder ``folder``, before a student is trained.

    Raises:
        InputError: If ``models.json`` describes a student: its results cannot be mixed with those of the next one.
    """
    if (row := _read(folder).get("student")) is not None:
        raise InputError(
            f"{folder}: expected no results of a student before its training, found those of {row.model} "
            f"({row.revision}): move the folder to another place"
        )


def write_sizes(folder: Path, models: Models) -> None:
    """Write the sizes of ``models`` to ``models.json`` of ``folder``; the rows of other roles are kept.

    A student that reads fewer tokens than its teacher is logged, and a teacher that reads only starts of texts.

    Raises:
        InputError: If the file exists and contains anything else.
    """
    from sentence_transformers import SentenceTransformer

    from leaf_st.models.tokens import max_length_of
    from leaf_st.teacher.remote import RemoteTeacher

    sizes = _read(folder)
    for role, (identity, model) in models.items():
        if isinstance(model, SentenceTransformer):
            parameters = sum(weight.numel() for weight in model.parameters())
            dimension, length = model.get_embedding_dimension() or 0, max_length_of(model)
        else:
            parameters, dimension, length = model.parameters or 0, model.dimension, model.fingerprint.max_length
        reads_starts = isinstance(model, RemoteTeacher) and model.reads_starts
        reads_starts = reads_starts or (role in sizes and sizes[role].reads_starts)  # in an earlier measurement
        sizes[role] = Size(role, identity.name, identity.revision, parameters, dimension, length, reads_starts)
    for warning in (unread_texts(sizes.values()), read_starts(sizes.values())):
        if warning is not None:
            _logger.info(warning)
    write_rows(folder / MODELS, [sizes[role] for role in ("teacher", "student") if role in sizes])


def _read(folder: Path) -> dict[Role, Size]:
    path = folder / MODELS
    return {row.role: row for row in (read_rows(path, Size) if path.exists() else [])}
