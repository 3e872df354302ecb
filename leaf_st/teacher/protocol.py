"""What a teacher has to be: any black box that turns texts into vectors (paper section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.recipe import Kind


@dataclass(frozen=True)
class Fingerprint:
    """What made a vector (design contract 2): equal fingerprints, equal vectors.

    Attributes:
        teacher: Hub id of the teacher, or its folder's name.
        revision: Commit on the hub, or a hash of the teacher's files.
        prompts: Prompt by kind.
        max_length: Tokens read of a text; None if the teacher does not say.
        pooling: How the teacher pools; "unknown" for a black box.
        precision: Weights while embedding.
        normalized: Whether the vectors have norm 1.
        dimension: Width d of the vectors.
    """

    teacher: str
    revision: str
    prompts: Mapping[str, str]
    max_length: int | None
    pooling: str
    precision: str
    normalized: bool
    dimension: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint as JSON values."""
        return asdict(self)

    def require_same(self, found: Mapping[str, Any], where: str) -> None:
        """Check that ``found``, another fingerprint's `to_dict`, is this one; names may differ, files may not.

        Raises:
            InputError: Naming both values of the first difference.
        """
        ours = self.to_dict()
        for key in ("revision", *ours):
            if key == "teacher" or ours[key] == found.get(key):
                continue
            mine, theirs = ours[key], found.get(key)
            if key == "revision":
                mine, theirs = f"{self.teacher} ({mine})", f"{found.get('teacher')} ({theirs})"
            raise InputError(
                f"{where} was made by another teacher: expected {key} {mine}, found {theirs}; "
                "name another output folder, or delete this one to embed again"
            )


class Teacher(Protocol):
    """A model whose vectors a student learns to give."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Everything that shapes the vectors."""

    def embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Embed n texts of one kind with its prompt in front; returns shape (n, d), row i for text i."""
