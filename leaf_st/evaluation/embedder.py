"""Embeds the texts of a retrieval set for several modes, each text once per model."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet, document_text
from leaf_st.evaluation.kept import KeptVectors
from leaf_st.evaluation.modes import ROLES, Mode, Role, Side, role_of
from leaf_st.models.identity import Identity, identify
from leaf_st.recipe import Kind
from leaf_st.teacher.compared import compared
from leaf_st.teacher.protocol import Teacher

# Texts are sorted by length within a block, which keeps padding small; the progress bar moves after each block.
BLOCK = 2048

TeacherOrStudent = Teacher | SentenceTransformer
QueriesAndDocuments = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Vectors:
    """Vectors of the texts of a set, and the time to make these vectors.

    Attributes:
        known: The vectors by model, side and prompt.
        seconds: The time in seconds by model and side.
    """

    known: defaultdict[tuple[Role, Side, str | None], KeptVectors] = field(
        default_factory=lambda: defaultdict(KeptVectors)
    )
    seconds: defaultdict[tuple[Role, Side], float] = field(default_factory=lambda: defaultdict(float))


class SharedTeacher:
    """A teacher of several students, which embeds the texts of each evaluation set once for all of them.

    The vectors stay in temporary files until this object is deleted.

    Args:
        open: Function that opens the teacher at the first access.

    Attributes:
        vectors: The vectors by the name of the set.
    """

    def __init__(self, open: Callable[[], Teacher]) -> None:
        self._open = open
        self.vectors: defaultdict[str, Vectors] = defaultdict(Vectors)

    @cached_property
    def teacher(self) -> Teacher:
        """The opened teacher."""
        return self._open()


class Embedder:
    """Embeds queries and documents for several modes, each text once per model and side.

    The vectors are kept in temporary files as long as a mode needs them; memory grows only with the texts.

    Args:
        teacher: The teacher; None if every mode is "standard".
        student: The student.
        modes: The modes to embed for.
        batch_size: Texts per batch.
        progress: Callback that receives the number of texts after each block.
        shared: Vectors that the teacher made for other students, to which this embedder adds; none if None.

    Raises:
        InputError: If a mode is unknown or lacks its teacher, the student contains a teacher, or the vectors of the two
            models have different widths.
    """

    def __init__(
        self,
        *,
        teacher: Teacher | None,
        student: SentenceTransformer,
        modes: Sequence[Mode],
        batch_size: int = 32,
        progress: Callable[[int], object] | None = None,
        shared: Vectors | None = None,
    ) -> None:
        check_modes(modes, teacher, student)
        self.student, self.teacher = student, teacher
        self.batch_size = batch_size
        self.progress = progress
        self._modes = list(modes)
        self._own = Vectors()
        self._vectors: dict[Role, Vectors] = {"student": self._own, "teacher": shared or self._own}

    def passes(self, side: Kind) -> int:
        """Return how many models encode the texts of ``side``."""
        return len({ROLES[mode][side] for mode in self._modes})

    def seconds(self, mode: Mode) -> float:
        """Return the encoding time of ``mode``, as if no other mode had shared the vectors."""
        roles = [(role_of(mode, side), side) for side in (*ROLES[mode], None)]
        return sum(self._vectors[role].seconds[role, side] for role, side in roles)

    def document_model(self, mode: Mode) -> TeacherOrStudent:
        """Return the model that embeds the documents; its similarity function compares them with queries."""
        if role_of(mode, "document") == "student":
            return self.student
        assert self.teacher is not None  # check_modes
        return self.teacher

    def identities(self) -> dict[Role, Identity]:
        """Return the identities of the models by role."""
        teacher: dict[Role, Identity] = {} if self.teacher is None else {"teacher": self.teacher.identity}
        return {**teacher, "student": identify(self.student)}

    def finish(self, mode: Mode) -> None:
        """Free the vectors that no other mode needs, and no other student."""
        self._modes.remove(mode)
        needed = {(role_of(other, side), side) for other in self._modes for side in (*ROLES[other], None)}
        for key in [key for key in self._own.known if key[:2] not in needed]:
            del self._own.known[key]

    def embed(self, mode: Mode, side: Side, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Return the vectors of ``texts``, shape (n, d).

        Args:
            mode: The mode, which determines the model.
            side: Queries, documents, or None for texts that are neither.
            texts: The texts.
            prompt: Prompt for texts that are neither; by default the model's own prompt for ``side``.

        Raises:
            InputError: If a vector contains NaN or infinite numbers.
        """
        role = role_of(mode, side)
        known = self._vectors[role].known[role, side, prompt]
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            new = [text for text in dict.fromkeys(block) if text not in known]
            if new:
                known.add(new, self._encode(role, side, new, prompt))
                if self.progress is not None:
                    self.progress(len(block))
        return known.vectors(texts)

    def _encode(self, role: Role, side: Side, texts: list[str], prompt: str | None) -> NDArray[np.float32]:
        encode = self._student_vectors if role == "student" else self._teacher_vectors
        start = perf_counter()
        vectors = encode(side, texts, prompt)
        self._vectors[role].seconds[role, side] += perf_counter() - start
        require_finite(vectors, texts, f"the {role}", side or "text")
        return vectors

    def _student_vectors(self, side: Side, texts: list[str], prompt: str | None) -> NDArray[np.float32]:
        encoders = {"query": self.student.encode_query, "document": self.student.encode_document}
        encode = self.student.encode if side is None else encoders[side]
        return np.asarray(encode(texts, prompt=prompt, batch_size=self.batch_size, show_progress_bar=False), np.float32)

    def _teacher_vectors(self, side: Side, texts: list[str], prompt: str | None) -> NDArray[np.float32]:
        assert self.teacher is not None  # check_modes
        with compared():
            if side is None:
                return self.teacher.encode(texts, prompt)
            return self.teacher.encode_query(texts) if side == "query" else self.teacher.encode_document(texts)


