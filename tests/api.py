"""An embedding API on loopback with OpenAI's interface, which can be told to fail in the ways of real servers."""

import base64
import hashlib
import json
import math
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import numpy as np

KEY = "sk-loopback-0123456789"
WIDTH = 16


@dataclass
class Api:
    """The API: what it does, and what it was asked.

    Attributes:
        url: Address of the API.
        vector: Function that returns the vector of a text.
        key: The key it expects; any key if empty.
        latency: Seconds that a request takes.
        seconds_per_text: Seconds that each text takes in addition.
        most_items: Largest number of texts in a request; more are refused with 400.
        most_tokens: Largest number of tokens in a request; more are refused with 400.
        longest: Largest number of tokens of a text; longer texts are refused with 400.
        too_large: Status in place of 400 for the two refusals above: 500 as the llama.cpp server, or 429 as OpenAI.
        reads: Number of tokens that the model reads of a text; None for all of them.
        storm: Share of the requests that are answered with 429.
        headers_of_429: Headers of these answers.
        statuses: Statuses of the next responses; 0 closes the connection in the middle of the response.
        requests_per_minute: Rate above which requests are answered with 429.
        tokens_per_minute: Rate above which requests are answered with 429.
        change: Function that spoils the list of vectors of a response, each with its index.
        drift_after: Number of requests after which the model is another one.
        base64: Whether base64 is given if a client asks for it.
        echo_key: Whether the message of a refused request repeats the key.
        asked: How often each text was embedded.
        answers: Number of responses by status.
        bodies: The bodies of the requests that were answered with 200.
        counts: Whether responses state the number of tokens.
    """

    url: str = ""
    vector: Callable[[str], np.ndarray] = lambda text: hashed(text)
    key: str = KEY
    latency: float = 0.0
    seconds_per_text: float = 0.0
    most_items: int = 2048
    most_tokens: int = 300_000
    longest: int = 8192
    too_large: int = 400
    reads: int | None = None
    storm: float = 0.0
    headers_of_429: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    change: Callable[[list[dict]], list[dict]] = lambda rows: rows
    drift_after: int | None = None
    base64: bool = True
    echo_key: bool = False
    counts: bool = True
    asked: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    bodies: list[dict] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    room: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spec(self, **values):
        """Return a teacher with this API, and a fast test of everything."""
        from leaf_st.recipe import ApiSpec, TeacherSpec

        names = {name: values.pop(name) for name in ("prompts", "max_length") if name in values}
        return TeacherSpec(api=ApiSpec(**{"url": self.url, "model": "loopback", **values}), **names)


def tokens_of(text):
    plain = sum(map(str.isascii, text))
    return max(1, math.ceil(plain / 4 + (len(text.encode()) - plain) / 3))


def hashed(text):
    """Return a vector of norm 1 that is a hash of the text."""
    digest = hashlib.sha256(text.encode()).digest()
    vector = np.frombuffer(digest, np.int8)[:WIDTH].astype(np.float32) + 0.5
    return vector / np.linalg.norm(vector)


@contextmanager
def serve(**values) -> Iterator[Api]:
    """Serve an API until the block ends."""
    api = Api(**values)

    class Handler(_Handler):
        served = api

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Api
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet

    def log_message(self, *_):
        pass

    def do_POST(self):
        api = self.served
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["input"]
        tokens = sum(map(tokens_of, texts))
        with api.lock:
            status, message, headers = self._status(texts, tokens)
            api.answers[status] += 1
        if status == 200:
            time.sleep(api.latency + api.seconds_per_text * len(texts))
            with api.lock:
                api.asked.update(texts)
                api.bodies.append(body)
                drifted = api.drift_after is not None and api.answers[200] > api.drift_after
            answer = self._vectors(body, drifted)
            if api.counts:
                answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        else:
            time.sleep(api.latency)
            code = message if message == "insufficient_quota" else None
            answer = {"error": {"message": message, "type": "error", "param": None, "code": code}}
        self._send(status, answer, headers)

    def _status(self, texts, tokens):
        """Return status, message and headers of the response."""
        api, sent = self.served, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if api.key and sent != api.key:
            return 401, f"Incorrect API key provided: {sent if api.echo_key else 'sk-***'}", {}
        if self.path != "/v1/embeddings":
            return 404, "no such path", {}
        if api.statuses:
            status = api.statuses.pop(0)
            quota = status == -429
            told = f"told to answer {status}{f' to {sent}' if api.echo_key else ''}"
            return abs(status), "insufficient_quota" if quota else told, dict(api.headers_of_429)
        if api.chance.random() < api.storm:
            return 429, "too many requests", api.headers_of_429
        if len(texts) > api.most_items:
            return 400, f"at most {api.most_items} inputs", {}
        if not all(texts):
            return 400, "'$.input' is invalid", {}
        if tokens > api.most_tokens:
            if api.too_large == 400:
                return 400, f"at most {api.most_tokens} tokens per request", {}
            return api.too_large, f"Request too large on tokens per min (TPM): Limit {api.most_tokens}", {}
        if longest := [text for text in texts if tokens_of(text) > api.longest]:
            found = tokens_of(longest[0])
            if api.too_large == 400:
                return 400, f"maximum context length is {api.longest} tokens, found {found}", {}
            return api.too_large, f"input ({found} tokens) is too large to process", {}
        headers = {}
        for unit, cost, limit in (
            ("requests", 1, api.requests_per_minute),
            ("tokens", tokens, api.tokens_per_minute),
        ):
            if limit is not None and (wait := self._take(unit, cost, limit, headers)) > 0:
                return 429, f"limit of {unit}", {**headers, "retry-after": f"{wait:.3f}"}
        return 200, "", headers

    def _take(self, unit, cost, limit, headers):
        """Take ``cost`` of a bucket that holds the amount of a second; return the seconds until it has that much."""
        api, now, most = self.served, time.monotonic(), max(limit / 60, cost)
        room, then = api.room.get(unit, (most, now))
        room = min(most, room + (now - then) * limit / 60)
        enough = room >= cost - 1e-6
        api.room[unit] = (room - cost if enough else room, now)
        left = api.room[unit][0]
        headers[f"x-ratelimit-limit-{unit}"] = str(int(limit))
        headers[f"x-ratelimit-remaining-{unit}"] = str(max(0, int(left)))
        headers[f"x-ratelimit-reset-{unit}"] = f"{int(1000 * (most - left) * 60 / limit)}ms"
        return 0.0 if enough else (cost - room) * 60 / limit

    def _vectors(self, body, drifted):
        api, rows = self.served, []
        for index, text in enumerate(body["input"]):
            read = text if api.reads is None else text[: 4 * api.reads]
            vector = api.vector(read + " another model" if drifted else read)
            if body.get("dimensions"):
                vector = vector[: body["dimensions"]] / np.linalg.norm(vector[: body["dimensions"]])
            rows.append({"object": "embedding", "index": index, "embedding": [float(value) for value in vector]})
        rows = api.change(rows)
        if api.base64 and body.get("encoding_format") == "base64":
            for row in rows:
                if row["embedding"] is None:
                    continue
                packed = struct.pack(f"<{len(row['embedding'])}f", *row["embedding"])
                row["embedding"] = base64.b64encode(packed).decode()
        return {"object": "list", "data": rows, "model": body["model"]}

    def _send(self, status, answer, headers):
        content = json.dumps(answer).encode()
        try:
            self.send_response(status or 200)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if status == 0 else content)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):  # the client did not wait
            self.close_connection = True
        if status == 0:
            self.close_connection = True
