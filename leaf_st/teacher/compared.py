"""Whether a teacher's vectors are targets, or are compared with the vectors of a student, as in an evaluation.

A target must be the vector of a complete text. An evaluation measures a teacher as the teacher is: of a text that is
too long for an API, the start is read, as a local model does, and an empty text has the zero vector, as in mteb.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Not an argument: between an evaluation and an API there may be an ensemble, or a teacher that keeps its vectors.
_compared: ContextVar[bool] = ContextVar("compared", default=False)


def are_compared() -> bool:
    """Return whether the vectors that are embedded now are compared."""
    return _compared.get()


@contextmanager
def compared() -> Iterator[None]:
    """Let the vectors that the block embeds be compared."""
    token = _compared.set(True)
    try:
        yield
    finally:
        _compared.reset(token)
