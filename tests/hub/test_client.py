"""The real client talks to the stand-in hub over HTTP."""

import json
import shutil

import pytest
from hub_account import FOREIGN_TOKEN, REPO, TOKEN, at
from hub_faults import ALWAYS, Fault, answer

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.hub.client import Hub
from leaf_st.hub.manifest import MANIFEST, read_manifest, write_manifest
from leaf_st.hub.target import Target
from leaf_st.models.load import load_model
from leaf_st.publishing.pull import pull

# huggingface_hub passes files to its HTTP library by a parameter that the library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

STEPS = ["create", "info", "refs", "yaml", "preupload", "batch", "upload", "commit", "tree", "tag"]


def _files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _publish(folder, **target):
    return Hub(Target(REPO, **target)).publish(folder)


def _is_published(hub, ready):
    """Check that main holds all files of ``ready`` and that the commit has the tag."""
    repository = hub.account.repositories[REPO]
    there = _files(repository.at("main"))
    there.pop(".gitattributes")
    assert there == _files(ready)
    assert repository.tags == {read_manifest(ready / MANIFEST).tag: repository.branches["main"]}
    return repository


def _heads(hub):
    """Return the files after each commit, none of which may be a part of a publication."""
    folders = hub.account.repositories[REPO].folder.iterdir() if REPO in hub.account.repositories else ()
    return [set(_files(folder)) - {".gitattributes"} for folder in folders]


@pytest.fixture
def other(ready, tmp_path):
    """A second publication: one file differs, one is gone, and one is new."""
    folder = shutil.copytree(ready, tmp_path / "other" / "publish")
    (folder / "README.md").write_text((ready / "README.md").read_text() + "more\n")
    (folder / "recipe.json").unlink()
    (folder / "new.json").write_text("{}")
    write_manifest(folder)
    return folder


def test_a_pulled_model_equals_the_published_one(hub, ready, finished, tmp_path):
    done = _publish(ready, private=True)
    assert _is_published(hub, ready).private
    assert (done.url, done.sent) == (f"{hub.url}/{REPO}", len(_files(ready)))
    hub.faults += [at("info", 503), at("tree", 500), at("resolve", 429)]
    pull(REPO, tmp_path / "pulled")
    assert [fault.times for fault in hub.faults] == [0, 0, 0]
    assert _files(tmp_path / "pulled") == _files(ready)
    texts = ["a small text", "z"]
    model, trained = load_model(str(tmp_path / "pulled")), load_model(str(finished / "model"))
    assert (model.encode_query(texts) == trained.encode_query(texts)).all()


def test_pulling_again_gives_the_newest_publication(hub, ready, other, tmp_path):
    _publish(ready)
    pull(REPO, tmp_path / "first")
    (other / ".eval_results").mkdir()
    (other / ".eval_results" / "SciFact.yaml").write_text("[]\n")
    write_manifest(other)
    _publish(other)
    pull(REPO, tmp_path / "second")
    assert _files(tmp_path / "second") == _files(other)


def test_a_revision_is_pulled(hub, ready, other, tmp_path, monkeypatch):
    tag = _publish(ready).tag
    _publish(other)
    monkeypatch.chdir(tmp_path)
    main(["pull", REPO, "--revision", tag, "--output", "first"])
    assert _files(tmp_path / "first") == _files(ready)
    with pytest.raises(InputError, match="no such model or revision"):
        pull(REPO, tmp_path / "none", "none")
    with pytest.raises(InputError, match="--revision next: expected the name of one model, found leaf-ir-asym"):
        pull("leaf-ir-asym", tmp_path / "both", "next")
    assert not (tmp_path / "none").exists()


def test_a_wrong_token_is_named_by_pull_too(hub, ready, tmp_path, monkeypatch):
    _publish(ready, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 8)
    with pytest.raises(InputError, match=r"the hub refuses this model, because the token is .*: log in with"):
        pull(REPO, tmp_path / "pulled")
    assert not hub.slept
    assert not (tmp_path / "pulled").exists()


