"""Trying again, after growing pauses and with the reason said, what a hub refuses for a while only."""

import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TypeVar

from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it is built on
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from leaf_st.errors import InputError

T = TypeVar("T")

PAUSES: tuple[float, ...] = (1, 2, 4, 8, 16, 32)  # seconds
# Busy or out of order, and 409 and 412: somebody else wrote in between, so what was read before is read again.
PASSING = {408, 409, 412, 429, 500, 502, 503, 504}
# By name, since the HTTP library below the hub's client is its own affair: nobody answers at all, and a name that is
# wrong or a network that is off does not come by waiting.
_NOBODY = {"ConnectError", "ConnectTimeout", "ProxyError", "ConnectionRefusedError", "OfflineModeIsEnabled"}


def patiently(attempt: Callable[[], T]) -> T:
    """Return what ``attempt`` returns, called again as long as it fails for a reason that passes.

    The hub's client tries some of its calls again by itself, for a shorter while, but neither commits nor tags, nor
    the first question about a repository. So ``attempt`` must be something that can be done twice.

    Raises:
        Exception: What ``attempt`` raised last, or raised for a reason that does not pass.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except (InputError, OSError, HTTPError, RuntimeError) as error:
            passing = _passing(error)
            if passing is None:
                raise
            reason, asked = passing
        pause = max(pause, asked)
        print(f"{reason}: again in {pause:g} seconds", file=sys.stderr, flush=True)
        time.sleep(pause)
    return attempt()


def answers(error: BaseException) -> Iterator[tuple[BaseException, int | None]]:
    """Yield ``error`` and those that caused it, each with the status of the hub's answer, if it had one."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause, getattr(getattr(cause, "response", None), "status_code", None)
        cause = cause.__cause__


def _passing(error: BaseException) -> tuple[str, float] | None:
    """Return why ``error`` will pass and the seconds that the hub asks to wait; None if it will not."""
    for cause, status in answers(error):
        if status is not None:
            if status not in PASSING:
                return None
            headers = cause.response.headers  # type: ignore[attr-defined]
            limit = parse_ratelimit_headers(headers)
            asked = str(limit.reset_in_seconds if limit and not limit.remaining else headers.get("Retry-After", "0"))
            return f"the hub answers {status} ({HTTPStatus(status).phrase})", float(asked) if asked.isdigit() else 0
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError) and type(cause).__name__ not in _NOBODY:
            return f"the connection to the hub broke off ({type(cause).__name__})", 0
    return None
