"""A paired bootstrap over the queries: how much a score depends on the queries that happen to be in the sets.

Each resample draws as many queries as a set has, with replacement. The draws depend only on the name of the set and on
the number of its queries, so that student and teacher are compared on the same queries.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_LEVEL = (2.5, 97.5)  # percentiles of the 95 % interval
_BLOCK = 100  # resamples whose draws are in memory at a time


@lru_cache(maxsize=1024)  # a table shows a set in its own line and in the means
def resampled_means(name: str, scores: Sequence[Sequence[float]] | None) -> NDArray[np.float64]:
    """Return the score of a set in each resample, shape (RESAMPLES,).

    Args:
        name: Name of the set.
        scores: Scores of the queries of each part of the set; the score of the set is the mean over its parts. None if
            they are unknown.

    Returns:
        The scores. All are NaN if ``scores`` is None or empty, or if a part has fewer than two queries.
    """
    if not scores or min(map(len, scores)) < 2:
        return np.full(RESAMPLES, np.nan)
    draw = np.random.default_rng(list(name.encode(errors="surrogatepass")))
    means: NDArray[np.float64] = np.mean([_means(np.asarray(part), draw) for part in scores], axis=0)
    return means


def _means(scores: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """Return the mean score of each resample of one part, shape (RESAMPLES,)."""
    count = len(scores)
    return np.concatenate(
        [scores[draw.integers(count, size=(_BLOCK, count))].mean(axis=1) for _ in range(RESAMPLES // _BLOCK)]
    )


def ratio_interval(
    student: NDArray[np.float64], teacher: NDArray[np.float64], smallest: float
) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of student / teacher, in percent.

    Args:
        student: Scores of the student in each resample, not negative.
        teacher: Scores of the teacher in the same resamples.
        smallest: The score of the teacher below which a ratio has no meaning.

    Returns:
        The interval; None if the ratio has no meaning in a resample, or if a score is NaN.
    """
    if not np.all((student >= 0) & (teacher >= smallest)):
        return None
    low, high = np.percentile(100 * student / teacher, _LEVEL)
    return float(low), float(high)
