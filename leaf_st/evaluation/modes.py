"""Which model embeds which side in which mode (contract 10), and each text embedded once for all modes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.identity import Identity, identify
from leaf_st.recipe import Kind
from leaf_st.teacher.protocol import Teacher

Mode = Literal["teacher", "standard", "asymmetric"]
Role = Literal["teacher", "student"]
Model = Teacher | SentenceTransformer
Side = Kind | None  # None: a text that is neither query nor document, such as a sentence to classify

ROLES: dict[Mode, dict[Kind, Role]] = {
    "teacher": {"query": "teacher", "document": "teacher"},
    "standard": {"query": "student", "document": "student"},
    "asymmetric": {"query": "student", "document": "teacher"},
}

# Sorting by length inside so many texts keeps padding small, and the progress bar still moves.
BLOCK = 2048


class Embedder:
    """Embeds queries and documents as a mode says, a text once per model and side however many modes need it.

    The vectors are kept as long as the embedder lives: memory is that of the texts and their vectors.

    Args:
        teacher: The teacher; None if every mode is "standard".
        student: The student.
        modes: The modes that will be asked for.
        batch_size: Texts that a model encodes at a time.
        progress: Called with the number of texts whenever some have been embedded.

    Raises:
        InputError: If a mode is unknown or lacks its teacher, or the two models cannot be compared.
    """

    def __init__(
        self,
        *,
        teacher: Teacher | None,
        student: SentenceTransformer,
        modes: Sequence[Mode],
        batch_size: int = 32,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        check_modes(modes, teacher, student)
        self.student, self.teacher = student, teacher
        self.batch_size = batch_size
        self.progress = progress
        self._modes = list(modes)
        self._known: defaultdict[tuple[Role, Side, str | None], dict[str, NDArray[np.float32]]] = defaultdict(dict)
        self._seconds: defaultdict[tuple[Role, Side], float] = defaultdict(float)

    def passes(self, side: Kind) -> int:
        """Return how many models have to encode the texts of ``side``."""
        return len({ROLES[mode][side] for mode in self._modes})

    def seconds(self, mode: Mode) -> float:
        """Return what encoding cost for ``mode``, as if no other mode had shared it."""
        return sum(self._seconds[_role(mode, side), side] for side in (*ROLES[mode], None))

    def document_model(self, mode: Mode) -> Model:
        """Return the model that embeds the documents: its similarity function is that of the index."""
        return self._model(ROLES[mode]["document"])

    def identities(self) -> dict[Role, Identity]:
        """Return the identities of the models by role."""
        known: dict[Role, Identity] = {} if self.teacher is None else {"teacher": self.teacher.identity}
        return {**known, "student": identify(self.student)}

    def _model(self, role: Role) -> Model:
        if role == "student":
            return self.student
        assert self.teacher is not None  # `check_modes`
        return self.teacher

    def finish(self, mode: Mode) -> None:
        """Forget the vectors that no other mode needs."""
        self._modes.remove(mode)
        needed = {(_role(other, side), side) for other in self._modes for side in (*ROLES[other], None)}
        for key in [key for key in self._known if key[:2] not in needed]:
            del self._known[key]

    def embed(self, mode: Mode, side: Side, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Return the vectors of ``texts``, shape (n, d), with ``prompt``, or else the model's own for ``side``.

        Raises:
            InputError: If a vector is not finite.
        """
        role = _role(mode, side)
        known = self._known[role, side, prompt]
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            new = [text for text in dict.fromkeys(block) if text not in known]
            if new:
                known.update(zip(new, self._encode(role, side, new, prompt), strict=True))
                if self.progress is not None:
                    self.progress(len(block))
        return np.stack([known[text] for text in texts])

    def _encode(self, role: Role, side: Side, texts: list[str], prompt: str | None) -> NDArray[np.float32]:
        start = perf_counter()
        if role == "teacher":
            vectors = self._teacher_vectors(side, texts, prompt)
        else:
            model = self.student
            encoders = {"query": model.encode_query, "document": model.encode_document}
            encode = model.encode if side is None else encoders[side]
            encoded = encode(texts, prompt=prompt, batch_size=self.batch_size, show_progress_bar=False)
            vectors = np.asarray(encoded, np.float32)
        self._seconds[role, side] += perf_counter() - start
        require_finite(vectors, texts, f"the {role}", side or "text")
        return vectors

    def _teacher_vectors(self, side: Side, texts: list[str], prompt: str | None) -> NDArray[np.float32]:
        assert self.teacher is not None  # `check_modes`
        if side is None:
            return self.teacher.encode(texts, prompt)
        return self.teacher.encode_query(texts) if side == "query" else self.teacher.encode_document(texts)


def require_finite(vectors: NDArray[np.float32], texts: Sequence[str], model: str, kind: str = "text") -> None:
    """Look whether the vectors of n ``texts``, shape (n, d), are numbers.

    Raises:
        InputError: If not: it calls the model ``model`` and a text ``kind``.
    """
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        raise InputError(
            f"{model} gives NaN or infinite numbers for {broken.size} of {len(texts)} texts, such as "
            f"the {kind} {texts[broken[0]][:60]!r}: check its weights, or load it in float32"
        )


def _role(mode: Mode, side: Side) -> Role:
    """Return which model embeds ``side``; what has no side goes with the documents, as in a Router."""
    return ROLES[mode][side or "document"]


def check_modes(modes: Sequence[Mode], teacher: Teacher | None, student: SentenceTransformer) -> None:
    """Look whether these models can be measured in ``modes``.

    Raises:
        InputError: If a mode is unknown or lacks its teacher, or the two models cannot be compared.
    """
    for mode in modes:
        if mode not in ROLES:
            raise InputError(f"mode {mode!r} is unknown: expected one of {', '.join(ROLES)}")
        if teacher is None and mode != "standard":
            raise InputError(f"mode {mode} needs the teacher: name one, or measure standard alone")
    if teacher is None or "asymmetric" not in modes:
        return
    theirs, ours = teacher.dimension, student.get_embedding_dimension()
    if theirs != ours:
        raise InputError(
            f"teacher gives {theirs} dimensions, student gives {ours}: asymmetric mode compares "
            "their vectors, measure teacher and standard alone (--modes) or take the student's own teacher"
        )
