"""What an embedding API was asked, for the log, the budget and the price."""

import statistics
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Usage:
    """What an API was asked.

    Attributes:
        requests: Number of successful requests.
        tokens: Number of tokens that the API counted, or the estimate if the API does not count.
        estimated: The estimate for the same requests.
        refused: Number of responses with status 429.
        seconds: Latency of each request.
        reserved: The estimate for texts that other processes are embedding.
    """

    requests: int = 0
    tokens: int = 0
    estimated: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    reserved: int = 0

    @property
    def tokens_per_estimate(self) -> float:
        """The API's tokens for each estimated token; 1 before the first request."""
        return self.tokens / self.estimated if self.estimated else 1.0

    def add(self, other: "Usage") -> None:
        """Add what another process asked."""
        self.requests += other.requests
        self.tokens += other.tokens
        self.estimated += other.estimated
        self.refused += other.refused
        self.seconds += other.seconds

    def add_lost(self, estimated: int) -> None:
        """Add texts that a process may have sent before its end, by their estimate."""
        self.tokens += round(estimated * max(1.0, self.tokens_per_estimate))
        self.estimated += estimated

    def since(self, earlier: "Usage") -> "Usage":
        """Return what was asked since ``earlier``, an older copy of this object."""
        return Usage(
            self.requests - earlier.requests,
            self.tokens - earlier.tokens,
            self.estimated - earlier.estimated,
            self.refused - earlier.refused,
            self.seconds[earlier.requests :],
        )

    def __str__(self) -> str:
        latency = statistics.median(self.seconds) if self.seconds else 0.0
        storms = f", {self.refused:,} more were answered with 429" if self.refused else ""
        return f"{self.requests:,} requests, {self.tokens:,} tokens, median latency {latency:.2f} s{storms}"


@dataclass(frozen=True)
class Report:
    """What a process tells the process that keeps the budget.

    Attributes:
        usage: What the process asked since its last report.
        probes: The vectors of the probe texts, shape (probes, d).
    """

    usage: Usage
    probes: NDArray[np.float32]
