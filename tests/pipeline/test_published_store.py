"""A store as a data set on the hub: pushed, read by `datasets` alone, pulled, and trained on."""

import errno
import os
import re
import shutil
from dataclasses import replace

import fsspec
import numpy as np
import pytest
from hub import run_python
from hub_account import REPO, TOKEN, at
from hub_faults import ALWAYS

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.pipeline.run import Run
from leaf_st.publishing.store.card import store_card
from leaf_st.publishing.store.pull import link_store, pull_store
from leaf_st.publishing.store.push import describe_push, push_store
from leaf_st.recipe import Recipe
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.store import FINGERPRINT, STORE_MANIFEST, EmbeddingStore

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

_READ = f"""
import sys
sys.modules["leaf_st"] = None  # cannot be imported
from datasets import load_dataset
rows = load_dataset("{REPO}", split="train", token="{TOKEN}").with_format("numpy")
print(len(rows), rows[0]["text"], rows[0]["kind"], rows[:]["embedding"].sum(dtype="float64"))
first = next(iter(load_dataset("{REPO}", split="train", streaming=True, token="{TOKEN}")))
print(first["text"], len(first["embedding"]))
"""


def _shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


def _sent(hub):
    return hub.account.repositories[REPO].at("main")


def test_a_pulled_store_trains_to_the_same_weights(hub, recipe: Recipe, finished, tmp_path, capsys):
    main(["store", "push", str(finished), "--repo-id", REPO, "--private", "--licence", "cc-by-4.0"])
    assert re.search(rf"files sent to {hub.url}/datasets/us/tiny; tagged v", capsys.readouterr().out)
    assert hub.account.repositories[REPO].private
    assert {path.name for path in _sent(hub).iterdir()} == {
        *_shards(finished / "store"),
        *(".gitattributes", "README.md", "leaf_st.json", FINGERPRINT, STORE_MANIFEST),
    }
    assert read_sealed(_sent(hub) / FINGERPRINT)["fingerprint"]["teacher"] == "teacher"  # no folder of this machine
    main(["store", "pull", REPO, "--output", str(tmp_path / "again" / "store")])
    assert "60 texts with vectors by teacher" in capsys.readouterr().out
    pulled = tmp_path / "again" / "store"
    assert _shards(pulled) == _shards(finished / "store")
    assert (pulled / STORE_MANIFEST).read_bytes() == (finished / "store" / STORE_MANIFEST).read_bytes()
    assert not [path for path in pulled.iterdir() if path.name.startswith(".")]
    Run(recipe, tmp_path / "again").train()
    weights = [path / "model" / "model.safetensors" for path in (tmp_path / "again", finished)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_store_whose_shards_are_fetched_trains_to_the_same_weights(recipe, finished, tmp_path, capsys):
    url = f"memory://{tmp_path.name}/store"
    main(["store", "push", str(finished), "--url", url])
    assert f"3 files sent to {url}" in capsys.readouterr().out
    main(["store", "pull", url, "--stream-gb", "1", "--output", str(tmp_path / "again" / "store")])
    assert f"{url} is in" in capsys.readouterr().out
    assert not _shards(tmp_path / "again" / "store")
    Run(recipe, tmp_path / "again").train()
    weights = [path / "model" / "model.safetensors" for path in (tmp_path / "again", finished)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["pull", "s3://bucket/store", "--output", "x"], "expected OWNER/NAME, or a URL with --stream-gb"),
        (["pull", REPO, "--stream-gb", "1", "--output", "x"], f"name hf://datasets/{REPO}"),
        (["pull", "hf://datasets/a/b", "--stream-gb", "1", "--revision", "v1", "--output", "x"], "@REVISION"),
        (["pull", f"datasets/{REPO}", "--output", "x"], f"SOURCE datasets/{REPO}: expected OWNER/NAME, found the path"),
        (["pull", "./store", "--output", "x"], "SOURCE ./store: Repo id must use"),
        (["pull", "me/my store", "--output", "x"], "SOURCE me/my store: Repo id must use"),
        (["push", "runs/x", "--url", "s3://bucket/store", "--private"], "--private: expected --repo-id, found --url"),
        (["push", "runs/x", "--url", "s3://bucket/store", "--licence", "mit"], "--licence: expected --repo-id, found"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, problem, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["store", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_datasets_reads_the_rows_without_this_package(hub, finished, tmp_path):
    push_store(finished, REPO, licence="mit")
    done = run_python(hub.url, tmp_path, "-c", _READ)
    assert done.returncode == 0, done.stderr
    store = EmbeddingStore(finished / "store")
    first, total = store.texts([0])[0], store.embeddings(range(60)).astype(np.float32).sum(dtype="float64")
    assert done.stdout.splitlines() == [f"60 {first.text} {first.kind} {total}", f"{first.text} {store.dimension}"]


def test_the_card_states_teacher_prompts_and_licence(hub, finished):
    push_store(finished, REPO)
    card = (_sent(hub) / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown\n")
    assert "Unknown: whoever published this data set did not name the licence. Name the licence with" in card
    assert "60 texts (60 documents) and their vectors by `teacher`" in card
    assert "| prompts | `query: '', document: ''` |" in card
    assert f'load_dataset("{REPO}", split="train")' in card
    push_store(finished, REPO, licence="mit")
    assert (_sent(hub) / "README.md").read_text().startswith("---\nlicense: mit\n")


def _fingerprint(store, **values):
    header = read_sealed(store / FINGERPRINT)
    write_sealed(store / FINGERPRINT, {**header, "fingerprint": {**header["fingerprint"], **values}})


def _sent_names(hub):
    known = read_sealed(_sent(hub) / FINGERPRINT)["fingerprint"]
    return known["teacher"], known["revision"]


def test_folders_that_only_the_run_knows_are_sent_as_names(hub, finished, tmp_path):
    record = read_sealed(finished / "recipe.json")
    record["resolved"]["teacher"]["model"] = "models/teacher"  # of another machine
    write_sealed(finished / "recipe.json", record)
    assert record["commits"] == {"teacher": None}
    cut = '{{"cut": "512 tokens of {}"}} probes 0'
    _fingerprint(finished / "store", teacher="models/teacher", revision=cut.format("/home/me/tok"))
    push_store(finished, REPO)
    assert _sent_names(hub) == ("teacher", cut.format("tok"))
    shutil.move(finished / "store", tmp_path / "alone")
    _fingerprint(tmp_path / "alone", teacher="us/teacher", revision="0")
    push_store(tmp_path / "alone", "us/other")
    sent = read_sealed(hub.account.repositories["us/other"].at("main") / FINGERPRINT)
    assert sent == read_sealed(tmp_path / "alone" / FINGERPRINT)


def test_the_card_shows_complete_prompts(finished):
    prompts = {"query": "task: search | query: ", "document": "``: "}
    _fingerprint(finished / "store", prompts=prompts)
    card = store_card(EmbeddingStore(finished / "store"), REPO, "mit")
    assert "\n| prompts | ``` query: 'task: search \\| query: ', document: '``: ' ``` |\n" in card
    assert "the same\nteacher, after its prompt, or by a student" in card


@pytest.mark.parametrize(
    "revision",
    [
        'http://127.0.0.1:1/v1 m {"input_type": {"query": "search_query"}} probes 0',
        'http://127.0.0.1:1/v1 m {"input_type": {"document": "d", "query": "d2"}} probes 0',
        '1.0 x 0123 {"prompts": {"query": "find: "}}, 0.5 x 4567',
    ],
    ids=["api", "api with two types", "ensemble"],
)
def test_prompts_that_only_a_student_gets_are_called_so(finished, revision):
    _fingerprint(finished / "store", revision=revision, prompts={"query": "search_query: ", "document": ""})
    card = store_card(EmbeddingStore(finished / "store"), REPO, "mit")
    assert (
        f"\n| revision | `{revision}` |\n| prompts of a student | `query: 'search_query: ', document: ''` |\n" in card
    )
    assert "the same\nteacher, with the settings in the revision above, or by a student" in card


@pytest.mark.parametrize(
    "settings",
    ["{}", '{"input_type": {"document": "a \\"b", "query": "a \\"b"}}', '{"extra_body": {"input_type": "x"}}'],
)
def test_prompts_that_an_api_gets_are_called_so(finished, settings):
    _fingerprint(finished / "store", revision=f"http://127.0.0.1:1/v1 m {settings} probes 0", prompts={"query": "q: "})
    card = store_card(EmbeddingStore(finished / "store"), REPO, "mit")
    assert "\n| prompts | `query: 'q: '` |\n" in card


@pytest.mark.parametrize("missing", [["symlink"], ["symlink", "link"]])
def test_a_system_without_links_sends_the_same_files(finished, monkeypatch, missing):
    expected, before = describe_push(finished, REPO), _shards(finished / "store")

    def refused(*_):
        raise OSError(errno.EINVAL, "a required privilege is not held by the client")

    for name in missing:
        monkeypatch.setattr(os, name, refused)
    assert describe_push(finished, REPO) == expected
    assert _shards(finished / "store") == before


def test_a_dry_run_sends_nothing(hub, finished, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    main(["store", "push", str(finished / "store"), "--repo-id", REPO, "--dry-run"])
    written = capsys.readouterr().out
    assert hub.account.steps == []
    assert re.search(r"^shard-00000000-[0-9a-f]{16}\.arrow +[\d,]+$", written, re.MULTILINE)
    assert re.search(r"^dry run: 5 files for us/tiny \(tag v\w+\); nothing was sent$", written, re.MULTILINE)
    assert not [path for path in (finished / "store").iterdir() if path.is_symlink() or path.name == "README.md"]
    with pytest.raises(InputError, match="--revision 'my branch': expected the name of a branch that git allows"):
        describe_push(finished, REPO, revision="my branch")


def test_push_and_pull_are_resumed(hub, recipe, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    Run(replace(recipe, teacher=replace(recipe.teacher, rows_per_shard=16)), folder).embed()
    hub.faults.append(at("upload", 400, times=ALWAYS, after=2))
    with pytest.raises(InputError, match="run the same command"):
        push_store(folder, REPO)
    assert len(hub.account.large) == 2
    hub.faults.clear()
    assert push_store(folder, REPO).sent == 8
    assert hub.account.steps.count("upload") == 4
    assert push_store(folder, REPO).sent == 0
    monkeypatch.setattr("leaf_st.publishing.store.pull._CONNECTIONS", 1)  # or all shards may be asked for and refused
    hub.faults.append(at("resolve", 403, times=ALWAYS, after=8))
    with pytest.raises(InputError, match="us/tiny: the hub refuses"):
        pull_store(REPO, tmp_path / "pulled")
    there = _shards(tmp_path / "pulled")
    assert 0 < len(there) < 4
    with pytest.raises(InputError, match="the store is incomplete"):
        EmbeddingStore(tmp_path / "pulled")
    hub.faults.clear()
    pull_store(REPO, tmp_path / "pulled")
    assert _shards(tmp_path / "pulled") == _shards(folder / "store")


def test_a_damaged_download_never_becomes_a_shard(hub, finished, tmp_path, monkeypatch):
    push_store(finished, REPO)
    shard = next(_sent(hub).glob("shard-*"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-8] + b"damaged!")
    with pytest.raises(InputError, match=rf"the hub sends {shard.name} with other content than its name says"):
        pull_store(REPO, tmp_path / "pulled")
    assert not _shards(tmp_path / "pulled")
    shard.write_bytes(content)
    assert len(pull_store(REPO, tmp_path / "pulled")) == 60


def test_a_damaged_shard_of_a_pulled_store_is_pulled_again(hub, finished, tmp_path):
    push_store(finished, REPO)
    (path,) = pull_store(REPO, tmp_path / "pulled").paths
    path.write_bytes(b"damaged")
    assert pull_store(REPO, tmp_path / "pulled").damaged() == []
    assert _shards(tmp_path / "pulled") == _shards(finished / "store")


@pytest.mark.parametrize("name", ["../../outside.arrow", "README.md", "shard-00000000-0123456789abcdef.arrow/../x"])
def test_names_of_another_place_are_refused(hub, finished, tmp_path, name):
    push_store(finished, REPO)
    path = _sent(hub) / STORE_MANIFEST
    write_sealed(path, {"rows": 60, "skipped": {}, "shards": [name]})
    with pytest.raises(InputError, match=r"expected names of shards in manifest\.json, found"):
        pull_store(REPO, tmp_path / "pulled")


def test_what_is_no_store_is_named(hub, finished, tmp_path, capsys):
    hub.account.create(REPO, files={"train.parquet": "rows"})
    with pytest.raises(InputError, match=r"expected a data set of `leaf-st store push` with fingerprint\.json"):
        pull_store(REPO, tmp_path / "pulled")
    with pytest.raises(InputError, match="us/none: the hub has no such data set"):
        pull_store("us/none", tmp_path / "pulled")
    with pytest.raises(InputError, match=r"expected a store with fingerprint\.json, or a run folder"):
        push_store(tmp_path, REPO)
    push_store(finished, "us/other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty, and contains thesis\.txt"):
        pull_store("us/other", tmp_path / "mine")
    other = tmp_path / "other"
    shutil.copytree(finished / "store", other)
    (other / FINGERPRINT).write_text("{}")
    with pytest.raises(InputError, match="contains another store"):
        pull_store("us/other", other)
    with pytest.raises(InputError, match="--licence MIT licence: expected a name of the hub's list"):
        push_store(finished, "us/other", licence="MIT licence")


def test_a_store_is_shown_and_verified(finished, capsys):
    main(["store", "info", str(finished)])
    shown = capsys.readouterr().out
    assert re.search(r"^texts +60$", shown, re.MULTILINE)
    assert re.search(r"^shards +1, each of at most 1,024 texts$", shown, re.MULTILINE)
    assert re.search(r"^rows left out +none$", shown, re.MULTILINE)
    main(["store", "verify", str(finished / "store")])
    assert "all 1 shards with 60 texts are intact" in capsys.readouterr().out
    (finished / "store" / STORE_MANIFEST).rename(finished / "kept")
    main(["store", "info", str(finished)])
    assert "incomplete, about 1,024 so far" in capsys.readouterr().out
    (finished / "kept").rename(finished / "store" / STORE_MANIFEST)
    path = next((finished / "store").glob("shard-*"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SystemExit) as ended:
        main(["store", "verify", str(finished)])
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert f"{path} is damaged or missing" in written.out
    assert "1 of 1 shards are damaged: run `leaf-st embed` again, or `leaf-st store pull` again for" in written.err


def test_a_pulled_store_does_not_fetch_its_shards_any_more(hub, finished, tmp_path):
    url, folder = f"memory://{tmp_path.name}/store", tmp_path / "pulled"
    push_store(finished, REPO)
    for name in (FINGERPRINT, STORE_MANIFEST, *_shards(finished / "store")):  # the store of the hub, elsewhere
        fsspec.filesystem("memory").pipe(f"{url}/{name}", (_sent(hub) / name).read_bytes())
    link_store(url, folder, 1)
    pulled = pull_store(REPO, folder)
    assert pulled.texts(range(60)) == EmbeddingStore(finished / "store").texts(range(60))
    assert _shards(folder) == _shards(finished / "store")
    assert describe_push(folder, REPO)
