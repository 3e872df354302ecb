"""Retries of calls to a server that fail for a temporary reason, after growing pauses."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSES: tuple[float, ...] = (1, 2, 4, 8, 16, 32)  # seconds

_logger = logging.getLogger(__name__)


def retry(call: Callable[[], T], temporary_reason: Callable[[Exception], tuple[str, float] | None]) -> T:
    """Return the result of ``call``, which is repeated while it fails for a temporary reason.

    Args:
        call: The call, which must be safe to repeat.
        temporary_reason: Function that returns why an error of ``call`` is temporary, and the pause in seconds that the
            server requests; None if the error is permanent.

    Raises:
        Exception: The last error of ``call``, or its first error that is not temporary.
    """
    for pause in PAUSES:
        try:
            return call()
        except Exception as error:
            temporary = temporary_reason(error)
            if temporary is None:
                raise
            reason, requested = temporary
        pause = max(pause, requested)
        _logger.warning("%s: next attempt in %g seconds", reason, pause)
        time.sleep(pause)
    return call()
