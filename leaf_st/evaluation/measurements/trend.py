"""Rows of measured checkpoints, and the line through them (paper 3.3)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import STUDENT_MODES, Mode

TEACHER_ROW: Literal["teacher"] = "teacher"  # the teacher's name as a checkpoint and as a mode
FEWEST = 3  # checkpoints: a line always fits two


@dataclass(frozen=True)
class Point:
    """A checkpoint, or the teacher.

    Attributes:
        checkpoint: Name of the checkpoint's folder, or "teacher".
        step: Optimizer step; None for the teacher.
        l2: Mean distance to the teacher's vectors of the held-out rows; 0 for the teacher.
        held_out: Number of held-out rows.
    """

    checkpoint: str
    step: int | None
    l2: float
    held_out: int


@dataclass(frozen=True)
class MarginRow(Point):
    """A checkpoint, or the teacher, on one set.

    Attributes:
        set: Name of the retrieval set.
        mode: The mode, which determines the models of queries and documents.
        score: nDCG@10 in percent.
    """

    set: str
    mode: Mode
    score: float


@dataclass(frozen=True)
class Trend:
    """The least-squares line through the points of one mode.

    Attributes:
        slope: Change of nDCG@10 in percent per unit of L2.
        intercept: nDCG@10 in percent at an L2 of 0.
        r: Pearson's correlation of L2 and nDCG@10.
        teacher: The teacher's nDCG@10 in percent.
        margin: L2 at which the line meets the teacher's score; None if this L2 is not above 0.
    """

    slope: float
    intercept: float
    r: float
    teacher: float
    margin: float | None


def trend(rows: Sequence[MarginRow], mode: Mode = "standard") -> Trend:
    """Return the line through the checkpoints, and the L2 at which it meets the teacher's score.

    Raises:
        InputError: If all checkpoints have the same L2.
    """
    errors, scores, teacher = l2_of_checkpoints(rows), mean_scores(rows, mode), mean_scores(rows, TEACHER_ROW)[0]
    if len(set(errors)) < 2:
        raise InputError(
            "margin: expected checkpoints of different L2, found the same L2: train with a learning rate above 0"
        )
    slope, intercept = statistics.linear_regression(errors, scores)
    return Trend(
        slope=slope,
        intercept=intercept,
        r=statistics.correlation(errors, scores) if len(set(scores)) > 1 else 0.0,
        teacher=teacher,
        margin=(teacher - intercept) / slope if slope < 0 and intercept > teacher else None,
    )


def rows_by_checkpoint(rows: Sequence[MarginRow], mode: Mode) -> dict[str, list[MarginRow]]:
    """Return the rows of ``mode`` by checkpoint, in the order of ``rows``."""
    found: dict[str, list[MarginRow]] = {}
    for row in rows:
        if row.mode == mode:
            found.setdefault(row.checkpoint, []).append(row)
    return found


def l2_of_checkpoints(rows: Sequence[MarginRow]) -> list[float]:
    """Return the mean L2 of each checkpoint, in the order of `rows_by_checkpoint`."""
    return [of_point[0].l2 for of_point in rows_by_checkpoint(rows, STUDENT_MODES[0]).values()]


def mean_scores(rows: Sequence[MarginRow], mode: Mode) -> list[float]:
    """Return each checkpoint's mean over the sets."""
    points = rows_by_checkpoint(rows, mode).values()
    return [statistics.fmean(row.score for row in of_point) for of_point in points]
