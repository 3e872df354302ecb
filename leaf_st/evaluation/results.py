"""Task results: rows in a JSON file that grows, their averages, and retention with its interval."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES, Mode
from leaf_st.evaluation.rows import read_rows, write_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leaf_st.models.identity import Identity

_logger = logging.getLogger(__name__)

V = TypeVar("V", float, "NDArray[np.float64]")  # a score, or the scores of the resamples of a bootstrap

TASKS_FILE = "tasks.json"  # the file of the rows in a results folder
NDCG = "ndcg_at_10"
# mteb's types of tasks with queries and documents: only these have an asymmetric mode (paper 3.2)
TWO_SIDED = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
# Teacher's score in percent below which a ratio is noise: scores of 4 and 0.3 would give a retention of 1333 %.
_SMALLEST = 1.0


@dataclass(frozen=True)
class Result:
    """The score of one mode on one task.

    Attributes:
        set: Name of the set, or of mteb's task.
        mode: The mode, which determines the models of queries and documents.
        metric: Name of the task's main metric, as mteb spells it.
        score: The metric in percent, 0 to 100, not rounded.
        model: Name of the measured model: the student, or the teacher in mode "teacher".
        teacher: Name of the teacher; None without a teacher.
        seconds: Encoding time of this mode, as if no other mode had shared the vectors; None if unknown.
        queries: Number of queries; None if the task has no queries, or if unknown.
        documents: Number of documents; None if the task has no documents, or if unknown.
        type: mteb's type of the task, such as "Retrieval" or "STS".
        revision: Hash of the model (`leaf_st.models.identity`).
        teacher_revision: Hash of the teacher.
        path: Path of a local set as it was given; None for mteb's own tasks, or if unknown.
        data: Revision of the set's data, and the measured part if it is not all of them; None if unknown.
        place: Path of a local set, relative to the folder of the results; None for other sets, or if unknown.
        query_scores: The metric of each query in percent, in the order of their ids, a list for each part whose mean
            counts in the score: a subset, or a task of an aggregate. None if the task has no queries, or if unknown.
    """

    set: str
    mode: Mode
    metric: str
    score: float
    model: str
    teacher: str | None
    seconds: float | None
    queries: int | None
    documents: int | None
    type: str = "Retrieval"
    revision: str | None = None
    teacher_revision: str | None = None
    path: str | None = None
    data: str | None = None
    place: str | None = None
    query_scores: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False)


def averages(results: Iterable[Result], *, over_types: bool = False) -> dict[Mode, float]:
    """Return the mean score of each mode over the sets of ``results``, with the same rules as `retention`.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    return _means(results, _scores, over_types)


def retention(results: Iterable[Result], *, over_types: bool = False) -> dict[Mode, float]:
    """Return the mean score of each mode of the student divided by the teacher's mean score, in percent.

    The result is the retention of the averages, not the average of the retentions. A task without queries and documents
    counts in asymmetric mode with its standard score (paper Table 3). The result omits a mode unless the mode and the
    teacher were measured on every set of ``results``; for one set, pass the rows of that set. The result also omits a
    mode whose score is negative, and all modes if the teacher's score is below 1 percent: such ratios have no meaning.

    Args:
        results: Rows of one student and its teacher.
        over_types: Whether the mean is the mean over the means of the types of tasks.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    means = averages(results, over_types=over_types)
    if (teacher := means.get("teacher")) is None:
        return {}
    shares = {mode: retention_percent(means[mode], teacher) for mode in STUDENT_MODES if mode in means}
    return {mode: share for mode, share in shares.items() if share is not None}


def retention_intervals(results: Iterable[Result], *, over_types: bool = False) -> dict[Mode, tuple[float, float]]:
    """Return the 95 % intervals of the retentions that `retention` returns, in percent.

    The interval is the percentile interval of a paired bootstrap: the queries of each set are drawn again, the same for
    student and teacher, and the retention is computed from the new means (`leaf_st.evaluation.bootstrap`). The result
    omits a mode if the scores of the queries of a set are unknown, a set has one query, or the retention of a resample
    has no meaning.

    Args:
        results: As for `retention`.
        over_types: As for `retention`.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    from leaf_st.evaluation.bootstrap import ratio_interval  # imports NumPy, which `leaf-st --help` does not need

    means = _means(results, _resampled, over_types)
    if (teacher := means.get("teacher")) is None:
        return {}
    found = {mode: ratio_interval(means[mode], teacher, _SMALLEST) for mode in STUDENT_MODES if mode in means}
    return {mode: interval for mode, interval in found.items() if interval is not None}


def retention_percent(score: float, teacher: float) -> float | None:
    """Return a student's score divided by the teacher's score, in percent; None if the ratio has no meaning.

    The ratio has no meaning if the teacher's score is below 1 percent, or if the student's score is negative, as a
    correlation can be.
    """
    return 100 * score / teacher if teacher >= _SMALLEST and score >= 0 else None


def retention_text(share: float | None, interval: tuple[float, float] | None = None) -> str:
    """Return a retention in percent and its interval, if known, such as "98.9% (97.8 to 99.9)"; "-" if None."""
    if share is None:
        return "-"
    return f"{share:.1f}%" + ("" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})")


def comparable(results: Sequence[Result], mode: Mode) -> list[Result]:
    """Return the rows of the sets on which both the teacher and ``mode`` were measured."""
    known = {(row.set, row.mode) for row in _completed(results)}
    return [row for row in results if {(row.set, "teacher"), (row.set, mode)} <= known]


