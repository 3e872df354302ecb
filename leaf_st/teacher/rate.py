"""How fast a teacher embeds on this machine: measured by embedding for a moment."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leaf_st.recipe import KINDS
from leaf_st.teacher.local import LocalTeacher, token_counts
from leaf_st.texts import Text

_SECONDS = 15.0
_GOLDEN = 0.618034  # its multiples, modulo 1, are nowhere close together


def seconds_per_text(teacher: LocalTeacher, texts: Sequence[Text], most: float = _SECONDS) -> float:
    """Return the seconds that ``teacher`` needs for one of ``texts`` on average.

    Batches of short, long and middling texts are timed until ``most`` seconds are over; what they took for a token is
    what the others would take.

    Args:
        teacher: Embeds.
        texts: A sample, as long as the texts to come.
        most: When to stop; the batch in flight is waited for.
    """
    prompted = [teacher.prompts[row.kind] + row.text for row in texts]
    tokens = token_counts(teacher.model, prompted)
    batches = _batches(texts, tokens, teacher.batch_size)
    _embed(teacher, texts, min(batches, key=lambda rows: int(tokens[rows].sum())))  # a device is slow at first
    spent, done = 0.0, 0
    for rows in batches:
        started = time.perf_counter()
        _embed(teacher, texts, rows)
        spent += time.perf_counter() - started
        done += int(tokens[rows].sum())
        if spent > most:
            break
    return spent / done * float(tokens.mean())


def _embed(teacher: LocalTeacher, texts: Sequence[Text], rows: NDArray[np.int64]) -> None:
    teacher.embed([texts[row].text for row in rows], texts[rows[0]].kind)


def _batches(texts: Sequence[Text], tokens: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Return row numbers of batches of one kind and of similar length, the lengths of neighbours far apart."""
    batches = []
    for kind in KINDS:
        rows = np.array([place for place, row in enumerate(texts) if row.kind == kind], dtype=np.int64)
        rows = rows[np.argsort(tokens[rows], kind="stable")]
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    order = np.argsort(np.arange(1, len(batches) + 1) * _GOLDEN % 1)
    return [batches[place] for place in order]
