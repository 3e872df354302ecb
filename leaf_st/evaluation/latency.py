"""How fast models encode, measured side by side: machines change their speed from minute to minute."""

import statistics
import time
from collections.abc import Mapping, Sequence

from sentence_transformers import SentenceTransformer


def encode_speed(
    models: Mapping[str, SentenceTransformer], texts: Sequence[str], rounds: int = 3, batch_size: int = 32
) -> dict[str, float]:
    """Return texts per second of each model: the median over ``rounds``, in each of which all take their turn.

    Batches as sentence-transformers makes them, of 32 by default; a first short turn that does not count warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        model.encode(list(texts[:32]), batch_size=batch_size, show_progress_bar=False)
    for _ in range(rounds):
        for name, model in models.items():
            started = time.perf_counter()
            model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / statistics.median(times) for name, times in seconds.items()}