def embed_set(
    beir: BeirSet,
    *,
    teacher: Teacher | None,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    batch_size: int,
) -> tuple[Embedder, dict[Mode, QueriesAndDocuments]]:
    """Embed the queries and documents of ``beir`` for all ``modes``, each text once per model and side.

    Returns:
        The embedder, and the vectors of queries, shape (q, d), and documents, shape (n, d), by mode.

    Raises:
        InputError: If the modes or the models' vectors cannot be used.
    """
    queries, documents = [row["text"] for row in beir.queries], [document_text(row) for row in beir.corpus]
    with tqdm(desc=beir.name, unit="text") as bar:
        embedder = Embedder(teacher=teacher, student=student, modes=modes, batch_size=batch_size, progress=bar.update)
        bar.total = len(documents) * embedder.passes("document") + len(queries) * embedder.passes("query")
        vectors = {
            mode: (embedder.embed(mode, "query", queries), embedder.embed(mode, "document", documents))
            for mode in modes
        }
    return embedder, vectors


def check_modes(modes: Sequence[Mode], teacher: Teacher | None, student: SentenceTransformer) -> None:
    """Check that these models can be measured in ``modes``.

    Raises:
        InputError: If a mode is unknown or lacks its teacher, or the vectors of the two models have different widths.
    """
    for mode in modes:
        if mode not in ROLES:
            raise InputError(f"mode {mode!r} is unknown: expected one of {', '.join(ROLES)}")
        if teacher is None and mode != "standard":
            raise InputError(f"mode {mode} needs the teacher: name one with --teacher, or measure only standard mode")
    if teacher is None or "asymmetric" not in modes:
        return
    expected, found = teacher.dimension, student.get_embedding_dimension()
    if expected != found:
        raise InputError(
            f"the teacher's vectors have {expected} dimensions, the student's have {found}: "
            "asymmetric mode compares the vectors of both models: use the student's own teacher, or measure "
            "the other modes with `leaf-st evaluate --modes`"
        )


def require_one_model(student: SentenceTransformer) -> None:
    """Refuse a student and its teacher in one model: the teacher's vectors of documents would count as the student's.

    Raises:
        InputError: If ``student`` has a model for queries and another model for documents.
    """
    if isinstance(student[0], Router):
        raise InputError(
            "model: expected one model, found student and teacher in one: name the student, such as leaf-ir in place "
            "of leaf-ir-asym, or runs/mine; asymmetric mode measures the two together"
        )


def require_finite(vectors: NDArray[np.float32], texts: Sequence[str], model: str, kind: str = "text") -> None:
    """Check the vectors of n ``texts``, shape (n, d), for NaN and infinite numbers.

    Args:
        vectors: The vectors.
        texts: The texts.
        model: Name of the model in the error message.
        kind: Name of a text in the error message.

    Raises:
        InputError: If a vector contains NaN or infinite numbers.
    """
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        raise InputError(
            f"{model} returns NaN or infinite numbers for {broken.size} of {len(texts)} texts, such as "
            f"the {kind} {texts[broken[0]][:60]!r}: check the model's weights, or load the model in float32"
        )
