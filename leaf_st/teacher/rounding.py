"""The error of a teacher that embeds in a lower precision than float32, measured on the first texts of a store.

Most models lose 1 % in bfloat16. Some lose a third, and a student would learn these errors without a sign.
"""

import logging
from pathlib import Path

import numpy as np

from leaf_st.sealed import write_sealed
from leaf_st.teacher.embed import embed_rows
from leaf_st.teacher.protocol import Rounded, Targets
from leaf_st.teacher.store import FINGERPRINT, ROUNDING, read_header
from leaf_st.texts import Text

_TEXTS = 256
_LARGEST = 0.02  # twice the distance of all-MiniLM-L6-v2

_logger = logging.getLogger(__name__)


def record_rounding(folder: Path, teacher: Targets, rows: list[Text]) -> None:
    """Write the distance of the teacher's vectors to float32 to the header of the store ``folder``, unless it is there.

    A distance above 0.02 is logged as a warning.

    Args:
        folder: The store.
        teacher: The teacher, in the precision in which it embeds.
        rows: The first texts of the store; at most 256 are embedded.
    """
    header = read_header(folder)
    if header[ROUNDING] is not None or not isinstance(teacher, Rounded) or (precise := teacher.in_float32()) is None:
        return
    vectors, exact = (embed_rows(each, rows[:_TEXTS]) for each in (teacher, precise))
    distances, norms = np.linalg.norm(vectors - exact, axis=1), np.linalg.norm(exact, axis=1)
    if not norms.any():  # the texts have no known tokens; `require_different` raises the error
        return
    found = round(float(distances.mean() / norms.mean()), 4)
    write_sealed(folder / FINGERPRINT, {**header, ROUNDING: found})
    if not found <= _LARGEST:  # also if a vector is not finite
        _logger.warning(
            "teacher %s: expected vectors within %g of its vectors in float32, found a mean distance of %g in %s (%d "
            "texts, relative to the norm): set teacher.precision=float32, or accept that the student learns this error",
            *(teacher.fingerprint.teacher, _LARGEST, found, teacher.fingerprint.precision, len(distances)),
        )
