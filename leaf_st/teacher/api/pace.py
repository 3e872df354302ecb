"""The pace of requests to an API: the limits of the account, and what the API's responses say about them."""

import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from leaf_st.errors import InputError

PARALLEL = 16  # requests in flight, at most
_FIRST_PARALLEL = 4
_CREDIT = 1.0  # seconds of unused requests that may be made up for: an API accepts such bursts
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds after a 429 that states no pause
_PATIENCE = 600.0  # seconds in which every request is answered with 429
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

_logger = logging.getLogger(__name__)


class Pace:
    """Lets a request start when the limits allow it. All threads of a teacher share one object.

    The number of requests in flight grows with each success and halves with each 429, as TCP does with packets.

    Args:
        requests: Requests per minute; None if unknown.
        tokens: Tokens per minute; None if unknown.
    """

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests, self._tokens = requests, tokens
        self._changed = threading.Condition()
        self._parallel = float(_FIRST_PARALLEL)
        self._in_flight = 0
        self._next = 0.0  # when the next request may start
        self._pause = _FIRST_PAUSE
        self._paused = 0.0  # when a 429 last changed the pace
        self._refused_since: float | None = None
        self._stopped = False

    @contextmanager
    def turn(self, tokens: int) -> Iterator[float]:
        """Wait until a request with ``tokens`` may start; the block is the request. Yields the time of its start.

        Raises:
            InputError: If `stop` was called.
        """
        with self._changed:
            while (wait := self._next - time.monotonic()) > 0 or self._in_flight >= int(self._parallel):
                self._changed.wait(wait if wait > 0 else None)
                self._require_running()
            self._require_running()
            started = time.monotonic()
            self._next = max(self._next, started - _CREDIT) + self._seconds(tokens)
            self._in_flight += 1
        try:
            yield started
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def seconds(self, requests: float, tokens: float) -> float | None:
        """Return the time that the limits require for a number of requests and tokens; None without limits."""
        if self._requests is None and self._tokens is None:
            return None
        return 60 * max(requests / (self._requests or float("inf")), tokens / (self._tokens or float("inf")))

    def requests_at_once(self) -> int:
        """Return the number of requests into which a block of texts is divided: those of a second, at most."""
        return PARALLEL if self._requests is None else max(1, min(PARALLEL, int(self._requests / 60)))

    def tokens_at_once(self, most: int) -> int:
        """Return the number of tokens that a request may have: ``most``, but no more than those of a minute."""
        return most if self._tokens is None else min(most, int(self._tokens))

    def succeeded(self, headers: Mapping[str, str], tokens: int) -> None:
        """Take note of a response: more requests may be in flight, unless its headers say that a limit is reached."""
        with self._changed:
            self._parallel = min(PARALLEL, self._parallel + 1 / self._parallel)
            self._pause, self._refused_since = _FIRST_PAUSE, None
            for unit, least in (("requests", 1), ("tokens", tokens)):
                remaining = headers.get(f"x-ratelimit-remaining-{unit}", "")
                if remaining.isdigit() and int(remaining) < least:
                    self._wait(seconds_of(headers.get(f"x-ratelimit-reset-{unit}", "")) or 0.0)
            self._changed.notify_all()

    def refused(self, started: float, requested: float | None, message: str) -> None:
        """Take note of a 429 for the request that started at ``started``: no request starts until a pause is over.

        Args:
            started: Time of the request's start. Requests that were in flight together slow down the pace only once.
            requested: Pause in seconds that the API requests, None if it requests none.
            message: The API's own message.

        Raises:
            InputError: If the API has answered every request with 429 for ten minutes. A requested pause counts as at
                most one of these minutes.
        """
        with self._changed:
            now = time.monotonic()
            self._refused_since = self._refused_since or now
            if now - self._refused_since > _PATIENCE:
                raise InputError(
                    f"the API has answered every request of {_PATIENCE / 60:g} minutes with 429 ({message}): the same "
                    "command resumes later; teacher.api.requests_per_minute and tokens_per_minute slow it down, and "
                    "max_tokens_per_request makes requests smaller"
                )
            if started >= self._paused:
                self._slow_down(now)
                pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
                if requested is None:
                    self._wait(pause)
            if requested is not None:
                self._wait_as_requested(requested, now)

    def slow_down(self) -> None:
        """Halve the number of requests in flight, because the API does not answer in time."""
        with self._changed:
            self._slow_down(time.monotonic())

    def stop(self) -> None:
        """Let no further request start: the threads that wait for a turn end with an error."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Let requests start again after `stop`."""
        with self._changed:
            self._stopped = False

    def _slow_down(self, now: float) -> None:
        self._parallel, self._paused = max(1.0, self._parallel / 2), now

    def _wait(self, seconds: float) -> None:
        self._next = max(self._next, time.monotonic() + seconds)

    def _wait_as_requested(self, seconds: float, now: float) -> None:
        """Wait for a pause that the API requests, of which the first minute counts as time without a success."""
        longer = seconds - max(0.0, self._next - now)  # requests in flight together are answered with the same pause
        self._wait(seconds)
        if longer > _LONGEST_PAUSE:
            _logger.info("the API requests a pause of %.0f seconds", seconds)
            self._refused_since = (self._refused_since or now) + longer - _LONGEST_PAUSE

    def _seconds(self, tokens: int) -> float:
        return self.seconds(1, tokens) or 0.0

    def _require_running(self) -> None:
        if self._stopped:
            raise InputError("stopped because another request failed")


def requested_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers of a refusal ask a client to wait; None if they ask for no pause."""
    if (milliseconds := seconds_of(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    return seconds_of(headers.get("retry-after", ""))  # the header can also be a date


def seconds_of(duration: str) -> float | None:
    """Return a duration such as "1.5", "20ms" or "6m0s" in seconds; None if it is none."""
    if re.fullmatch(r"\d+(\.\d+)?", duration):
        return float(duration)
    parts = _DURATION.findall(duration)
    if not parts or "".join(map("".join, parts)) != duration:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
