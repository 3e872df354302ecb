"""The measurement ``speed``: texts per second of student and teacher, which the demo measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaf_st.evaluation.measurements.measurement import Measurement, Section, Table
from leaf_st.tables import aligned


@dataclass(frozen=True)
class Rates:
    """Encoding speed of one side.

    Attributes:
        side: "queries" or "documents".
        teacher: Texts per second of the teacher.
        student: Texts per second of the student.
    """

    side: str
    teacher: float
    student: float

    def __post_init__(self) -> None:
        """Check that both rates are positive."""
        if not (self.teacher > 0 and self.student > 0):
            raise ValueError(f"expected rates above 0, found {self.teacher} and {self.student}")


def speed_lines(rows: Sequence[Rates]) -> list[list[str]]:
    """Return the rates and the speed-up as cells, a line per side."""
    lines = [
        [row.side, f"{row.teacher:,.1f}", f"{row.student:,.1f}", f"{row.student / row.teacher:.2f}x"] for row in rows
    ]
    return [["encoded per second", "teacher", "student", "speed-up"], *lines]


def _section(rows: Sequence[Rates]) -> Section:
    header, *lines = speed_lines(rows)
    text = "Student and teacher encode the same texts alternately, in batches of 32."
    return Section([text], tables=[Table("speed", header, lines)])


def _upgrade(found: Any) -> Any:  # noqa: ANN401  (JSON)
    """Convert the JSON of earlier versions, which held the rates by side."""
    if not isinstance(found, Mapping):
        return found
    return [{"side": side, **rates} if isinstance(rates, Mapping) else rates for side, rates in found.items()]


SPEED = Measurement(
    name="speed",
    row=Rates,
    title="Encoding speed",
    help="distil a small model on this machine and measure it",
    command=("demo",),
    table=lambda rows: aligned(speed_lines(rows)),
    section=_section,
    on_card=False,
    upgrade=_upgrade,
)
