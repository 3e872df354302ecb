"""Faults of the hub by kind: the hub holds the old or the new model, and the same command finishes the job."""

import re
import shutil
import ssl
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hub_account import REPO, TOKEN, at
from hub_faults import (
    ALWAYS,
    Fault,
    answer,
    close,
    cut,
    cut_request,
    drip,
    edit,
    flip,
    lose,
    meanwhile,
    page,
    redirect,
    stall,
)
from huggingface_hub import _tree_cache, close_session

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.hub import session
from leaf_st.hub.client import Hub
from leaf_st.hub.manifest import write_manifest
from leaf_st.hub.target import Target
from leaf_st.models.find import content_hash, find_model
from leaf_st.publishing import push

# huggingface_hub passes files to its HTTP library by a parameter that the library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

RENAMED = "us/renamed"
LATER = "run the same command later to resume"
AGAIN = "run the same command again"
REJECTED = "the hub rejects the publication, and no partial publication is left: correct what the hub names, then"
UNREADABLE = f"the hub's answer cannot be read, perhaps because a proxy .*: check the network.*, then {AGAIN}"


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        faults: Makes the faults, for a hub.
        line: Pattern of the line of error; None if the command finishes the job nevertheless.
        said: Pattern of what the command says on the way.
    """

    faults: Callable[[object], list[Fault]]
    line: str | None = None
    said: str = ""


def _one(*args, **kwargs):
    return lambda _: [at(*args, **kwargs)]


def _without(*keys):
    return edit(lambda content: {key: value for key, value in content.items() if key not in keys})


def _commit_of_another(hub, name):
    repository = hub.account.repositories[REPO]
    head = repository.branches["main"]
    repository.branches["main"] = repository.commit(head, lambda folder: (folder / name).write_text("theirs"))


def _rename(hub):
    hub.account.repositories[RENAMED] = hub.account.repositories.pop(REPO)


def _renamed(status, place):
    def faults(hub):
        _rename(hub)
        return [Fault(f".*{REPO}.*", redirect(status, place), times=ALWAYS)]

    return faults


def _renamed_meanwhile(hub):
    moved = Fault(f".*{REPO}.*", redirect(307, lambda path: path.replace(REPO, RENAMED)), times=0)

    def move():
        _rename(hub)
        moved.times = ALWAYS

    return [moved, Fault(r".*/preupload/.*", lambda handler: move() or moved.act(handler))]


def _refused_files(message, code):
    def refuse(content):
        refused = [{**each, "error": {"code": code, "message": message}} for each in content["objects"]]
        return {**content, "objects": refused}

    return edit(refuse)


def _other_sha(content):
    return [{**entry, "lfs": {**entry["lfs"], "oid": "0" * 64}} if "lfs" in entry else entry for entry in content]


KINDS = {
    "429 storm": Kind(_one("commit", answer(429, RateLimit='"api";r=0;t=55'), 6), said="next attempt in 55 seconds"),
    "429 storm without end": Kind(_one("refs", 429, ALWAYS), f"cannot answer now: {LATER}; the hub answered 429"),
    "retry-after by a wrong clock": Kind(
        _one("batch", answer(503, Retry_After="4000000000"), 3), said=r"Retrying in 1s \[Retry 1/5\]"
    ),
    "retry-after in the past": Kind(_one("tag", answer(503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), 2)),
    "500": Kind(_one("upload", 500, ALWAYS), f"cannot answer now: {LATER}; the hub answered 500"),
    "520 of a proxy": Kind(_one("commit", answer(520, "unknown"), 2), said="the hub answered 520: next attempt"),
    "page of a proxy that is out of order": Kind(_one("yaml", page(502), 2), said="something else than JSON: next"),
    "page of another network": Kind(_one("info", page(), ALWAYS), UNREADABLE),
    "cut upload": Kind(_one("upload", cut_request, 2)),
    "cut uploads without end": Kind(_one("upload", cut_request, ALWAYS), f"the hub cannot be reached: .*{AGAIN}"),
    "cut answer": Kind(_one("refs", cut, 2)),
    "slow bytes": Kind(lambda _: [at("tree", drip, ALWAYS), at("resolve", drip, ALWAYS), at("commit", drip, ALWAYS)]),
    "no answer": Kind(_one("commit", stall), said="the connection to the hub broke off with ReadTimeout"),
    "closed connections": Kind(_one("preupload", close, ALWAYS), f"the hub cannot be reached: .*{AGAIN}"),
    "answer of the commit lost": Kind(_one("commit", lose)),
    "upload damaged on its way": Kind(_one("upload", answer(400, "BadDigest"))),
    "address of the upload expired": Kind(_one("upload", answer(403, "Request has expired"))),
    "wrong sha in the list of files": Kind(
        _one("tree", edit(_other_sha), after=1), rf"does not contain .* as sent.*{AGAIN}"
    ),
    "wrong byte in the list of the publication": Kind(_one("resolve", flip, 2), said="other content than its list"),
    "404 after the commit": Kind(
        _one("tree", answer(404, "Invalid rev id", X_Error_Code="RevisionNotFound"), 2, after=1),
        said="the hub does not yet find its commit",
    ),
    "404 after the commit without end": Kind(
        _one("tag", answer(404), ALWAYS), f"does not yet find its commit.*{LATER}"
    ),
    "conflict on the branch": Kind(_one("commit", answer(412, "moved on"), 2), said="412 Precondition Failed: next"),
    "conflicts without end": Kind(
        _one("commit", answer(409, "moved on"), ALWAYS), f"another client changes {REPO} at the same time: {LATER}"
    ),
    "repository deleted in between": Kind(
        lambda hub: [at("commit", meanwhile(lambda: hub.account.repositories.pop(REPO)))],
        f"{REPO}: the hub has no such repository or branch.*{AGAIN}",
    ),
    "token that expires": Kind(
        _one("commit", answer(401, "Invalid credentials in Authorization header"), ALWAYS),
        f"does not know the token, or the token has expired: log in .*{AGAIN}",
    ),
    "private storage is full": Kind(
        _one("commit", answer(403, "Private repository storage limit reached"), ALWAYS),
        "refuses to write to us/tiny: correct what the hub names, .*403: Private repository storage limit reached",
    ),
    "too large": Kind(_one("preupload", answer(413, "Too many files"), ALWAYS), f"{REJECTED} .*413: Too many files"),
    "storage is full": Kind(_one("batch", answer(507, "Quota exceeded"), ALWAYS), f"{REJECTED} .*507: Quota exceeded"),
    "renamed repository": Kind(
        _renamed(307, lambda path: path.replace(REPO, RENAMED)), said=f"{REPO} is now {RENAMED} on the hub: push to"
    ),
    "repository that moved for good": Kind(_renamed(308, lambda path: path.replace(REPO, RENAMED))),
    "renamed in between": Kind(_renamed_meanwhile),
    "redirects without end": Kind(
        lambda _: [Fault(r"/api/models/.*/refs", redirect(307, lambda path: path), times=ALWAYS)],
        f"the hub cannot be reached: .*{AGAIN}",
    ),
    "commit of another client": Kind(
        lambda hub: [at("commit", meanwhile(lambda: _commit_of_another(hub, "theirs.txt")))], said="412"
    ),
    "refused large files": Kind(
        _one("batch", _refused_files("file is too large", 422), ALWAYS), f"{REJECTED} .*: `file is too large"
    ),
    "refused card": Kind(_one("yaml", answer(400, "no license"), ALWAYS), f"{REJECTED} .*answered 400: no license"),
    "refused commit": Kind(
        _one("commit", answer(422, "base_model is unknown")), f"{REJECTED} .*422: base_model is unknown"
    ),
    "missing keys": Kind(_one("commit", _without("commitOid"), ALWAYS), UNREADABLE),
    "missing branches": Kind(_one("refs", _without("branches"), ALWAYS), UNREADABLE),
    "no branches": Kind(_one("refs", edit(lambda content: {**content, "branches": []}), 2), said="names no commit of"),
    "null in place of a list": Kind(_one("preupload", edit(lambda _: None), ALWAYS), UNREADABLE),
    "list in place of a record": Kind(_one("whoami", edit(lambda _: []), ALWAYS), UNREADABLE),
    "large files nobody asked for": Kind(
        _one(
            "batch",
            edit(lambda content: {"objects": [{**each, "oid": "0" * 64} for each in content["objects"]]}),
            ALWAYS,
        ),
        UNREADABLE,
    ),
}


def _to_storage(hub):
    """Send downloads to another server, which has the files of the repository and no API."""
    hub.account.repositories["us/storage"] = hub.account.repositories[REPO]
    place = hub.url.replace("127.0.0.1", "localhost")

    def send_on(handler):
        def change(_, headers, content):
            linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
            return 302, {**headers, **linked, "Location": place + handler.path.replace(REPO, "us/storage")}, b""

        handler.change = change
        return False

    return [Fault(f"/{REPO}/resolve/.*", send_on, times=ALWAYS)]


def _without_weights(content):
    return [entry for entry in content if not entry["path"].endswith(".safetensors")]


REACHED = "the hub cannot be reached: check the network"
NOT_READ = "the hub's answer cannot be read, perhaps because a proxy or a login page answered .*: check the network"
DOWNLOADS = {
    "429 storm": Kind(_one("resolve", 429, 6)),
    "429 storm without end": Kind(_one("info", 429, ALWAYS), f"{REACHED}.*429"),
    "500 without end": Kind(_one("tree", 500, ALWAYS), f"{REACHED}.*500"),
    "closed connections": Kind(_one("info", close, ALWAYS), REACHED),
    "cut downloads": Kind(_one("resolve", cut, 3)),
    "cut downloads without end": Kind(lambda _: [Fault(".*/model.safetensors", cut, times=ALWAYS)], REACHED),
    "slow bytes": Kind(_one("resolve", drip, ALWAYS)),
    "no answer": Kind(_one("resolve", stall, 2)),
    "wrong bytes": Kind(
        _one("resolve", flip, ALWAYS), f"{REPO}: expected the content .*model.safetensors.*, which was deleted.*{AGAIN}"
    ),
    "wrong sha in the list of files": Kind(_one("tree", edit(_other_sha))),
    "list without weights": Kind(
        _one("tree", edit(_without_weights), ALWAYS), "expected a model, found no model.safetensors"
    ),
    "list without files": Kind(_one("tree", edit(lambda _: []), ALWAYS), "found no file of a model on the hub"),
    "page of another network": Kind(_one("info", page(), ALWAYS), NOT_READ),
    "missing keys": Kind(_one("tree", edit(lambda content: [{"type": "file"}]), ALWAYS), NOT_READ),
    "null in place of a record": Kind(_one("info", edit(lambda _: None), ALWAYS), NOT_READ),
    "token that expires": Kind(
        _one("resolve", answer(401, "Invalid credentials"), ALWAYS),
        "the hub refuses this model, because the token is missing, wrong, expired or without access: log in",
    ),
    "repository deleted in between": Kind(
        _one("resolve", answer(404, X_Error_Code="RepoNotFound"), ALWAYS), "the hub has no such model or revision"
    ),
    "another server than a hub": Kind(
        _one("info", page(404), ALWAYS),
        "HF_ENDPOINT names a server that does not answer as a hub does: correct or unset HF_ENDPOINT; .*404",
    ),
    "unavailable for legal reasons": Kind(
        _one("info", 451, ALWAYS), "the hub refuses to send this model: name a folder, .*; the hub answered: .*451"
    ),
    "renamed repository": Kind(_renamed(307, lambda path: path.replace(REPO, RENAMED))),
    "downloads from storage": Kind(_to_storage),
    "token in the answer": Kind(_one("info", answer(401, f"{TOKEN} is unknown"), ALWAYS), r"the hub answered: "),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Shorten the waits for an answer, and the start of each session: the stand-in hub has no certificate to check."""
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    monkeypatch.setattr(session, "SILENCE", 0.3)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    yield
    close_session()


