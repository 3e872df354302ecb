"""What an embedding API was asked, for the log, the budget and the price."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Usage:
    """What an API was asked.

    Attributes:
        requests: Number of successful requests.
        tokens: Number of tokens that the API counted, or the estimate if the API does not count.
        estimated: The estimate for the same requests.
        refused: Number of responses with status 429.
        seconds: Latency of each request.
    """

    requests: int = 0
    tokens: int = 0
    estimated: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def tokens_per_estimate(self) -> float:
        """The API's tokens for each estimated token; 1 before the first request."""
        return self.tokens / self.estimated if self.estimated else 1.0

    def __str__(self) -> str:
        latency = statistics.median(self.seconds) if self.seconds else 0.0
        storms = f", {self.refused:,} more were answered with 429" if self.refused else ""
        return f"{self.requests:,} requests, {self.tokens:,} tokens, median latency {latency:.2f} s{storms}"
