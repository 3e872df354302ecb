"""Retries of calls to the hub that fail for a temporary reason, after growing pauses."""

import re
from collections.abc import Callable, Iterator, Mapping
from http.client import responses
from json import JSONDecodeError
from typing import TypeVar

from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the error type of its HTTP library
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.hub.answers import AnswerError
from leaf_st.hub.attempts import retry as retry_call

T = TypeVar("T")

CONFLICTS = {409, 412}  # another client wrote in the meantime, so the next attempt has to read the repository again
_TEMPORARY = {408, 425, 429, *CONFLICTS}
_PERMANENT_OF_SERVER = {501, 505, 507, 511}  # among them a full storage and the login page of a network
# No answer at all: waiting does not help against a wrong address or a network that is switched off. The errors are
# compared by name because they belong to the HTTP library that huggingface_hub happens to use.
_UNREACHABLE = {"ConnectError", "ConnectTimeout", "ProxyError", "ConnectionRefusedError", "OfflineModeIsEnabled"}
# The request itself is wrong, or where the hub leads it.
_IMPOSSIBLE = {"UnsupportedProtocol", "LocalProtocolError", "TooManyRedirects"}
_LONGEST_PAUSE = 600  # seconds; the windows of the hub's rate limits last 300
_STATUS_OF_XET = re.compile(r"HTTP status (?:client|server) error \((\d{3})\b")


class TemporaryError(InputError):
    """An answer of the hub that another attempt may not receive again.

    Attributes:
        reason: What happened.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: run the same command later to resume")


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
        yield cause, _status(cause)
        cause = cause.__cause__


def is_temporary(error: BaseException, status: int) -> bool:
    """Return whether a later request may succeed after ``error``, an answer with ``status``."""
    request = getattr(getattr(error, "response", None), "request", None)
    if status in (400, 403) and request is not None and request.method == "PUT":
        return True  # storage: the address has expired, or content was damaged on its way; each attempt asks anew
    return status in _TEMPORARY or (status >= 500 and status not in _PERMANENT_OF_SERVER)


def requested_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds until the rate limit is reset, or the seconds in Retry-After.

    Return 0 without either, and for a pause that no rate limit of the hub needs: the clock of the server is wrong.
    """
    limit = parse_ratelimit_headers(headers)
    seconds = str(limit.reset_in_seconds if limit and not limit.remaining else headers.get("Retry-After", "0")).strip()
    if not (seconds.isascii() and seconds.isdigit()):  # Retry-After can also be a date
        return 0
    return 0 if float(seconds) > _LONGEST_PAUSE else float(seconds)


def _status(error: BaseException) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and isinstance(error, ConnectionError) and (found := _STATUS_OF_XET.search(str(error))):
        return int(found[1])  # hf_xet, which uploads large files, names the status only in its message
    return status


def _temporary_reason(error: BaseException) -> tuple[str, float] | None:
    """Return why ``error`` is temporary, and the pause in seconds that the hub requests; None if it is permanent."""
    if isinstance(error, TemporaryError):
        return error.reason, 0
    if not isinstance(error, InputError | OSError | HTTPError | AnswerError):
        return None
    for cause, status in causes_with_status(error):
        if status is not None:
            if not is_temporary(cause, status):
                return None
            response = getattr(cause, "response", None)
            reason = f"the hub answered {status} {responses.get(status, '')}".rstrip()
            return reason, requested_pause(response.headers) if response is not None else 0
        if isinstance(cause, JSONDecodeError | UnicodeDecodeError):
            return "the hub answered with something else than JSON", 0  # such as the error page of a proxy
        broken = isinstance(cause, HTTPError | ConnectionError | TimeoutError)
        if broken and type(cause).__name__ not in _UNREACHABLE | _IMPOSSIBLE:
            return f"the connection to the hub broke off with {type(cause).__name__}", 0
    return None
