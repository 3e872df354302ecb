import json
import time
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

from leaf_st.errors import InputError
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.attempts import PAUSES
from leaf_st.hub.retry import TemporaryError, retry


class _AnsweredError(HTTPError):
    def __init__(self, status, **headers):
        super().__init__(str(status))
        self.response = SimpleNamespace(status_code=status, headers=headers)


class _ReadError(HTTPError):
    pass


class ConnectError(HTTPError):
    pass


@pytest.fixture
def slept(monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def _unreadable(text):
    """Return the error for an answer with this text."""
    with pytest.raises(AnswerError) as unreadable:
        ask(json.loads, text)
    return unreadable.value


def _attempt(*errors):
    """Return a function that raises each of ``errors`` in turn, then returns "done"."""
    left = list(errors)

    def attempt():
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def _caused(error, cause):
    error.__cause__ = cause
    return error


def test_pauses_grow_and_are_logged(slept, caplog):
    errors = [_AnsweredError(429), _AnsweredError(500), _ReadError("cut"), TimeoutError(), ConnectionResetError()]
    assert retry(_attempt(*errors)) == "done"
    assert slept == [1, 2, 4, 8, 16]
    assert caplog.messages[:3] == [
        "the hub answered 429 Too Many Requests: next attempt in 1 seconds",
        "the hub answered 500 Internal Server Error: next attempt in 2 seconds",
        "the connection to the hub broke off with _ReadError: next attempt in 4 seconds",
    ]


def test_the_last_error_is_raised(slept):
    with pytest.raises(_AnsweredError, match="503"):
        retry(_attempt(*(_AnsweredError(503) for _ in range(len(PAUSES) + 1))))
    assert slept == list(PAUSES)


def test_the_hub_requests_a_pause(slept):
    limited = {"ratelimit": '"api";r=0;t=55', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}
    free = {"ratelimit": '"api";r=9;t=55'}
    errors = [_AnsweredError(429, **limited), _AnsweredError(429, **free), _AnsweredError(503, **{"Retry-After": "20"})]
    retry(_attempt(*errors, _AnsweredError(503, **{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})))
    assert slept == [55, 2, 20, 8]


@pytest.mark.parametrize("seconds", ["601", "4000000000", "-5", "1e9", "\N{SUPERSCRIPT TWO}", "soon", ""])
def test_a_pause_that_no_rate_limit_needs_is_not_made(slept, seconds):
    retry(_attempt(_AnsweredError(503, **{"Retry-After": seconds})))
    limited = {"ratelimit": '"api";r=0;t=86400', "Retry-After": "5"}
    retry(_attempt(_AnsweredError(429, **limited)))
    assert slept == [1, 1]


def test_what_another_attempt_may_not_meet(slept, caplog):
    errors = [
        _AnsweredError(520),
        _unreadable("<html>"),
        TemporaryError("the hub does not find a commit"),
        ConnectionError("Network error: HTTP status server error (502 Bad Gateway), domain: hub"),
    ]
    assert retry(_attempt(*errors)) == "done"
    assert [line.partition(": next")[0] for line in caplog.messages] == [
        "the hub answered 520",
        "the hub answered with something else than JSON",
        "the hub does not find a commit",
        "the hub answered 502 Bad Gateway",
    ]


def test_the_cause_of_an_error_counts(slept):
    retry(_attempt(_caused(InputError("the hub cannot be reached"), _AnsweredError(502))))
    assert slept == [1]


@pytest.mark.parametrize(
    "error",
    [
        InputError("no such model"),
        _AnsweredError(403),
        _AnsweredError(507),
        ConnectionError("Network error: HTTP status client error (403 Forbidden), domain: hub"),
        _caused(RuntimeError("upload"), _AnsweredError(401)),
        ConnectError("nobody there"),
        OfflineModeIsEnabled("off"),
        FileNotFoundError("file"),
    ],
)
def test_a_permanent_error_is_raised_at_once(slept, error):
    with pytest.raises(type(error)):
        retry(_attempt(error))
    assert slept == []