def write_results(path: Path, rows: Sequence[Result]) -> None:
    """Add ``rows`` to the JSON list in ``path``, which is created if it does not exist.

    A row replaces an older row of the same set, mode, metric and model, at the same position. Older rows of other data
    of the same set are removed, because a table would compare their scores with the scores of ``rows``.

    Raises:
        InputError: If the file exists and contains anything else.
    """
    before = read_rows(path, Result) if path.exists() else []
    current = {row.set: row.data for row in rows}
    outdated = [row for row in before if row.data is not None and row.data != current.get(row.set, row.data)]
    replaced = {(row.set, row.mode) for row in rows}
    if lost := sorted(f"{row.set} in {row.mode} mode" for row in outdated if (row.set, row.mode) not in replaced):
        _logger.warning("removed from %s, because the data of the set have changed: %s", path, ", ".join(lost))
    kept = [row for row in before if row not in outdated]
    merged = {(row.set, row.mode, row.metric, row.model): row for row in (*kept, *rows)}
    write_rows(path, list(merged.values()))


def remove_set(path: Path, name: str, modes: Sequence[Mode]) -> None:
    """Remove the rows of the set ``name`` in ``modes`` from the results in ``path``."""
    before = read_rows(path, Result)
    if (kept := [row for row in before if row.set != name or row.mode not in modes]) != before:
        write_rows(path, kept)


def require_same_models(path: Path, student: "Identity", teacher: "Identity | None") -> None:
    """Check that the results in ``path``, if the file exists, belong to these models.

    Raises:
        InputError: If the results belong to another student or teacher; one table would mix both.
    """
    for row in read_rows(path, Result) if path.exists() else []:
        pairs = [(row.teacher, row.teacher_revision, teacher)]
        if row.mode != "teacher":
            pairs.append((row.model, row.revision, student))
        for name, revision, now in pairs:
            if name is not None and now is not None and not (name == now.name and now.has_revision(revision)):
                raise InputError(f"{path} contains results of {name} ({revision}), not of {now}: name another --output")


def require_same_set(path: Path, name: str, kind: str, place: Path | None) -> None:
    """Check that all results in ``path``, if the file exists, under the name of a set belong to this set.

    Args:
        path: File of the results.
        name: Name of the set.
        kind: mteb's type of the set.
        place: Path of a local set.

    Raises:
        InputError: If the results belong to another set, which exists, or to a set of another type.
    """
    for row in read_rows(path, Result) if path.exists() else []:
        if row.set != name:
            continue
        known = path.parent / row.place if row.place else Path(row.path) if row.path else None
        is_elsewhere = known and place and known.exists() and not place.samefile(known)
        if row.type != kind or is_elsewhere:
            raise InputError(
                f"{path} contains results of another set with the name {name} ({row.path or f'of type {row.type}'}): "
                "name another --output, or rename one of the sets"
            )


def by_type(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the rows by type of task."""
    types: dict[str, list[Result]] = {}
    for row in rows:
        types.setdefault(row.type, []).append(row)
    return types


def _completed(rows: Sequence[Result]) -> list[Result]:
    """Return ``rows``, with the standard rows repeated as asymmetric rows for tasks without an asymmetric mode."""
    if not any(row.mode == "asymmetric" for row in rows):
        return list(rows)
    same = [row for row in rows if row.mode == "standard" and row.type not in TWO_SIDED]
    return [*rows, *(replace(row, mode="asymmetric") for row in same)]


def _means(
    results: Iterable[Result], scores_of: Callable[[Sequence[Result]], dict[Mode, dict[str, V]]], over_types: bool
) -> dict[Mode, V]:
    """Return the mean of each mode that was measured on every set, or for every type on every set of the type."""
    rows = _completed(list(results))
    groups = list(by_type(rows).values()) if over_types else [rows]
    means = [_over_sets(scores_of(group)) for group in groups]
    return {
        mode: _mean([of_group[mode] for of_group in means])
        for mode in ROLES
        if means and all(mode in of_group for of_group in means)
    }


def _over_sets(scores: dict[Mode, dict[str, V]]) -> dict[Mode, V]:
    sets = {name for of_mode in scores.values() for name in of_mode}
    return {mode: _mean(list(of_mode.values())) for mode, of_mode in scores.items() if of_mode.keys() == sets}


def _mean(values: Sequence[V]) -> V:
    return reduce(add, values) / len(values)


def _scores(rows: Sequence[Result]) -> dict[Mode, dict[str, float]]:
    """Return the scores by mode and set."""
    return _by_mode(rows, lambda row: row.score)


def _resampled(rows: Sequence[Result]) -> "dict[Mode, dict[str, NDArray[np.float64]]]":
    """Return the scores of the resamples by mode and set: NaN if unknown, or if modes of a set have other queries."""
    from leaf_st.evaluation.bootstrap import resampled_means

    sizes: dict[str, set[tuple[int, ...]]] = {}
    for row in rows:
        if row.query_scores is not None:
            sizes.setdefault(row.set, set()).add(tuple(map(len, row.query_scores)))
    paired = {name for name, found in sizes.items() if len(found) == 1}
    return _by_mode(rows, lambda row: resampled_means(row.set, row.query_scores if row.set in paired else None))


def _by_mode(rows: Sequence[Result], value: Callable[[Result], V]) -> dict[Mode, dict[str, V]]:
    found: dict[Mode, dict[str, V]] = {}
    for row in rows:
        of_mode = found.setdefault(row.mode, {})
        if row.set in of_mode:
            raise InputError(
                f"{row.set} was measured twice in mode {row.mode}: expected the rows of one student and its teacher: "
                "remove the rows of other students"
            )
        of_mode[row.set] = value(row)
    return found
