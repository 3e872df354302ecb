"""How large the models of a results folder are: known where they are loaded, needed where nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import Role
from leaf_st.evaluation.rows import MODELS, read_rows, write_rows
from leaf_st.models.identity import Identity


@dataclass(frozen=True)
class Size:
    """A model.

    Attributes:
        role: Teacher or student.
        model: Its name.
        revision: Hash of it (`leaf_st.models.identity`).
        parameters: Number of its weights.
        dimension: Width of its vectors.
    """

    role: Role
    model: str
    revision: str
    parameters: int
    dimension: int


Models = Mapping[Role, tuple[Identity, SentenceTransformer]]


def require_same_sizes(folder: Path, models: Models, remedy: str = "name another --output") -> None:
    """Look whether ``models.json`` of ``folder``, if it is there, is of these ``models``.

    Args:
        folder: Results folder.
        models: By role.
        remedy: What to do if not.

    Raises:
        InputError: If it is of others, whose results would be lost or mixed with those of these, or no such file.
    """
    for role, row in _read(folder).items():
        if role in models and row.revision != models[role][0].revision:
            raise InputError(
                f"{folder} holds results of the {role} {row.model} ({row.revision}), not of {models[role][0]}: {remedy}"
            )


def write_sizes(folder: Path, models: Models) -> None:
    """Write the sizes of ``models`` to ``models.json`` of ``folder``; the row of a role that they lack stays.

    Raises:
        InputError: If the file is there and holds something else.
    """
    sizes = _read(folder)
    for role, (identity, model) in models.items():
        parameters = sum(weight.numel() for weight in model.parameters())
        dimension = model.get_embedding_dimension() or 0
        sizes[role] = Size(role, identity.name, identity.revision, parameters, dimension)
    write_rows(folder / MODELS, [sizes[role] for role in ("teacher", "student") if role in sizes])


def _read(folder: Path) -> dict[Role, Size]:
    path = folder / MODELS
    return {row.role: row for row in (read_rows(path, Size) if path.exists() else [])}