def test_a_token_with_a_line_break(hub, ready):
    assert Hub(Target(REPO), f"{TOKEN}\n").publish(ready).sent
    with pytest.raises(InputError, match="contains whitespace or invalid characters") as refused:
        Hub(Target(REPO), f"{TOKEN} \N{LATIN SMALL LETTER E WITH ACUTE}")
    assert TOKEN not in str(refused.value)


def test_a_second_call_sends_nothing(hub, ready):
    first = _publish(ready)
    hub.account.steps.clear()
    second = _publish(ready)
    assert (second.url, second.tag, second.sent) == (first.url, first.tag, 0)
    assert not {"commit", "tag", "upload", "create"} & set(hub.account.steps)


@pytest.mark.parametrize("how", [429, 500, "cut", "lost"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_once_is_repeated(hub, ready, step, how):
    hub.faults.append(at(step, how))
    done = _publish(ready)
    assert hub.faults[0].times == 0
    _is_published(hub, ready)
    assert (bool(done.tag), done.sent) == (True, len(_files(ready)))
    assert all(files in (set(), set(_files(ready))) for files in _heads(hub))
    assert len(_heads(hub)) == 2  # nothing was committed twice


@pytest.mark.parametrize("step", STEPS)
def test_the_same_call_completes_a_failed_publication(hub, ready, step, caplog):
    hub.faults.append(at(step, 503, times=200))
    with pytest.raises(
        InputError, match=r"cannot answer now: run the same command later to resume; the hub answered 503: "
    ):
        _publish(ready)
    pauses = [int(line.split()[-2]) for line in caplog.messages if ": next attempt in" in line]
    assert pauses == [1, 2, 4, 8, 16, 32]
    assert all(files in (set(), set(_files(ready))) for files in _heads(hub))
    hub.faults.clear()
    hub.account.steps.clear()
    _publish(ready)
    _is_published(hub, ready)
    # Large files that have arrived are not sent again.
    assert hub.account.steps.count("upload") == (0 if step in ("commit", "tag") else 2)


def test_the_next_publication_replaces_the_last_and_nothing_else(hub, ready, other):
    hub.account.create(REPO, files={"notes.txt": "mine"})
    _publish(ready)
    done = _publish(other)
    assert done.sent == 3  # the card, the new file, and the list of files
    there = _files(hub.account.repositories[REPO].at("main"))
    assert there.pop("notes.txt") == b"mine"
    there.pop(".gitattributes")
    assert there == _files(other)
    tags = hub.account.repositories[REPO].tags
    assert tags.keys() == {read_manifest(folder / MANIFEST).tag for folder in (ready, other)}


@pytest.mark.parametrize("file", ["README.md", "leaf_st.json"])
def test_a_file_of_somebody_else_is_not_overwritten(hub, ready, file):
    hub.account.create(REPO, files={"README.md": "mine", file: "mine"})
    with pytest.raises(
        InputError, match=r"us/tiny \(.*\) contains README\.md.*, which this command did not write.*--replace"
    ):
        _publish(ready)
    assert _files(hub.account.repositories[REPO].at("main"))["README.md"] == b"mine"
    assert not hub.account.repositories[REPO].tags
    with pytest.raises(InputError, match="which this command did not write"):
        _publish(ready, revision="next")
    assert hub.account.repositories[REPO].branches.keys() == {"main"}
    _publish(ready, replace=True)
    _is_published(hub, ready)


def test_a_file_that_was_changed_on_the_hub_is_not_overwritten(hub, ready, other):
    _publish(ready)
    repository = hub.account.repositories[REPO]

    def change(folder):
        for name in ("README.md", "recipe.json"):
            (folder / name).write_text("better")

    repository.branches["main"] = repository.commit(repository.branches["main"], change)
    with pytest.raises(InputError, match=r"contains README\.md, which .* which changed since"):
        _publish(other)
    _publish(other, replace=True)
    there = _files(repository.at("main"))
    assert there["README.md"] == (other / "README.md").read_bytes()
    assert there["recipe.json"] == b"better"  # no longer ours


def test_a_branch(hub, ready):
    hub.account.create(REPO)
    before = hub.account.repositories[REPO].branches["main"]
    _publish(ready, revision="next/one")
    repository = hub.account.repositories[REPO]
    assert repository.branches["main"] == before
    assert _files(repository.at("next/one")).keys() >= _files(ready).keys()
    assert repository.tags == {read_manifest(ready / MANIFEST).tag: repository.branches["next/one"]}


@pytest.mark.parametrize("how", [None, 500, "lost"])
def test_repeated_calls_open_one_pull_request(hub, ready, how):
    hub.account.create(REPO)
    before = hub.account.repositories[REPO].branches["main"]
    hub.faults += [at("commit", how)] if how else []
    done = [_publish(ready, pull_request=True) for _ in range(2)]
    assert {each.url for each in done} == {f"{hub.url}/{REPO}/discussions/1"}
    repository = hub.account.repositories[REPO]
    ((title, commit),) = repository.pulls
    assert title == f"leaf-st {read_manifest(ready / MANIFEST).tag}"
    assert _files(repository.at(commit)).keys() >= _files(ready).keys()
    assert (repository.branches["main"], repository.tags) == (before, {})
    repository.branches["main"] = commit  # merged
    repository.pulls.clear()
    assert _publish(ready, pull_request=True).tag is None
    _publish(ready)
    _is_published(hub, ready)
    assert _publish(ready, pull_request=True).tag in repository.tags


def test_a_pull_request_of_somebody_else_with_the_same_title(hub, ready):
    repository = hub.account.create(REPO)
    repository.pulls.append((f"leaf-st {read_manifest(ready / MANIFEST).tag}", repository.branches["main"]))
    assert _publish(ready, pull_request=True).url.endswith("/discussions/2")


def test_a_writer_in_between_is_not_undone(hub, ready):
    repository = hub.account.create(REPO)
    answer = hub.account.answer

    def in_between(handler, body):
        if "/commit/" in handler.path and not repository.tags:
            repository.tags["theirs"] = repository.branches["main"] = repository.commit(
                repository.branches["main"], lambda folder: (folder / "theirs.txt").write_text("theirs")
            )
        return answer(handler, body)

    hub.account.answer = in_between
    _publish(ready)
    assert _files(repository.at("main")).keys() == {*_files(ready), ".gitattributes", "theirs.txt"}


def test_a_file_that_the_repository_ignores_is_named(hub, ready):
    hub.account.ignored = frozenset(["README.md"])
    with pytest.raises(InputError, match=r"does not contain README\.md as sent: check whether a \.gitignore"):
        _publish(ready)
    assert not hub.account.repositories[REPO].tags


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"repo_id": "tiny"}, "--repo-id tiny: expected OWNER/NAME, such as me/tiny"),
        ({"repo_id": "me n"}, "--repo-id me n: expected OWNER/NAME, such as me/me-n"),
        ({"repo_id": "a/b/c"}, "--repo-id a/b/c: expected OWNER/NAME, such as me/c"),
        ({"repo_id": "datasets/us/tiny"}, "--repo-id datasets/us/tiny: expected OWNER/NAME, .*: write us/tiny"),
        ({"repo_id": "us/ti ny"}, "--repo-id us/ti ny: Repo id must use"),
        ({"repo_id": REPO, "pull_request": True, "revision": "next"}, "leave out --revision or --create-pr"),
        ({"repo_id": REPO, "revision": "next one"}, "--revision 'next one': expected the name of a branch"),
        ({"repo_id": REPO, "revision": "next..one"}, "expected the name of a branch"),
        ({"repo_id": REPO, "revision": ""}, "expected the name of a branch"),
        ({"repo_id": REPO, "revision": "next/"}, "expected the name of a branch"),
        ({"repo_id": REPO, "revision": "refs/pr/1"}, "expected the name of a branch"),
    ],
)
def test_an_invalid_target(target, expected):
    with pytest.raises(InputError, match=expected):
        Target(**target)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("hf_" + "wrong" * 8, "the hub does not know the token"),
        (FOREIGN_TOKEN, r"refuses to write to us/tiny: .* use a token .*; the hub answered 403: .*no right to write"),
    ],
)
def test_a_token_without_permission(hub, ready, monkeypatch, caplog, capfd, token, expected):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=expected) as refused:
        _publish(ready)
    assert not hub.slept
    assert REPO not in hub.account.repositories
    written = capfd.readouterr()
    assert token not in f"{refused.value}{written.out}{written.err}{caplog.text}"


