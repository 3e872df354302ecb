"""Task results: rows in a JSON file that grows, averages, retention, and the table in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES, Mode
from leaf_st.evaluation.rows import read_rows
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from leaf_st.models.identity import Identity

TASKS_FILE = "tasks.json"  # the file of the rows in a results folder
NDCG = "ndcg_at_10"
# mteb's types of tasks with queries and documents: only these have an asymmetric mode (paper 3.2)
TWO_SIDED = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
# Teacher's score in percent below which a ratio is noise: scores of 4 and 0.3 would give a retention of 1333 %.
_SMALLEST = 1.0
HEADER = ["task", "metric", *ROLES, *(f"{mode} retention" for mode in STUDENT_MODES)]


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
        path: Path of a local set; None for mteb's own tasks, or if unknown.
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


def retention(results: Iterable[Result]) -> dict[Mode, float]:
    """Return the mean score of each mode of the student divided by the teacher's mean score, in percent.

    The result is the retention of the averages, not the average of the retentions. A task without queries and documents
    counts in asymmetric mode with its standard score (paper Table 3). The result omits a mode unless the mode and the
    teacher were measured on every set of ``results``; for one set, pass the rows of that set. The result also omits a
    mode whose score is negative, and all modes if the teacher's score is below 1 percent: such ratios have no meaning.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    return _retained(averages(list(results)))


def retention_percent(score: float, teacher: float) -> float | None:
    """Return a student's score divided by the teacher's score, in percent; None if the ratio has no meaning.

    The ratio has no meaning if the teacher's score is below 1 percent, or if the student's score is negative, as a
    correlation can be.
    """
    return 100 * score / teacher if teacher >= _SMALLEST and score >= 0 else None


def averages(results: Sequence[Result]) -> dict[Mode, float]:
    """Return the mean score of each mode over the sets of ``results``, with the same rules as `retention`.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    return _averages(_scores(_completed(results)))


def comparable(results: Sequence[Result], mode: Mode) -> list[Result]:
    """Return the rows of the sets on which both the teacher and ``mode`` were measured."""
    known = {(row.set, row.mode) for row in _completed(results)}
    return [row for row in results if {(row.set, "teacher"), (row.set, mode)} <= known]


def write_results(path: Path, rows: Sequence[Result]) -> None:
    """Add ``rows`` to the JSON list in ``path``, which is created if it does not exist.

    A row replaces an older row of the same set, mode, metric and model, at the same position.

    Raises:
        InputError: If the file exists and contains anything else.
    """
    before = read_rows(path, Result) if path.exists() else []
    merged = {(row.set, row.mode, row.metric, row.model): row for row in (*before, *rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in merged.values()])


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
            if name is not None and now is not None and (name, revision) != (now.name, now.revision):
                raise InputError(f"{path} contains results of {name} ({revision}), not of {now}: name another --output")


def format_table(rows: Sequence[Result]) -> str:
    """Return scores and retention of one student as an aligned table, like the paper's Tables 2, 3 and 7.

    The table has a line per task. Several types of tasks add a line per type and the mean over the types ("Avg." of
    Table 3). Several tasks add the mean over the tasks ("Avg. (Datasets)"). The last line is the encoding time on the
    tasks that all modes share. The retention of a mean is the retention of the means (see `retention`). The cell "-"
    marks a missing value, or the mean of a mode that was not measured on every set.

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    lines = [HEADER, *task_lines(rows), *mean_lines(rows)]
    if seconds := _seconds(rows):
        lines.append(seconds)
    note = one_sided_note(rows)
    return "\n".join([aligned(lines, left=2), *([note] if note else [])])


def task_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of a line per task below `HEADER`, grouped by type."""
    return [
        _line(name, of_task[0].metric, _averages(_scores(of_task)))
        for of_type in by_type(rows).values()
        for name in dict.fromkeys(row.set for row in of_type)
        for of_task in [[row for row in of_type if row.set == name]]
    ]


def mean_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of the means below `HEADER`: of each type and over several types, and of all tasks."""
    types, lines = by_type(rows), []
    if len(types) > 1:
        lines += [_line(_counted(kind, of_type), "", _averages(_scores(of_type))) for kind, of_type in types.items()]
        lines.append(_line(f"mean of {len(types)} types", "", _mean_over_types(rows)))
    if (count := _count(rows)) > 1:
        lines.append(_line(f"mean of {count} tasks", "", averages(rows)))
    return lines


