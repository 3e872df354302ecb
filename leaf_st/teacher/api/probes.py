"""Probe texts: an API that gives other vectors for these texts than before has changed its model."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError

PROBES = (
    "a",
    "photosynthesis",
    "What is the capital of Morocco?",
    "how do vaccines work",
    "The treaty was signed in 1648 and ended the war.",
    "def add(a, b):\n    return a + b",
    "Ein kurzer Satz auf Deutsch.",
    "今天天气很好。",
    "An electron has a negative charge; a proton has a positive charge of the same size.",
    "Prices rose by 3.5 % in 2021, after a fall of 1.2 % in the year before.",
    "MARRAKESH marrakesh Marrakesh",
    "https://example.org/page?id=12",
    "Mix flour, eggs and milk, let the batter rest for half an hour, and bake thin pancakes in butter.",
    "The defendant appealed against the judgment on the ground that the evidence had not been disclosed in time.",
    "Solve x^2 - 5x + 6 = 0.",
    "Short and long texts alike. " * 8,
)
PROBES_HASH = hashlib.sha256("\0".join(PROBES).encode()).hexdigest()[:8]
# Largest L2 distance between the vectors of a probe, relative to their norm, that is no change of the model. A server
# in bfloat16 gives vectors that differ by 0.01 from batch to batch.
_DRIFT = 0.03


def require_same_vectors(before: NDArray[np.float32], now: NDArray[np.float32], when: str) -> None:
    """Compare the vectors of the probes with the vectors of an earlier time, both of shape (probes, d).

    Args:
        before: The earlier vectors.
        now: The present vectors.
        when: The earlier time in words, for errors.

    Raises:
        InputError: If the vectors differ by more than rounding. The error shows both.
    """
    if now.shape != before.shape:
        raise InputError(
            f"the API gave vectors of {before.shape[1]} dimensions {when}, now {now.shape[1]}: name another output "
            "folder to embed all texts with the present model"
        )
    distances = np.linalg.norm(now - before, axis=1) / np.linalg.norm(before, axis=1)
    worst = int(distances.argmax())
    if distances[worst] > _DRIFT:
        first, last = (np.round(vectors[worst, :3], 4).tolist() for vectors in (before, now))
        raise InputError(
            f"the API's model has changed: the vector of {PROBES[worst][:40]!r} began with {first} {when}, now with "
            f"{last}, a relative L2 distance of {distances[worst]:.3f} (rounding explains {_DRIFT}); name another "
            "output folder to embed all texts with the present model, or name the earlier one in teacher.api.model"
        )
