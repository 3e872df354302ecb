"""Several teachers as one: their vectors are concatenated, each scaled by a weight (as for Stella and Jasper).

The vector of a text is the concatenation of w_i * v_i, normalised, where v_i is the vector of member i with norm 1. The
cosine of two texts is therefore the mean of the members' cosines with the weights w_i^2:

    cos(a, b) = sum_i w_i^2 cos_i(a, b) / sum_i w_i^2

With `TeacherSpec.dimensions`, the concatenation is projected to its principal axes and normalised again; the cosine is
then an approximation. Every member applies its own prompts. The prompts of the ensemble are empty, or those in the
recipe, which only the student reads.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.models.identity import Identity, with_owner
from leaf_st.models.vectors import normalized
from leaf_st.recipe import KINDS, TeacherSpec
from leaf_st.teacher.blocks import blocks
from leaf_st.teacher.embed import embed_rows
from leaf_st.teacher.ensemble.axes import ROWS, axes_revision, fit_axes, read_axes
from leaf_st.teacher.protocol import Fingerprint, Revisions, Rounded, Service, Targets, Teacher
from leaf_st.teacher.remote import RemoteTeacher
from leaf_st.texts import Text

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1024


class Ensemble(RemoteTeacher):
    """A `Teacher` that consists of several teachers. The similarity function is the cosine.

    Args:
        spec: The teacher, with `TeacherSpec.ensemble`. With `TeacherSpec.dimensions` and without `TeacherSpec.axes`,
            `fit` and `use` must be called before texts are embedded.
        members: The opened members, in the order of ``spec``.

    Attributes:
        members: The members.

    Raises:
        InputError: If more dimensions are asked for than the members have, or the axes cannot be used.
    """

    def __init__(self, spec: TeacherSpec, members: Sequence[Teacher]) -> None:
        self.members = tuple(members)
        self._spec = spec
        self._axes: NDArray[np.float32] | None = None
        width = sum(member.dimension for member in members)
        if spec.dimensions is not None and spec.dimensions > width:
            raise InputError(
                f"teacher.dimensions: expected at most {width:,}, the dimensions of all members, found "
                f"{spec.dimensions:,}: set fewer dimensions"
            )
        self.fingerprint = self._fingerprint()
        if spec.dimensions is not None and spec.axes is not None:
            self.use(Path(spec.axes))

    @cached_property
    def identity(self) -> Identity:
        """Name and revision under which results are kept."""
        known = self.fingerprint
        earlier = known.earlier_revision and self._hash(known.earlier_revision)
        return Identity(with_owner(self._spec.name), self._hash(known.revision), earlier)

    @property
    def parameters(self) -> int | None:
        """Number of weights of all members; None if the number of a member is unknown."""
        known = [member.parameters for member in self.members if member.parameters is not None]
        return sum(known) if len(known) == len(self.members) else None

    @property
    def reads_starts(self) -> bool:
        """Whether a member was found to read only the start of a long text, while vectors were compared."""
        return any(isinstance(member, RemoteTeacher) and member.reads_starts for member in self.members)

    @property
    def batch_size(self) -> int:
        """Number of texts that are embedded at a time: the largest of the members' numbers."""
        return max(member.batch_size for member in self.members)

    @property
    def unfitted(self) -> "Ensemble":
        """The ensemble of the same members without a projection."""
        return type(self)(replace(self._spec, dimensions=None, axes=None), self.members)

    def fit(self, texts: Iterable[Text], path: Path) -> None:
        """Fit the axes of the projection to the first 16,384 of ``texts`` and write the axes to ``path``.

        Raises:
            InputError: If there are fewer texts than axes, or a member cannot embed a text.
        """
        assert self._spec.dimensions is not None  # TeacherSpec
        fit_axes(self.unfitted._blocks(islice(texts, ROWS)), self._spec.dimensions, path)

    def use(self, path: Path) -> None:
        """Project all vectors to the axes in ``path`` from now on.

        Raises:
            InputError: If the axes are missing or have another shape.
        """
        assert self._spec.dimensions is not None  # TeacherSpec
        self._axes = read_axes(path, sum(member.dimension for member in self.members), self._spec.dimensions)
        self._spec = replace(self._spec, axes=str(path))
        self.fingerprint = self._fingerprint()

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n queries; returns shape (n, d), row i for text i."""
        return self._combined([member.encode_query(texts) for member in self.members])

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n documents; returns shape (n, d), row i for text i."""
        return self._combined([member.encode_document(texts) for member in self.members])

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Embed n texts that are neither queries nor documents; returns shape (n, d), row i for text i."""
        return self._combined([member.encode(texts, prompt) for member in self.members])

    def in_float32(self) -> Targets | None:
        """Return the ensemble with each member in float32.

        The result is None if no member is in a lower precision, or an API is a member, which would be paid twice.
        """
        precise = [member.in_float32() if isinstance(member, Rounded) else None for member in self.members]
        if isinstance(self, Service) or not any(precise):
            return None
        pairs = zip(precise, self.members, strict=True)
        return type(self)(self._spec, [cast(Teacher, found) or member for found, member in pairs])

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens that all members together read of each text, shape (n,)."""
        counts: NDArray[np.int64] = np.sum([member.token_counts(texts) for member in self.members], axis=0)
        return counts

    def token_vectors(self, count: int) -> "Tensor":
        """Raise an `InputError`, because the members have different vocabularies."""
        raise InputError(
            f"teacher {self._spec.name}: expected one model, because a static student needs the vectors of {count:,} "
            "tokens of its vocabulary, found an ensemble: set student.backbone instead of student.static"
        )

    def _combined(self, vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the vectors of n texts, given those of each member, shape (n, d of the member)."""
        if self._spec.dimensions is not None and self._axes is None:
            raise InputError(
                "teacher.axes: expected the principal axes of the ensemble, found None: name the file that a run with "
                "teacher.dimensions has written"
            )
        pairs = zip(self._spec.ensemble, vectors, strict=True)
        joined = np.concatenate([np.float32(member.weight) * normalized(part) for member, part in pairs], axis=1)
        return normalized(joined if self._axes is None else joined @ self._axes)

    def _blocks(self, texts: Iterator[Text]) -> Iterator[NDArray[np.float32]]:
        for block in blocks(texts, _BLOCK):
            if isinstance(self, Service):
                self.require_budget(block)
            yield embed_rows(self, block)

    def _hash(self, revision: str) -> str:
        """Return the hash of the fingerprint with ``revision``, an own or an earlier one."""
        known = replace(self.fingerprint, revision=revision, earlier_revision=None).to_dict()
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    def _fingerprint(self) -> Fingerprint:
        prints = [member.fingerprint for member in self.members]
        lengths = [part.max_length for part in prints]
        revisions = ensemble_revisions(self._spec, prints)
        return Fingerprint(
            teacher=self._spec.name,
            revision=revisions.revision,
            prompts={kind: self._spec.prompts.get(kind, "") for kind in KINDS},
            max_length=max(length or 0 for length in lengths) if all(lengths) else None,
            pooling=_joined(part.pooling for part in prints),
            precision=_joined(part.precision for part in prints),
            normalized=True,
            dimension=self._spec.dimensions or sum(part.dimension for part in prints),
            similarity_fn_name="cosine",
            earlier_revision=revisions.earlier_revision,
        )


def ensemble_revisions(spec: TeacherSpec, members: Sequence[Revisions | Fingerprint]) -> Revisions:
    """Return the revisions of an ensemble: revisions, weights and settings of the members, and axes.

    Args:
        spec: The ensemble.
        members: The revisions of each member.

    Raises:
        InputError: If the file of the axes is missing.
    """
    now = _joined_revisions(spec, [member.revision for member in members])
    earlier = _joined_revisions(spec, [member.earlier_revision or member.revision for member in members])
    return Revisions(now, earlier_revision=None if earlier == now else earlier)


def _joined_revisions(spec: TeacherSpec, revisions: Sequence[str]) -> str:
    members = []
    for member, revision in zip(spec.ensemble, revisions, strict=True):
        settings = {"prompts": dict(member.prompts), "max_length": member.max_length}
        stated = {name: value for name, value in settings.items() if value}
        members.append(f"{member.weight!r} x {revision}{f' {json.dumps(stated, sort_keys=True)}' if stated else ''}")
    if spec.dimensions is not None:
        axes = "not fitted yet" if spec.axes is None else axes_revision(Path(spec.axes))
        members.append(f"on {spec.dimensions} axes {axes}")
    return ", ".join(members)


def ensemble_precision(spec: TeacherSpec) -> str | None:
    """Return the precision in the fingerprint of an ensemble; None if the recipe does not determine it."""
    precisions = ["auto" if member.api else member.precision for member in spec.ensemble]
    unknown = any(member.precision == "auto" and not member.api for member in spec.ensemble)
    return None if unknown else _joined(precisions)


def _joined(names: Iterable[str]) -> str:
    """Return the members' values of a setting, once if they are equal."""
    values = list(names)
    return values[0] if len(set(values)) == 1 else "+".join(values)
