"""Measurements as rows: a JSON file that grows, retention (contract 10), and the table in the terminal."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from leaf_st.atomic import write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.modes import ROLES, Mode

NDCG = "ndcg_at_10"
STUDENT_MODES: tuple[Mode, ...] = ("standard", "asymmetric")


@dataclass(frozen=True)
class Result:
    """One measurement.

    Attributes:
        set: Name of the set.
        mode: Who embedded queries and documents.
        metric: Name of the metric, as mteb spells it.
        score: The metric in percent, 0 to 100, not rounded.
        model: Name or path of the model that was measured: the student, or the teacher in mode "teacher".
        teacher: Name or path of the teacher; None where none took part.
        seconds: Time that encoding took for this mode, as if no other mode had shared it.
        queries: Number of queries.
        documents: Number of documents.
    """

    set: str
    mode: Mode
    metric: str
    score: float
    model: str
    teacher: str | None
    seconds: float
    queries: int
    documents: int


def retention(results: Iterable[Result]) -> dict[Mode, float]:
    """Return the mean nDCG@10 of each mode of the student over the teacher's mean, in percent.

    It is the retention of the averages, not the average of the retentions. A mode is left out unless it and
    the teacher were measured on every set of ``results``; for one set, pass the rows of that set.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    averages = _averages(_scores(results))
    theirs = averages.get("teacher")
    if not theirs:
        return {}
    return {mode: 100 * averages[mode] / theirs for mode in STUDENT_MODES if mode in averages}


def read_results(path: Path) -> list[Result]:
    """Return the rows of a results file.

    Raises:
        InputError: If the file is missing or holds something else.
    """
    try:
        return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"results {path}: expected a JSON list of measurements: {error}") from error


def write_results(path: Path, rows: Sequence[Result]) -> None:
    """Add ``rows`` to the JSON list in ``path``, made if absent.

    A row replaces an older one of the same set, mode, metric and model, and takes its place.

    Raises:
        InputError: If the file is there and holds something else.
    """
    before = read_results(path) if path.exists() else []
    merged = {(row.set, row.mode, row.metric, row.model): row for row in (*before, *rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(row) for row in merged.values()])


def format_table(rows: Sequence[Result]) -> str:
    """Return nDCG@10 and retention of one student as an aligned table, one line per set, the average last.

    The average line holds the means of the scores, and the retention of these means (see `retention`). What
    was not measured is "-", as is the average of a mode that was not measured on every set.

    Raises:
        InputError: If the rows are of more than one student or teacher.
    """
    header = ["set", *ROLES, *(f"{mode} retention" for mode in STUDENT_MODES)]
    lines = [header]
    for name in dict.fromkeys(row.set for row in rows if row.metric == NDCG):
        lines.append(_line(name, [row for row in rows if row.set == name]))
    lines.append(_line("average", rows))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _line(name: str, rows: Sequence[Result]) -> list[str]:
    averages, retained = _averages(_scores(rows)), retention(rows)
    scores = [f"{averages[mode]:.2f}" if mode in averages else "-" for mode in ROLES]
    return [name, *scores, *(f"{retained[mode]:.1f}%" if mode in retained else "-" for mode in STUDENT_MODES)]


def _scores(rows: Iterable[Result]) -> dict[Mode, dict[str, float]]:
    """Return nDCG@10 by mode and set."""
    scores: dict[Mode, dict[str, float]] = {}
    for row in rows:
        if row.metric != NDCG:
            continue
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
