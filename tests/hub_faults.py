"""Faults of the stand-in hub: what happens to a request in place of the right answer, or to the answer."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any
from urllib.parse import unquote, urlsplit

ALWAYS = 10**6


@dataclass
class Fault:
    """What happens to some of the requests.

    Attributes:
        path: Pattern of the path of these requests.
        act: Called with the handler of a request. Returns whether the request is done with; else the handler gives the
            right answer, by its ``change`` and ``write``, which ``act`` may replace.
        method: Pattern of their method.
        times: The number of requests that are left to disturb.
        after: The number of such requests that pass before.
    """

    path: str
    act: Callable[[Any], bool]
    method: str = ".*"
    times: int = 1
    after: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def strikes(self, method: str, path: str) -> bool:
        """Return whether the fault happens to this request, and count the request."""
        if not (re.fullmatch(self.method, method) and re.fullmatch(self.path, unquote(urlsplit(path).path))):
            return False
        with self._lock:
            if not self.times:
                return False
            if self.after:
                self.after -= 1
                return False
            self.times -= 1
            return True


def answer(status: int, message: str = "out of order", **headers: str) -> Callable[[Any], bool]:
    """Answer with an error as the hub does; an underscore in the name of a header stands for a hyphen."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}

    def act(handler):
        _read(handler)
        content = json.dumps({"error": message, "errors": [{"message": message}]}).encode()
        handler._send(status, content, True, {"X-Error-Message": message, "Retry-After": "0", **named})
        return True

    return act


def page(status: int = 200) -> Callable[[Any], bool]:
    """Answer with the page of a proxy."""

    def act(handler):
        _read(handler)
        handler._send(status, b"<html><h1>Please log in</h1></html>", True, {"Content-Type": "text/html"})
        return True

    return act


def redirect(status: int, place: Callable[[str], str]) -> Callable[[Any], bool]:
    """Send the client to ``place`` of the path of the request."""

    def act(handler):
        _read(handler)
        handler._send(status, b"", True, {"Location": place(handler.path)})
        return True

    return act


def close(handler) -> bool:
    """Close the connection without an answer."""
    handler.connection.close()
    return True


def cut_request(handler) -> bool:
    """Close the connection after half of the request."""
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)) // 2)
    return close(handler)


def stall(handler) -> bool:
    """Take the request, and give no answer for longer than a client waits."""
    _read(handler)
    Event().wait(0.5)
    return close(handler)


def lose(handler) -> bool:
    """Do what the request asks for, and close the connection without an answer."""
    handler.change = lambda *_: (None, {}, b"")
    return False


def cut(handler) -> bool:
    """Send half of the answer."""
    handler.write = lambda content: handler.wfile.write(content[: len(content) // 2])
    return False


def drip(handler) -> bool:
    """Send the answer in small pieces, with a pause after each."""

    def write(content):
        step = max(1, len(content) // 5)
        for start in range(0, len(content), step):
            handler.wfile.write(content[start : start + step])
            Event().wait(0.01)

    handler.write = write
    return False


def flip(handler) -> bool:
    """Send the answer with a wrong byte."""
    handler.write = lambda content: handler.wfile.write(content[:-1] + bytes([content[-1] ^ 1]) if content else content)
    return False


def edit(change: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Send what ``change`` returns for the JSON of the right answer."""

    def act(handler):
        handler.change = lambda status, headers, content: (
            status,
            headers,
            json.dumps(change(json.loads(content))).encode(),
        )
        return False

    return act


def meanwhile(call: Callable[[], Any]) -> Callable[[Any], bool]:
    """Let ``call`` change the hub before the right answer."""

    def act(_):
        call()
        return False

    return act


def _read(handler) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
