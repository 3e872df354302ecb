"""Rows of timed batches, and the speeds computed from them, next to the paper's Table 8."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leaf_st.recipe import Kind
from leaf_st.zoo import ARCTIC, MXBAI

SLOWEST = 0.1  # seconds until a user feels a wait (paper G)
PAPER_BACKEND = "paper, ONNX, i3.large"  # the backend of the paper's rows


@dataclass(frozen=True)
class LatencyRow:
    """The batches of one size that one model encoded on one backend.

    Attributes:
        model: Name of the model.
        teacher: Name of the model that it is compared with; a teacher is compared with itself.
        backend: What ran the model, such as "torch float32", or the name of an export form.
        side: Queries or documents.
        batch_size: Texts per batch.
        seconds: Time of each batch, from texts to vectors.
        tokens: Tokens that the model reads per text, prompt included: the mean over the texts of all batch sizes.
        parameters: Number of weights.
        random_weights: Whether the weights are random.
        device: Device type in torch, such as "cpu".
        processor: The system's name of the processor.
        threads: Threads of torch and onnxruntime on the CPU.
        texts: Source of the texts; None if unknown.
    """

    model: str
    teacher: str
    backend: str
    side: Kind
    batch_size: int
    seconds: Sequence[float]
    tokens: float
    parameters: int
    random_weights: bool
    device: str
    processor: str
    threads: int
    texts: str | None = None

    def __post_init__(self) -> None:
        """Make rows that were read from JSON equal to the rows that were written."""
        object.__setattr__(self, "seconds", tuple(self.seconds))


@dataclass(frozen=True)
class Speed:
    """How fast a model encodes one side on one backend.

    Attributes:
        model: Name of the model.
        backend: What ran the model.
        side: Queries or documents.
        rate: Texts per second.
        rate_deviation: Standard deviation of the rate over all batches of all sizes.
        speedup: Rate divided by the teacher's rate on the same backend; None if the teacher was not timed on it.
        latency: Seconds of the fastest batch size, usually 1.
        latency_deviation: Standard deviation of the latency over the batches of that size.
        most: Largest batch size within `SLOWEST`; None if a single text takes longer.
    """

    model: str
    backend: str
    side: Kind
    rate: float
    rate_deviation: float
    speedup: float | None
    latency: float
    latency_deviation: float
    most: int | None


# arXiv 2509.12539, Table 8: two vCPUs of an AWS EC2 i3.large, ONNX Runtime, texts of MS MARCO.
PAPER_TABLE_8 = (
    Speed(ARCTIC.hub_id, PAPER_BACKEND, "document", 3.2, 0.8, 1, 0.191, 0.0526, None),
    Speed(ARCTIC.hub_id, PAPER_BACKEND, "query", 16.7, 1.4, 1, 0.0732, 0.0058, 1),
    Speed("leaf-ir", PAPER_BACKEND, "document", 21.9, 5.5, 6.5, 0.0282, 0.00969, 2),
    Speed("leaf-ir", PAPER_BACKEND, "query", 121.3, 14.0, 7.3, 0.0114, 0.00138, 8),
    Speed(MXBAI.hub_id, PAPER_BACKEND, "document", 0.9, 0.2, 1, 0.834, 0.298, None),
    Speed(MXBAI.hub_id, PAPER_BACKEND, "query", 4.9, 0.4, 1, 0.236, 0.0185, None),
    Speed("leaf-mt", PAPER_BACKEND, "document", 21.4, 5.8, 24.4, 0.0392, 0.0102, 2),
    Speed("leaf-mt", PAPER_BACKEND, "query", 117.0, 15.9, 23.7, 0.0115, 0.0012, 8),
)


def speeds(rows: Sequence[LatencyRow]) -> list[Speed]:
    """Return the speed of each model, backend and side, in the order of ``rows``.

    The time of a batch size is the median over its batches. The rate is the mean over the batch sizes of size divided
    by time. The paper computes it in the same way, but with the mean over the batches.
    """
    found: dict[tuple[str, str, Kind], list[LatencyRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.backend, row.side), []).append(row)
    rates = {key: _rate(of_key) for key, of_key in found.items()}
    return [_speed(of_key, rates[key], rates.get((of_key[0].teacher, key[1], key[2]))) for key, of_key in found.items()]


def _rate(rows: Iterable[LatencyRow]) -> float:
    return statistics.fmean(row.batch_size / statistics.median(row.seconds) for row in rows)


def _speed(rows: Sequence[LatencyRow], rate: float, teacher_rate: float | None) -> Speed:
    fastest = min(rows, key=lambda row: statistics.median(row.seconds))
    return Speed(
        model=fastest.model,
        backend=fastest.backend,
        side=fastest.side,
        rate=rate,
        rate_deviation=statistics.pstdev(row.batch_size / spent for row in rows for spent in row.seconds),
        speedup=None if teacher_rate is None else rate / teacher_rate,
        latency=statistics.median(fastest.seconds),
        latency_deviation=statistics.pstdev(fastest.seconds),
        most=max((row.batch_size for row in rows if statistics.median(row.seconds) <= SLOWEST), default=None),
    )