@pytest.fixture
def prepared(ready, run, monkeypatch):
    """A run whose folder ``publish`` is ready; another module tests the preparation, which takes a second."""
    shutil.copytree(ready, run / "publish")
    monkeypatch.setattr(push, "prepare", lambda *_, **__: [])
    return run


def _files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _on_main(hub):
    """Return the published files of the branch main, or None without a repository."""
    found = next((hub.account.repositories[name] for name in (REPO, RENAMED) if name in hub.account.repositories), None)
    # The hub adds .gitattributes to each repository.
    return found and {name: content for name, content in _files(found.at("main")).items() if name != ".gitattributes"}


def _command(capsys, *arguments):
    """Run a command; return its exit code, its error or the last line on stderr, and all that it wrote."""
    capsys.readouterr()
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()  # as in a new process
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
    written = capsys.readouterr()
    # Threads of the hub's client may write progress after an error.
    lines = re.sub(r"\x1b\[A", "", written.err).splitlines() or [""]
    last = next((line for line in reversed(lines) if line.startswith("leaf-st: ")), lines[-1])
    return code, last, written.out + written.err


@pytest.fixture
def old(hub, ready, tmp_path):
    """The files of the model that the hub holds before the command."""
    folder = tmp_path / "old"
    folder.mkdir()
    for name, content in _files(ready).items():
        if not name.endswith("recipe.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content + (b"\n\n" if name.endswith((".md", "model.safetensors")) else b""))
    write_manifest(folder)
    Hub(Target(REPO)).publish(folder)
    return _on_main(hub)


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_leaves_the_old_or_the_new_model_and_its_repetition_the_new(
    hub, old, ready, prepared, capsys, caplog, kind
):
    new, (faults, line, said) = _files(ready), KINDS[kind]
    assert old != new
    theirs = {"theirs.txt": b"theirs"} if kind == "commit of another client" else {}
    hub.faults += faults(hub)
    code, last, written = _command(capsys, "push", prepared, "--repo-id", REPO)
    there, written = _on_main(hub), written + caplog.text
    if line is None:
        assert (code, there) == (0, new | theirs), last
    else:
        assert code == 2
        assert re.search(f"^leaf-st: .*{line}", last), last
        assert there in ((None,) if kind == "repository deleted in between" else (old, new))
        hub.faults.clear()
    assert re.search(said, written)
    assert "Traceback" not in written
    assert max(hub.slept, default=0) <= 60
    assert _command(capsys, "push", prepared, "--repo-id", REPO)[0] == 0
    assert _on_main(hub) == new | theirs
    assert TOKEN not in written


@pytest.mark.parametrize("kind", DOWNLOADS)
def test_a_download_gives_the_model_or_nothing_and_its_repetition_the_model(hub, ready, capsys, caplog, tmp_path, kind):
    Hub(Target(REPO)).publish(ready)
    new, (faults, line, _) = _files(ready), DOWNLOADS[kind]
    hub.faults += faults(hub)
    pulled = tmp_path / "pulled"
    code, last, written = _command(capsys, "pull", REPO, "--output", pulled)
    if line is None:
        assert code == 0, last
    else:
        assert (code, pulled.exists()) == (2, False)
        assert re.search(f"^leaf-st: .*{line}", last), last
        _tree_cache._IN_MEMORY_TREE_CACHE.clear()
        with pytest.raises(InputError, match=line):
            find_model(REPO)
        hub.faults.clear()
        code, last, _ = _command(capsys, "pull", REPO, "--output", pulled)
        assert code == 0, last
    assert _files(pulled) == new
    assert content_hash(find_model(REPO)) == content_hash(ready)
    assert "Traceback" not in written
    assert TOKEN not in written + caplog.text
