"""A stand-in for the model hub on loopback, with enough of its HTTP interface for the real client.

Folders are served read-only. An `Account` holds repositories that can be written to.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import datasets.config
import pytest
from hub_account import Account
from hub_faults import Fault
from huggingface_hub import close_session, constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The served folders, and the requests that arrived.

    Attributes:
        models: Folder by model id.
        datasets: Folder by dataset id.
        url: Address for HF_ENDPOINT.
        fail_with: Status of every response, unless None.
        cut: Files of which only the first half is sent.
        cut_once: Files of which the next response sends only the first half.
        downloads: Names of the files that were sent.
        sent: Bytes sent, by name of the file.
        newest: The newest commit of all repositories.
        commits: Commits of the files that were sent.
        account: Repositories that can be written to.
        faults: What happens to requests in place of the right answer.
    """

    models: Mapping[str, Path]
    datasets: Mapping[str, Path] = field(default_factory=dict)
    url: str = ""
    fail_with: int | None = None
    cut: frozenset[str] = frozenset()
    cut_once: set[str] = field(default_factory=set)
    downloads: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    newest: str = COMMIT
    commits: list[str] = field(default_factory=list)
    account: Account | None = None
    faults: list[Fault] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """A server that reports its own errors, but not a client that ends its connection."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Print the traceback of an error of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(
    models: Mapping[str, Path], datasets: Mapping[str, Path] | None = None, account: Account | None = None
) -> Iterator[Hub]:
    """Serve ``models``, ``datasets`` and the repositories of ``account`` until the block ends."""
    hub = Hub(models, datasets or {}, account=account)

    class Handler(_Handler):
        served = hub

    server = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def connect(patch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    """Use the hub at ``url`` in this process, as HF_ENDPOINT and HF_HOME would have set before the first import."""
    client = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(home / "hub"),
    }
    loader = {
        "HF_ENDPOINT": url,
        "HUB_DATASETS_URL": url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_CACHE": home / "datasets",
        "HF_MODULES_CACHE": home / "modules",
    }
    for module, values in ((constants, client), (datasets.config, loader)):
        for name, value in values.items():
            patch.setattr(module, name, value)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        patch.delenv(name, raising=False)
    close_session()  # a session of another test has another environment


def run_python(url: str, folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder`` with the hub at ``url``: the hub's client reads these variables when it is imported."""
    variables = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "http"))}
    variables |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "no_proxy": "127.0.0.1", **environment}
    command = [sys.executable, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=600)


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def do_GET(self):
        self._answer(body=True)

    def do_POST(self):
        self._answer(body=True)

    def do_PUT(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, body):
        path = unquote(urlsplit(self.path).path)
        fault = next((fault for fault in self.served.faults if fault.strikes(self.command, self.path)), None)
        if fault is not None and fault.act(self):
            return None
        if self.served.fail_with is not None:
            return self._send(self.served.fail_with, b"", body)
        if self.served.account is not None and self.served.account.answer(self, body):
            return None
        repositories = {f"models/{name}": (f"/{name}", folder) for name, folder in self.served.models.items()}
        for name, folder in self.served.datasets.items():
            repositories[f"datasets/{name}"] = (f"/datasets/{name}", folder)
        for api, (place, folder) in repositories.items():
            name = api.partition("/")[2]
            if path.startswith(f"/api/{api}/revision/") or path == f"/api/{api}":
                return self._json({"id": name, "sha": self._commit(), "siblings": []}, body)
            if path.startswith((f"/api/{api}/tree/", f"/api/{api}/paths-info/")):
                return self._json(self._entries(folder, path, api), body)
            if path.startswith(f"{place}/resolve/"):
                return self._file(folder, path.removeprefix(f"{place}/resolve/").partition("/")[2], body)
        return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _entries(self, folder, path, api):
        """List the paths in the body of the request, or the content of the folder in its address."""
        if self.command == "POST":
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            wanted = [folder / name for name in asked.get("paths", [])]
        else:
            below = path.removeprefix(f"/api/{api}/tree/").partition("/")[2]
            deep = "recursive=true" in self.path.lower()
            wanted = sorted((folder / below).rglob("*") if deep else (folder / below).glob("*"))
        return [_entry(folder, file) for file in wanted if file.exists()]

    def _file(self, folder, name, body, commit=None):
        path = folder / name
        if not path.is_file():
            return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        if body:
            self.served.downloads.append(name)
            self.served.commits.append(commit or self._commit())
        etag = hashlib.sha256(content).hexdigest() if path.suffix == ".safetensors" else _blob(content)  # git LFS
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit or self._commit(), "Accept-Ranges": "bytes"}
        status = 200
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        cut = name in self.served.cut or (body and name in self.served.cut_once)
        if body:
            self.served.cut_once.discard(name)
            self.served.sent[name] += len(content)
        return self._send(status, content, body, headers, cut=cut)

    def _commit(self):
        """Return the commit in the address, or else the newest commit."""
        named = re.search("/([0-9a-f]{40})(/|$)", unquote(urlsplit(self.path).path))
        return named[1] if named else self.served.newest

    def _json(self, value, body):
        return self._send(200, json.dumps(value).encode(), body, {"Content-Type": "application/json"})

    def _send(self, status, content, body, headers=None, cut=False):
        status, headers, content = self.change(status, headers or {}, content)
        if status is None:
            return self.connection.close()
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        return self.write(content[: len(content) // 2] if cut else content) if body else None

    def change(self, status, headers, content):
        return status, headers, content

    def write(self, content):
        self.wfile.write(content)


def _entry(folder, file):
    name = file.relative_to(folder).as_posix()
    if file.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": _blob(b"")}
    content = file.read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}


def _blob(content):
    """Return the git object id of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
