"""The speed of a teacher on this machine, measured by embedding texts for some seconds."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leaf_st.recipe import KINDS
from leaf_st.teacher.protocol import Teacher
from leaf_st.texts import Text

_SECONDS = 15.0
_GOLDEN = 0.618034  # multiples of the golden ratio, modulo 1, are far apart


def seconds_per_text(teacher: Teacher, texts: Sequence[Text], most: float = _SECONDS) -> float:
    """Return the mean seconds that ``teacher`` needs for one of ``texts``.

    Batches of short, medium and long texts are timed for about ``most`` seconds. The remaining texts are assumed to
    take the same time per token.

    Args:
        teacher: The teacher.
        texts: A sample of the texts that will be embedded.
        most: Seconds after which no further batch starts.
    """
    prompts = teacher.fingerprint.prompts
    prompted = [prompts[row.kind] + row.text for row in texts]
    tokens = teacher.token_counts(prompted)
    batches = _batches(texts, tokens, teacher.batch_size)
    # The first batch on a device is slow, so the shortest batch is embedded before any batch is timed.
    _embed(teacher, texts, min(batches, key=lambda rows: int(tokens[rows].sum())))
    spent, done = 0.0, 0
    for rows in batches:
        started = time.perf_counter()
        _embed(teacher, texts, rows)
        spent += time.perf_counter() - started
        done += int(tokens[rows].sum())
        if spent > most:
            break
    return spent / done * float(tokens.mean())


def _embed(teacher: Teacher, texts: Sequence[Text], rows: NDArray[np.int64]) -> None:
    encode = teacher.encode_query if texts[rows[0]].kind == "query" else teacher.encode_document
    encode([texts[row].text for row in rows])


def _batches(texts: Sequence[Text], tokens: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Return row numbers of batches of one kind and similar length; consecutive batches differ in length."""
    batches = []
    for kind in KINDS:
        rows = np.array([place for place, row in enumerate(texts) if row.kind == kind], dtype=np.int64)
        rows = rows[np.argsort(tokens[rows], kind="stable")]
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    order = np.argsort(np.arange(1, len(batches) + 1) * _GOLDEN % 1)
    return [batches[place] for place in order]