def by_type(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the rows by type of task."""
    types: dict[str, list[Result]] = {}
    for row in rows:
        types.setdefault(row.type, []).append(row)
    return types


def one_sided_note(rows: Sequence[Result]) -> str:
    """Return a note on the types of tasks that have no asymmetric mode; empty if all have one."""
    kinds = [kind for kind in by_type(rows) if kind not in TWO_SIDED]
    if not kinds or not any(row.teacher for row in rows):
        return ""
    return (
        f"{', '.join(kinds)}: no queries and documents, so no asymmetric mode; "
        "means of asymmetric mode use the standard scores (paper Table 3)"
    )


def _line(name: str, metric: str, scores: Mapping[Mode, float]) -> list[str]:
    retained = _retained(scores)
    cells = [f"{scores[mode]:.2f}" if mode in scores else "-" for mode in ROLES]
    return [name, metric, *cells, *(f"{retained[mode]:.1f}%" if mode in retained else "-" for mode in STUDENT_MODES)]


def _counted(kind: str, rows: Sequence[Result]) -> str:
    return f"{kind} ({_count(rows)})"


def _count(rows: Iterable[Result]) -> int:
    return len({row.set for row in rows})


def _seconds(rows: Sequence[Result]) -> list[str]:
    """Return the line of the encoding times on the tasks that were measured in every mode of ``rows``."""
    modes = [mode for mode in ROLES if any(row.mode == mode for row in rows)]
    names = [{row.set for row in rows if row.mode == mode} for mode in modes]
    common = set.intersection(*names)
    if not common:
        return []
    cells = []
    for mode in ROLES:
        spent = [row.seconds for row in rows if row.mode == mode and row.set in common]
        known = [seconds for seconds in spent if seconds is not None]
        cells.append(f"{sum(known):.1f}" if spent and len(known) == len(spent) else "-")
    label = "seconds" if len(common) == _count(rows) else f"seconds, {len(common)} tasks"
    return [label, "", *cells, *[""] * len(STUDENT_MODES)]


def _completed(rows: Sequence[Result]) -> list[Result]:
    """Return ``rows``, with the standard rows repeated as asymmetric rows for tasks without an asymmetric mode."""
    if not any(row.mode == "asymmetric" for row in rows):
        return list(rows)
    same = [row for row in rows if row.mode == "standard" and row.type not in TWO_SIDED]
    return [*rows, *(replace(row, mode="asymmetric") for row in same)]


def _mean_over_types(rows: Sequence[Result]) -> dict[Mode, float]:
    """Return the mean over the means of the types, for each mode that all types have."""
    rows = _completed(rows)
    kinds = dict.fromkeys(row.type for row in rows)
    averages = [_averages(_scores(row for row in rows if row.type == kind)) for kind in kinds]
    return {
        mode: sum(of_type[mode] for of_type in averages) / len(averages)
        for mode in ROLES
        if all(mode in of_type for of_type in averages)
    }


def _retained(averages: Mapping[Mode, float]) -> dict[Mode, float]:
    if (teacher := averages.get("teacher")) is None:
        return {}
    shares = {mode: retention_percent(averages[mode], teacher) for mode in STUDENT_MODES if mode in averages}
    return {mode: share for mode, share in shares.items() if share is not None}


def _scores(rows: Iterable[Result]) -> dict[Mode, dict[str, float]]:
    """Return the scores by mode and set."""
    scores: dict[Mode, dict[str, float]] = {}
    for row in rows:
        of_mode = scores.setdefault(row.mode, {})
        if row.set in of_mode:
            raise InputError(
                f"{row.set} was measured twice in mode {row.mode}: expected the rows of one student and its teacher: "
                "remove the rows of other students"
            )
        of_mode[row.set] = row.score
    return scores


def _averages(scores: dict[Mode, dict[str, float]]) -> dict[Mode, float]:
    sets = {name for of_mode in scores.values() for name in of_mode}
    return {mode: sum(of_mode.values()) / len(of_mode) for mode, of_mode in scores.items() if of_mode.keys() == sets}
