"""The measured runs from which `leaf-st screen` predicts: ``measured_runs.json`` beside this module."""

from dataclasses import dataclass
from pathlib import Path

from leaf_st.evaluation.rows import read_rows

MEASURED_RUNS = Path(__file__).with_name("measured_runs.json")


@dataclass(frozen=True)
class MeasuredRun:
    """A finished training: one learning rate cycle over all of its steps.

    Attributes:
        teacher: Name of the teacher.
        student: The untrained student, such as "layers 0, 4, 5 of all-MiniLM-L6-v2".
        layers: Number of encoder layers of the student.
        dimension: Width of the teacher's vectors.
        spread: Root mean square of the distance of the teacher's vectors to their mean.
        start_rows: Number of texts that the closed-form map was fitted on.
        start_r2: Share of the variance of the held-out vectors that the closed-form map explains.
        start_l2: Mean L2 of the closed-form map on the held-out texts.
        start_agreement: Agreement@10 of the closed-form map in percent.
        texts: Number of training texts; None if it is not documented.
        steps: Optimizer steps.
        batch_size: Texts per step.
        l2: Mean L2 on the held-out texts after training.
        agreement: Agreement@10 after training in percent, on the texts of ``start_agreement``; None if not measured.
        retention: The share of the teacher's nDCG@10 that the student keeps in asymmetric mode, in percent, mean over
            retrieval sets; None if not measured.
        source: Where the measurement is documented.
    """

    teacher: str
    student: str
    layers: int
    dimension: int
    spread: float
    start_rows: int
    start_r2: float
    start_l2: float
    start_agreement: float
    texts: int | None
    steps: int
    batch_size: int
    l2: float
    agreement: float | None
    retention: float | None
    source: str

    @property
    def samples(self) -> int:
        """Number of training samples; a text counts once per epoch."""
        return self.steps * self.batch_size


def measured_runs(path: Path = MEASURED_RUNS) -> list[MeasuredRun]:
    """Return the runs in the file ``path``.

    Raises:
        InputError: If the file is missing or contains anything else.
    """
    return read_rows(path, MeasuredRun)
