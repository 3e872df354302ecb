"""Measurements as rows: a JSON file that grows, retention (contract 10), and the table in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, Mode
from leaf_st.evaluation.rows import read_rows
from leaf_st.models.identity import Identity

TASKS = "tasks.json"  # the file of the rows in a results folder
NDCG = "ndcg_at_10"
STUDENT_MODES: tuple[Mode, ...] = ("standard", "asymmetric")
# mteb's types of tasks with queries and documents, where asymmetric mode is another one (paper 3.2)
TWO_SIDED = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
HEADER = ["task", "metric", *ROLES, *(f"{mode} retention" for mode in STUDENT_MODES)]


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        set: Name of the set, or of mteb's task.
        mode: Who embedded queries and documents.
        metric: Name of the task's main metric, as mteb spells it.
        score: The metric in percent, 0 to 100, not rounded.
        model: Name of the model that was measured: the student, or the teacher in mode "teacher".
        teacher: Name of the teacher; None where none took part.
        seconds: Time that encoding took for this mode, as if no other mode had shared it; None if not known.
        queries: Number of queries; None where there are none, or if not known.
        documents: Number of documents; likewise.
        type: mteb's type of the task, such as "Retrieval" or "STS".
        revision: Hash of the model (`leaf_st.models.identity`).
        teacher_revision: Hash of the teacher.
        path: Where a set on this disk was found; None of mteb's own, or if not known.
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
    """Return the mean score of each mode of the student over the teacher's mean, in percent.

    It is the retention of the averages, not the average of the retentions. A task without queries and documents
    counts in asymmetric mode with its standard score (paper Table 3). A mode is left out unless it and the teacher
    were measured on every set of ``results``; for one set, pass the rows of that set.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    return _retained(averages(list(results)))


def averages(results: Sequence[Result]) -> dict[Mode, float]:
    """Return the mean score of each mode over the sets of ``results``, with the same rules as `retention`.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    return _averages(_scores(_completed(results)))


def comparable(results: Sequence[Result], mode: Mode) -> list[Result]:
    """Return the rows of the sets that teacher and ``mode`` have both been measured on."""
    known = {(row.set, row.mode) for row in _completed(results)}
    return [row for row in results if {(row.set, "teacher"), (row.set, mode)} <= known]


def write_results(path: Path, rows: Sequence[Result]) -> None:
    """Add ``rows`` to the JSON list in ``path``, made if absent.

    A row replaces an older one of the same set, mode, metric and model, and takes its place.

    Raises:
        InputError: If the file is there and holds something else.
    """
    before = read_rows(path, Result) if path.exists() else []
    merged = {(row.set, row.mode, row.metric, row.model): row for row in (*before, *rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in merged.values()])


def require_same_models(path: Path, student: Identity, teacher: Identity | None) -> None:
    """Look whether the results in ``path``, if it is there, are of these models.

    Raises:
        InputError: If they are of another student or teacher, so that one table of them would be of both.
    """
    for row in read_rows(path, Result) if path.exists() else []:
        pairs = [(row.teacher, row.teacher_revision, teacher)]
        if row.mode != "teacher":
            pairs.append((row.model, row.revision, student))
        for name, revision, now in pairs:
            if name is not None and now is not None and (name, revision) != (now.name, now.revision):
                raise InputError(f"{path} holds results of {name} ({revision}), not of {now}: name another --output")


def format_table(rows: Sequence[Result]) -> str:
    """Return scores and retention of one student as an aligned table, as the paper's Tables 2, 3 and 7.

    A line per task; then, of several types of tasks, a line per type, the mean over the types ("Avg." of Table 3) and
    the mean over the tasks ("Avg. (Datasets)"); then the seconds that encoding took, on the tasks that all modes have.
    The retention of a mean is that of the means (see `retention`). What was not measured is "-", as is the mean of a
    mode that was not measured on every set.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    lines = [HEADER, *task_lines(rows), *mean_lines(rows)]
    if seconds := _seconds(rows):
        lines.append(seconds)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        line[0].ljust(widths[0])
        + "  "
        + line[1].ljust(widths[1])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[2:], widths[2:], strict=True))
        for line in lines
    ]
    if note := one_sided(rows):
        table.append(note)
    return "\n".join(line.rstrip() for line in table)


def task_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of a line per task, by type, below `HEADER`."""
    return [
        _line(name, of_task[0].metric, _averages(_scores(of_task)))
        for of_type in by_type(rows).values()
        for name in dict.fromkeys(row.set for row in of_type)
        for of_task in [[row for row in of_type if row.set == name]]
    ]


def mean_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of the means, below `HEADER`: of several types a line per type and their mean, then of all."""
    types, lines = by_type(rows), []
    if len(types) > 1:
        lines += [_line(_counted(kind, of_type), "", _averages(_scores(of_type))) for kind, of_type in types.items()]
        lines.append(_line(f"mean of {len(types)} types", "", _mean_over_types(rows)))
    if (count := _count(rows)) > 1:
        lines.append(_line(f"mean of {count} tasks", "", averages(rows)))
    return lines


def by_type(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the rows of each type of tasks."""
    types: dict[str, list[Result]] = {}
    for row in rows:
        types.setdefault(row.type, []).append(row)
    return types


def one_sided(rows: Sequence[Result]) -> str:
    """Return what has to be said of the types that have no asymmetric mode; empty if there is nothing."""
    kinds = [kind for kind in by_type(rows) if kind not in TWO_SIDED]
    if not kinds or not any(row.teacher for row in rows):
        return ""
    return (
        f"{', '.join(kinds)}: no queries and documents, so no asymmetric mode; "
        "its means take the standard scores (paper Table 3)"
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
    """Return the line of the seconds, on the tasks that were measured in every mode of ``rows``."""
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
    """Return ``rows``, and those of standard mode as asymmetric ones where there is no such mode."""
    if not any(row.mode == "asymmetric" for row in rows):
        return list(rows)
    same = [row for row in rows if row.mode == "standard" and row.type not in TWO_SIDED]
    return [*rows, *(replace(row, mode="asymmetric") for row in same)]


def _mean_over_types(rows: Sequence[Result]) -> dict[Mode, float]:
    """Return the mean of each mode over the means of the types that all have it."""
    rows = _completed(rows)
    kinds = dict.fromkeys(row.type for row in rows)
    averages = [_averages(_scores(row for row in rows if row.type == kind)) for kind in kinds]
    return {
        mode: sum(of_type[mode] for of_type in averages) / len(averages)
        for mode in ROLES
        if all(mode in of_type for of_type in averages)
    }


def _retained(averages: Mapping[Mode, float]) -> dict[Mode, float]:
    theirs = averages.get("teacher")
    if not theirs or theirs < 0:  # a correlation can be
        return {}
    return {mode: 100 * averages[mode] / theirs for mode in STUDENT_MODES if mode in averages}


def _scores(rows: Iterable[Result]) -> dict[Mode, dict[str, float]]:
    """Return the scores by mode and set."""
    scores: dict[Mode, dict[str, float]] = {}
    for row in rows:
        of_mode = scores.setdefault(row.mode, {})
        if row.set in of_mode:
            raise InputError(
                f"{row.set} was measured twice in mode {row.mode}: expected the rows of one student and its teacher"
            )
        of_mode[row.set] = row.score
    return scores


def _averages(scores: dict[Mode, dict[str, float]]) -> dict[Mode, float]:
    sets = {name for of_mode in scores.values() for name in of_mode}
    return {mode: sum(of_mode.values()) / len(of_mode) for mode, of_mode in scores.items() if of_mode.keys() == sets}
