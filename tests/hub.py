"""A stand-in for the model hub on loopback: enough of its HTTP interface for the real client to download from."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, and what was asked for.

    Attributes:
        models: Folder by model id.
        url: Address for HF_ENDPOINT.
        fail_with: Status of every answer, where it is not None.
        cut: Files that are sent only in half.
        downloads: Names of the files that were sent.
    """

    models: Mapping[str, Path]
    url: str = ""
    fail_with: int | None = None
    cut: frozenset[str] = frozenset()
    downloads: list[str] = field(default_factory=list)


@contextmanager
def serve(models: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve ``models`` until the block ends."""
    hub = Hub(models)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, body):
        path = unquote(urlsplit(self.path).path)
        if self.served.fail_with is not None:
            return self._send(self.served.fail_with, b"", body)
        for name, folder in self.served.models.items():
            if path.startswith(f"/api/models/{name}/revision/") or path == f"/api/models/{name}":
                return self._json({"id": name, "sha": _commit(path), "siblings": []}, body)
            if path.startswith(f"/api/models/{name}/tree/"):
                return self._json([_entry(folder, file) for file in sorted(folder.rglob("*")) if file.is_file()], body)
            if path.startswith(f"/{name}/resolve/"):
                return self._file(folder, path.split("/", 5)[5], body)
        return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _file(self, folder, name, body):
        path = folder / name
        if not path.is_file():
            return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        if body:
            self.served.downloads.append(name)
        headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": _commit(self.path)}
        return self._send(200, content, body, headers, cut=name in self.served.cut)

    def _json(self, value, body):
        return self._send(200, json.dumps(value).encode(), body, {"Content-Type": "application/json"})

    def _send(self, status, content, body, headers=None, cut=False):
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)


def _commit(path):
    """Return the commit that ``path`` names, or else that of the newest."""
    named = re.search("/([0-9a-f]{40})(/|$)", path)
    return named[1] if named else COMMIT


def _entry(folder, file):
    content = file.read_bytes()
    name = file.relative_to(folder).as_posix()
    return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}


def _blob(content):
    """Return what git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
