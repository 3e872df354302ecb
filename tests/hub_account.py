"""Writable repositories of the stand-in hub: commits, branches, tags, pull requests, large files."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import Fault, answer, close, lose

REPO = "us/tiny"
TOKEN = "hf_" + "tokenOfTheTests" * 3
FOREIGN_TOKEN = "hf_" + "tokenOfSomebody" * 3  # may read, and not write
_ID = r"(?P<id>[^/]+/[^/]+)"
_API = f"/api/(models|spaces|datasets)/{_ID}"
_REVISION = "(?P<revision>[^/]+)"
_STEPS = {
    "whoami": ("GET", "/api/whoami-v2"),
    "create": ("POST", "/api/repos/create"),
    "yaml": ("POST", "/api/validate-yaml"),
    "info": ("GET", f"{_API}(/revision/{_REVISION})?"),
    "refs": ("GET", f"{_API}/refs"),
    "tree": ("GET", f"{_API}/tree/{_REVISION}"),
    "commits": ("GET", f"{_API}/commits/{_REVISION}"),
    "discussions": ("GET", f"{_API}/discussions"),
    "preupload": ("POST", f"{_API}/preupload/{_REVISION}"),
    "batch": ("POST", f"/(spaces/|datasets/)?{_ID}[.]git/info/lfs/objects/batch"),
    "upload": ("PUT", "/large/(?P<sha>[0-9a-f]+)"),
    "commit": ("POST", f"{_API}/commit/{_REVISION}"),
    "branch": ("POST", f"{_API}/branch/{_REVISION}"),
    "tag": ("POST", f"{_API}/tag/{_REVISION}"),
    "resolve": ("GET|HEAD", f"/(spaces/|datasets/)?{_ID}/resolve/{_REVISION}/(?P<name>.+)"),
}
_WRITES = {"create", "preupload", "batch", "upload", "commit", "branch", "tag"}


def at(step: str, how, times: int = 1, after: int = 0) -> Fault:
    """Return a fault of ``step``: a status, "cut" (before its work), "lost" (after its work), or what a fault does."""
    method, path = _STEPS[step]
    acts = {"cut": close, "lost": lose}
    act = answer(how) if isinstance(how, int) else acts[how] if isinstance(how, str) else how
    return Fault(path, act, method, times, after)


@dataclass
class Repository:
    """One repository.

    Attributes:
        folder: The parent of a folder per commit.
        private: Whether only the owner sees the repository.
        branches: Commit by name.
        tags: Commit by name.
        pulls: Title and commit of each pull request.
        titles: Titles of each commit and the commits before it, the last commit first.
    """

    folder: Path
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[tuple[str, str]] = field(default_factory=list)
    titles: dict[str, list[str]] = field(default_factory=dict)

    def at(self, revision: str) -> Path:
        """Return the files of a branch, a tag, a commit, or a pull request."""
        if revision.startswith("refs/pr/"):
            revision = self.pulls[int(revision.rpartition("/")[2]) - 1][1]
        return self.folder / (self.branches.get(revision) or self.tags.get(revision) or revision)

    def commit(self, parent: str | None, change, title: str = "") -> str:
        """Let ``change`` change a copy of ``parent``; returns the name of the new commit."""
        name = hashlib.sha1(f"{self.folder}{len(list(self.folder.glob('*')))}".encode()).hexdigest()
        (self.folder / name).mkdir(parents=True)
        if parent:
            shutil.copytree(self.folder / parent, self.folder / name, dirs_exist_ok=True)
        change(self.folder / name)
        self.titles[name] = [title, *self.titles.get(parent, ())]
        return name


@dataclass
class Account:
    """The repositories of one owner.

    Attributes:
        folder: The parent of the repositories' folders.
        repositories: Repositories by id.
        large: Large files that arrived, by sha256.
        steps: Steps that were requested.
        ignored: Files that a .gitignore excludes.
    """

    folder: Path
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    ignored: frozenset[str] = frozenset()

    def create(self, name: str, private: bool = False, files: dict[str, str] | None = None) -> Repository:
        """Make a repository that holds ``files``."""
        made = self.repositories[name] = Repository(self.folder / name, private)

        def fill(folder):
            for file, text in {".gitattributes": "*.safetensors filter=lfs\n", **(files or {})}.items():
                (folder / file).write_text(text)

        made.branches["main"] = made.commit(None, fill, "initial commit")
        return made

    def answer(self, handler, body: bool) -> bool:
        """Answer a request for one of the steps; return whether it is one."""
        path = urlsplit(handler.path).path
        for step, (method, pattern) in _STEPS.items():
            if re.fullmatch(method, handler.command) and (found := re.fullmatch(pattern, path)):
                _Answer(self, handler, body, step, {k: unquote(v) for k, v in found.groupdict().items() if v}).give()
                return True
        return False


class _Answer:
    def __init__(self, account, handler, body, step, named):
        self.account, self.handler, self.body, self.step, self.named = account, handler, body, step, named
        self.repository = account.repositories.get(named.get("id"))
        self.query = parse_qs(urlsplit(handler.path).query)

    def give(self):
        self.account.steps.append(self.step)
        self.sent = self.handler.rfile.read(int(self.handler.headers.get("Content-Length", 0)))
        if self._is_refused():
            return None
        given = getattr(self, f"_{self.step}")()
        if isinstance(given, tuple):
            return self._error(*given)
        return self.handler._json(given, self.body) if given is not None else None

    def _is_refused(self):
        token = self.handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.step == "upload":  # the address is the permission
            return False
        if token and token not in (TOKEN, FOREIGN_TOKEN):
            self._error(401, "Invalid credentials in Authorization header")
        elif self.step in _WRITES and token != TOKEN:
            self._error(403, f"{token} has no right to write here")
        elif "id" in self.named and (not self.repository or (self.repository.private and token != TOKEN)):
            self._error(404, "Repository not found", "RepoNotFound")
        elif "revision" in self.named and self.step != "branch" and not self._files().is_dir():
            self._error(404, "Invalid rev id", "RevisionNotFound")
        else:
            return False
        return True

    def _error(self, status, message, code=None):
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        headers["Retry-After"] = "0"
        self.handler._send(status, json.dumps({"error": message}).encode(), self.body, headers)

    def _files(self):
        return self.repository.at(self.named["revision"])

    def _create(self):
        asked = json.loads(self.sent)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.account.repositories:
            return 409, "You already created this model repo"
        example = ("README.md", "index.html", "style.css") if asked.get("sdk") == "static" else ()
        self.account.create(name, asked.get("visibility") == "private", dict.fromkeys(example, "an example"))
        return {"url": f"{self.handler.served.url}/{name}"}

    def _yaml(self):
        head = json.loads(self.sent)["content"].split("---")
        needed = {"space": "sdk: static"}.get(json.loads(self.sent)["repoType"], "license:")
        if len(head) > 2 and needed in head[1]:
            return {"errors": [], "warnings": []}
        answer = {"errors": [{"message": "no license"}], "warnings": []}
        return self.handler._send(400, json.dumps(answer).encode(), self.body)

    def _whoami(self):
        token = self.handler.headers["Authorization"].removeprefix("Bearer ")
        role = "write" if token == TOKEN else "read"
        return {"type": "user", "name": "us", "auth": {"type": "access_token", "accessToken": {"role": role}}}

    def _info(self):
        commit = self.repository.at(self.named.get("revision", "main")).name
        return {"id": self.named["id"], "sha": commit, "private": self.repository.private, "siblings": []}

    def _refs(self):
        of_kind = {"branches": self.repository.branches, "tags": self.repository.tags}
        kinds = {"branches": "heads", "tags": "tags"}
        return {
            "converts": [],
            **{
                key: [{"name": n, "ref": f"refs/{kinds[key]}/{n}", "targetCommit": c} for n, c in refs.items()]
                for key, refs in of_kind.items()
            },
        }

    def _tree(self):
        files = sorted(path for path in self._files().rglob("*") if path.is_file())
        return [self._entry(path) for path in files]

    def _commits(self):
        date = "2026-01-01T00:00:00.000Z"
        return [
            {"id": str(place), "title": title, "message": "", "authors": [{"user": "us"}], "date": date}
            for place, title in enumerate(self.repository.titles[self._files().name])
        ]

    def _entry(self, path):
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": path.relative_to(self._files()).as_posix(), "size": len(content), "oid": git}
        if sha256 in self.account.large:
            entry |= {"oid": "0" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}
        return entry

    def _discussions(self):
        asked = [
            {
                "title": title,
                "num": number,
                "author": {"name": "us"},
                "createdAt": "2026-01-01T00:00:00.000Z",
                "status": "open",
                "repo": {"name": self.named["id"], "type": "model"},
                "isPullRequest": True,
            }
            for number, (title, _) in enumerate(self.repository.pulls, 1)
        ]
        return {"count": len(asked), "start": 0, "discussions": asked}

    def _preupload(self):
        files = [file["path"] for file in json.loads(self.sent)["files"]]
        return {
            "files": [
                {
                    "path": name,
                    "uploadMode": "lfs" if name.endswith((".safetensors", ".onnx", ".arrow")) else "regular",
                    "shouldIgnore": name in self.account.ignored,
                }
                for name in files
            ]
        }

    def _batch(self):
        def of(asked):
            if asked["oid"] in self.account.large:
                return asked
            place = {"href": f"{self.handler.served.url}/large/{asked['oid']}"}
            return {**asked, "actions": {"upload": place}}

        return {"transfer": "basic", "objects": [of(asked) for asked in json.loads(self.sent)["objects"]]}

    def _upload(self):
        if hashlib.sha256(self.sent).hexdigest() != self.named["sha"]:
            return 400, "not what was announced"
        self.account.large[self.named["sha"]] = self.sent
        return {}

    def _commit(self):
        header, *operations = (json.loads(line) for line in self.sent.splitlines())
        parent = self._files().name
        if header["value"].get("parentCommit", parent) != parent:
            return 412, "the branch has moved on"
        large = [entry["value"]["oid"] for entry in operations if entry["key"] == "lfsFile"]
        if any(oid not in self.account.large for oid in large):
            return 400, "a large file is missing"

        def change(folder):
            for operation in operations:
                key, value = operation["key"], operation["value"]
                path = folder / value["path"]
                if key == "deletedFile":
                    path.unlink()
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                content = base64.b64decode(value["content"]) if key == "file" else self.account.large[value["oid"]]
                path.write_bytes(content)

        made = self.repository.commit(parent, change, header["value"]["summary"])
        url = f"{self.handler.served.url}/{self.named['id']}"
        answer = {"commitUrl": f"{url}/commit/{made}", "commitOid": made}
        if self.query.get("create_pr") == ["1"]:
            self.repository.pulls.append((header["value"]["summary"], made))
            return {**answer, "pullRequestUrl": f"{url}/discussions/{len(self.repository.pulls)}"}
        self.repository.branches[self.named["revision"]] = made
        return answer

    def _branch(self):
        if self.named["revision"] in self.repository.branches:
            return 409, "Reference already exists"
        self.repository.branches[self.named["revision"]] = self.repository.branches["main"]
        return {}

    def _tag(self):
        name = json.loads(self.sent)["tag"]
        if name in self.repository.tags:
            return 409, "Tag reference exists already"
        self.repository.tags[name] = self._files().name
        return {}

    def _resolve(self):
        self.handler._file(self._files(), self.named["name"], self.body, commit=self._files().name)