def test_a_read_token_is_rejected_before_other_work(hub, monkeypatch):
    Hub(Target(REPO)).check()
    monkeypatch.setenv("HF_TOKEN", FOREIGN_TOKEN)
    with pytest.raises(InputError, match="read permission only, expected write permission for us/tiny") as refused:
        Hub(Target(REPO)).check()
    assert FOREIGN_TOKEN not in str(refused.value)


def test_no_token(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no token for the hub: log in with `hf auth login`"):
        Hub(Target(REPO))


def test_no_network_is_reported_at_once(hub, ready, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"the hub cannot be reached: check the network.*, then run .*; the request failed with: "
    ):
        Hub(Target(REPO)).check()
    assert not hub.slept
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        Hub(Target(REPO)).check()


def test_a_public_repository_is_not_used_for_a_private_model(hub):
    hub.account.create(REPO)
    with pytest.raises(InputError, match="us/tiny exists and is public"):
        Hub(Target(REPO, private=True)).check()
    with pytest.raises(InputError, match="us/none: a pull request needs a repository, found none"):
        Hub(Target("us/none", pull_request=True)).check()


@pytest.mark.parametrize("error", [KeyError("files"), TypeError("None"), RuntimeError("changed during iteration")])
def test_an_error_of_this_package_is_no_answer_of_the_hub(hub, ready, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("leaf_st.hub.client.compare_files", broken)
    with pytest.raises(type(error)):
        _publish(ready)
    assert not hub.slept


def test_no_cache_is_needed(hub, ready, other, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    _publish(ready)
    _publish(other)
    assert _files(hub.account.repositories[REPO].at("main")).items() >= _files(other).items()


@pytest.mark.parametrize(
    ("status", "expected"), [(401, "does not know the token"), (403, "refuses to write to us/tiny"), (404, "no such")]
)
def test_an_upload_through_xet_that_the_hub_refuses(hub, ready, monkeypatch, status, expected):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    hub.faults.append(Fault(".*/xet-write-token/.*", answer(status), times=ALWAYS))
    with pytest.raises(InputError, match=expected):
        _publish(ready)
    assert not hub.slept
    assert hub.faults[0].times < ALWAYS
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    _publish(ready)
    _is_published(hub, ready)


def test_a_card_that_the_hub_rejects(hub, ready, tmp_path):
    folder = shutil.copytree(ready, tmp_path / "folder")
    (folder / "README.md").write_text("---\ntags: []\n---\n")
    write_manifest(folder)
    with pytest.raises(
        InputError, match=r"no partial publication is left: correct .*; the hub answered 400: .*no license"
    ):
        _publish(folder)
    assert _heads(hub) == [set()]


def test_the_token_is_in_no_file(hub, ready, tmp_path, capfd, caplog):
    hub.faults += [at(step, 500) for step in STEPS]
    _publish(ready)
    pull(REPO, tmp_path / "pulled")
    written = capfd.readouterr()
    assert TOKEN not in f"{written.out}{written.err}{caplog.text}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_the_list_of_files(ready):
    manifest = json.loads((ready / MANIFEST).read_text())
    assert manifest["files"].keys() == _files(ready).keys() - {MANIFEST}
    assert manifest["tag"] == read_manifest(ready / MANIFEST).tag
