"""Task results as tables: scores and retention of one student, a line per task and per mean."""

from collections.abc import Iterable, Sequence

from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.evaluation.results import (
    TWO_SIDED,
    Result,
    averages,
    by_type,
    retention,
    retention_intervals,
    retention_text,
)
from leaf_st.tables import aligned

HEADER = ["task", "metric", *ROLES, *(f"{mode} retention" for mode in STUDENT_MODES)]


def format_table(rows: Sequence[Result]) -> str:
    """Return scores and retention of one student as an aligned table, like the paper's Tables 2, 3 and 7.

    The table has a line per task. Several types of tasks add a line per type and the mean over the types ("Avg." of
    Table 3). Several tasks add the mean over the tasks ("Avg. (Datasets)"). The last line is the encoding time on the
    tasks that all modes share. The retention of a mean is the retention of the means (see `retention`). The cell "-"
    marks a missing value, or the mean of a mode that was not measured on every set. A retention stands before its 95 %
    interval, if there is one (see `retention_intervals`).

    Raises:
        InputError: If the rows belong to more than one student or teacher.
    """
    lines = [HEADER, *task_lines(rows), *mean_lines(rows)]
    if seconds := _seconds(rows):
        lines.append(seconds)
    notes = [note for note in (interval_note(rows), one_sided_note(rows)) if note]
    return "\n".join([aligned(lines, left=2), *notes])


def task_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of a line per task below `HEADER`, grouped by type."""
    return [
        _line(name, of_task[0].metric, of_task)
        for of_type in by_type(rows).values()
        for name in dict.fromkeys(row.set for row in of_type)
        for of_task in [[row for row in of_type if row.set == name]]
    ]


def mean_lines(rows: Sequence[Result]) -> list[list[str]]:
    """Return the cells of the means below `HEADER`: of each type and over several types, and of all tasks."""
    types, lines = by_type(rows), []
    if len(types) > 1:
        lines += [_line(_counted(kind, of_type), "", of_type) for kind, of_type in types.items()]
        lines.append(_line(f"mean of {len(types)} types", "", rows, over_types=True))
    if (count := _count(rows)) > 1:
        lines.append(_line(f"mean of {count} tasks", "", rows))
    return lines


def interval_note(rows: Sequence[Result]) -> str:
    """Return a note on the intervals of retention; empty if no task has one."""
    sets = dict.fromkeys(row.set for row in rows)
    if not any(retention_intervals(row for row in rows if row.set == name) for name in sets):
        return ""
    return "in brackets: the 95 % interval over the queries (paired bootstrap)"


def one_sided_note(rows: Sequence[Result]) -> str:
    """Return a note on the types of tasks that have no asymmetric mode; empty if all have one."""
    kinds = [kind for kind in by_type(rows) if kind not in TWO_SIDED]
    if not kinds or not any(row.teacher for row in rows):
        return ""
    return (
        f"{', '.join(kinds)}: no queries and documents, so no asymmetric mode; "
        "means of asymmetric mode use the standard scores (paper Table 3)"
    )


def _line(name: str, metric: str, rows: Sequence[Result], *, over_types: bool = False) -> list[str]:
    scores = averages(rows, over_types=over_types)
    kept, intervals = retention(rows, over_types=over_types), retention_intervals(rows, over_types=over_types)
    cells = [f"{scores[mode]:.2f}" if mode in scores else "-" for mode in ROLES]
    return [name, metric, *cells, *(retention_text(kept.get(mode), intervals.get(mode)) for mode in STUDENT_MODES)]


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
