"""Retries of calls to the hub that fail for a temporary reason, after growing pauses."""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TypeVar

from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the error type of its HTTP library
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.hub.attempts import retry as retry_call

T = TypeVar("T")

# The hub is overloaded or out of order. 409 and 412: another client wrote in the meantime, so the next attempt has to
# read the repository again.
TEMPORARY_STATUSES = {408, 409, 412, 429, 500, 502, 503, 504}
# No answer at all: waiting does not help against a wrong address or a network that is switched off. The errors are
# compared by name because they belong to the HTTP library that huggingface_hub happens to use.
_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ProxyError", "ConnectionRefusedError", "OfflineModeIsEnabled"}
# The request itself is wrong, or where the hub leads it.
_IMPOSSIBLE = {"UnsupportedProtocol", "LocalProtocolError", "TooManyRedirects"}


def retry(call: Callable[[], T]) -> T:
    """Return the result of ``call``, which is repeated while it fails for a temporary reason.

    huggingface_hub retries some of its requests itself for a shorter time, but not commits, tags, or the first request
    about a repository. So ``call`` must be safe to repeat.

    Raises:
        Exception: The last error of ``call``, or its first error that is not temporary.
    """
    return retry_call(call, _temporary_reason)


def causes_with_status(error: BaseException) -> Iterator[tuple[BaseException, int | None]]:
    """Yield ``error`` and its chain of causes, each with the HTTP status of the hub's response, if it has one."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause, getattr(getattr(cause, "response", None), "status_code", None)
        cause = cause.__cause__


def _temporary_reason(error: BaseException) -> tuple[str, float] | None:
    """Return why ``error`` is temporary, and the pause in seconds that the hub requests; None if it is permanent."""
    if not isinstance(error, InputError | OSError | HTTPError | RuntimeError):
        return None
    for cause, status in causes_with_status(error):
        if status is not None:
            if status not in TEMPORARY_STATUSES:
                return None
            return f"the hub answered {status} {HTTPStatus(status).phrase}", _requested_pause(cause)
        broken = isinstance(cause, HTTPError | ConnectionError | TimeoutError)
        if broken and type(cause).__name__ not in _UNREACHABLE | _IMPOSSIBLE:
            return f"the connection to the hub broke off with {type(cause).__name__}", 0
    return None


def _requested_pause(error: BaseException) -> float:
    """Return the seconds until the rate limit is reset, or the seconds in Retry-After; 0 without either."""
    headers = error.response.headers  # type: ignore[attr-defined]
    limit = parse_ratelimit_headers(headers)
    seconds = str(limit.reset_in_seconds if limit and not limit.remaining else headers.get("Retry-After", "0"))
    return float(seconds) if seconds.isdigit() else 0  # Retry-After can also be a date
