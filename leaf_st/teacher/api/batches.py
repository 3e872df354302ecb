"""The texts of each request to an embedding API."""

import numpy as np
from numpy.typing import NDArray

_FEWEST_ITEMS = 16  # a request with fewer texts wastes the time of a server that computes in batches


def plan_requests(tokens: NDArray[np.int64], at_once: int, max_items: int, max_tokens: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of the texts of each request: texts of similar length, within both maximums.

    Args:
        tokens: Number of tokens of each text, shape (n,).
        at_once: Number of requests that are sent at the same time.
        max_items: Maximum number of texts in a request.
        max_tokens: Maximum number of tokens in a request; a longer text has a request of its own.
    """
    order = np.argsort(tokens, kind="stable")[::-1]
    most_items = min(max_items, max(_FEWEST_ITEMS, -(-len(order) // at_once)))
    batches: list[list[int]] = []
    room = 0
    for row in order.tolist():
        if not batches or len(batches[-1]) == most_items or tokens[row] > room:
            batches.append([])
            room = max_tokens
        batches[-1].append(row)
        room -= int(tokens[row])
    return [np.array(batch, dtype=np.int64) for batch in batches]
