"""The score of each query, which mteb computes and drops: kept in mteb's own result, from which intervals are made."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.results import TaskResult

QUERY_SCORES = "leaf_st_query_scores"  # beside mteb's scores of a subset: fractions in the order of the queries' ids
_DIGITS = 6  # as many as mteb writes to its cache, so that a cached result equals a fresh one
_ROUNDING = 1e-3  # of mteb's mean, in percent


def keep_query_scores(task: AbsTask) -> None:
    """Let the results of ``task`` hold the main metric of each query, if mteb computes the metric by query."""
    if not isinstance(task, AbsTaskRetrieval):
        return
    of_task = task.task_specific_scores
    metric = task.metadata.main_score.replace("_at_", "_cut_")  # pytrec_eval's name of nDCG and MAP

    def with_queries(scores: dict[str, dict[str, float]], *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401  (mteb's)
        found = [round(scores[query][metric], _DIGITS) for query in sorted(scores) if metric in scores[query]]
        return {**of_task(scores, *args, **kwargs), **({QUERY_SCORES: found} if found else {})}

    task.task_specific_scores = with_queries  # type: ignore[method-assign]


def query_scores(results: Sequence[TaskResult], score: float) -> tuple[tuple[float, ...], ...] | None:
    """Return the scores of the queries in percent, for each subset of ``results``.

    Args:
        results: Results of a task, or of the parts of an aggregated task.
        score: The score of the task in percent.

    Returns:
        None if mteb's results do not hold the scores, or if ``score`` is not the mean of the subsets' means.
    """
    parts = [
        tuple(round(100 * value, _DIGITS - 2) for value in subset.get(QUERY_SCORES, ()))
        for result in results
        for subsets in result.scores.values()
        for subset in subsets
    ]
    if not parts or not all(parts) or abs(fmean(map(fmean, parts)) - score) > _ROUNDING:
        return None
    return tuple(parts)


def without_query_scores(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of mteb's result as mteb alone would have written it."""
    scores = {
        split: [{name: value for name, value in subset.items() if name != QUERY_SCORES} for subset in subsets]
        for split, subsets in stored["scores"].items()
    }
    return {**stored, "scores": scores}
