"""Stores whose shards are elsewhere. fsspec's file system in memory stands for an object storage."""

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fixed import TEXTS, FixedTeacher, embed
from hub import serve

from leaf_st.cli.main import main
from leaf_st.errors import InputError, cannot_write
from leaf_st.publishing.store.pull import link_store
from leaf_st.publishing.store.push import copy_store
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher import remote_shards
from leaf_st.teacher.remote_shards import SOURCE, RemoteFolder, write_source
from leaf_st.teacher.shard import find_shards, open_shard
from leaf_st.teacher.store import FINGERPRINT, PROBE_FILE, ROUNDING, STORE_MANIFEST, EmbeddingStore

URL = "memory://bucket/store"


@pytest.fixture
def store(tmp_path):
    return embed(tmp_path / "store")


@pytest.fixture
def bucket(monkeypatch):
    """The file system in memory, empty, with the names of the files that were read in ``fetched``."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    fetched, get = Counter(), type(system).get_file
    monkeypatch.setattr(
        type(system), "get_file", lambda self, name, *given: fetched.update([name]) or get(self, name, *given)
    )
    system.fetched = fetched
    return system


def _size(folder):
    return sum(path.stat().st_size for path in find_shards(folder).values())


def test_shards_are_fetched_when_they_are_read(store, bucket, tmp_path):
    assert copy_store(store.folder, URL) == 10 + 2
    assert copy_store(store.folder, URL) == 0
    bucket.fetched.clear()  # the second copy has compared header and manifest
    linked = link_store(URL, tmp_path / "linked", 10**9)
    assert not find_shards(linked.folder)
    assert linked.texts([5, 37]) == store.texts([5, 37])
    assert sorted(find_shards(linked.folder)) == [1, 9]
    everything = range(len(store))
    np.testing.assert_array_equal(linked.embeddings(everything), store.embeddings(everything))
    assert linked.held_out(5).tolist() == store.held_out(5).tolist()
    assert linked.prompted(everything) == store.prompted(everything)
    assert set(bucket.fetched.values()) == {1}
    again = EmbeddingStore(linked.folder)
    again.require_intact()
    assert again.texts(everything) == TEXTS
    assert set(bucket.fetched.values()) == {1}


def test_only_fetched_shards_are_verified(store, bucket, tmp_path, capsys):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)
    linked.texts([5, 37])
    main(["store", "verify", str(linked.folder)])
    assert "2 of 10 shards are on this disk and intact" in capsys.readouterr().out


def test_rows_are_chosen_once(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 1)
    held_out = linked.held_out(5)
    untrained = linked.untrained(held_out)
    bucket.fetched.clear()
    again = EmbeddingStore(linked.folder)
    assert again.held_out(5).tolist() == held_out.tolist() == store.held_out(5).tolist()
    assert again.untrained(held_out).tolist() == untrained.tolist() == store.untrained(held_out).tolist()
    assert not bucket.fetched
    assert again.held_out(6).tolist() == store.held_out(6).tolist()
    assert bucket.fetched


def test_fetched_shards_stay_within_the_limit(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    limit = 3 * max(path.stat().st_size for path in find_shards(store.folder).values())
    linked = link_store(URL, tmp_path / "linked", limit)
    for row in range(len(store)):
        assert linked.texts([row]) == store.texts([row])
        assert _size(linked.folder) <= limit
    assert sorted(find_shards(linked.folder)) == [7, 8, 9]
    assert linked.held_out(5).tolist() == store.held_out(5).tolist()  # by several threads
    assert linked.untrained(linked.held_out(5)).tolist() == store.untrained(store.held_out(5)).tolist()
    assert _size(linked.folder) <= limit
    again = EmbeddingStore(linked.folder)
    assert again.texts(range(len(store))) == TEXTS
    assert _size(linked.folder) <= limit
    smallest = link_store(URL, tmp_path / "smallest", 1)
    assert smallest.texts(range(len(store))) == TEXTS
    assert len(find_shards(smallest.folder)) == 1


def test_the_manifest_comes_last(store, bucket, monkeypatch):
    sent, put = [], RemoteFolder.put
    monkeypatch.setattr(RemoteFolder, "put", lambda self, path, name: sent.append(name) or put(self, path, name))
    np.save(store.folder / PROBE_FILE, np.eye(2))
    copy_store(store.folder, URL)
    assert sent[0] == FINGERPRINT
    assert sent[-1] == STORE_MANIFEST
    assert len(sent) == 13


def test_the_probes_of_apis_are_copied(store, bucket):
    names = [PROBE_FILE, f"member-1/{PROBE_FILE}"]  # of an API, and of an API in an ensemble
    (store.folder / "member-1").mkdir()
    for name in names:
        np.save(store.folder / name, np.eye(2))
    assert copy_store(store.folder, URL) == 10 + 2 + 2
    np.save(store.folder / names[1], 2 * np.eye(2))
    assert copy_store(store.folder, URL) == 1
    for name in names:
        assert bucket.cat_file(f"/bucket/store/{name}") == (store.folder / name).read_bytes()


def test_a_copy_over_another_store_has_the_new_manifest(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    reversed_texts = [text._replace(text=text.text[::-1]) for text in TEXTS]
    other = embed(tmp_path / "other", reversed_texts)
    assert (other.folder / STORE_MANIFEST).stat().st_size == (store.folder / STORE_MANIFEST).stat().st_size
    with pytest.raises(InputError, match=f"^{URL}: expected no store or a copy of .*, found another store: name an"):
        copy_store(other.folder, URL)
    assert link_store(URL, tmp_path / "first", 10**9).texts(range(len(TEXTS))) == TEXTS
    main(["store", "push", str(other.folder), "--url", URL, "--replace"])
    assert link_store(URL, tmp_path / "linked", 10**9).texts(range(len(TEXTS))) == reversed_texts
    there = {Path(name).name for name in bucket.store}  # other readers read all files shard-*.arrow
    assert there == {FINGERPRINT, STORE_MANIFEST, *(path.name for path in other.paths)}
    linked = link_store(URL, tmp_path / "again", 10**9)
    assert linked.texts([0]) == reversed_texts[:1]
    copy_store(store.folder, URL, replace=True)
    with pytest.raises(InputError, match="again contains another store"):
        link_store(URL, tmp_path / "again", 10**9)
    again = EmbeddingStore(linked.folder)
    assert again.texts([0]) == reversed_texts[:1]
    with pytest.raises(InputError, match=r"expected shard-00000001-\w+\.arrow, found no such file"):
        again.texts([5])
    assert not list((tmp_path / "again").glob(".*"))


def test_a_store_whose_vectors_are_the_same_is_no_other_store(store, bucket):
    copy_store(store.folder, URL)
    header, manifest = (read_sealed(store.folder / name) for name in (FINGERPRINT, STORE_MANIFEST))
    named = {**header["fingerprint"], "teacher": "us/fixed"}
    write_sealed(store.folder / FINGERPRINT, {**header, "fingerprint": named, ROUNDING: 0.5})
    write_sealed(store.folder / STORE_MANIFEST, {**manifest, "skipped": {"empty": 3}})
    assert copy_store(store.folder, URL) == 2
    assert copy_store(store.folder, URL) == 0


def test_a_damaged_store_is_replaced_only_if_asked_for(store, bucket):
    copy_store(store.folder, URL)
    for name in (FINGERPRINT, STORE_MANIFEST):
        bucket.pipe_file(f"/bucket/store/{name}", b"{}")
        with pytest.raises(InputError, match="found another store"):
            copy_store(store.folder, URL)
        assert copy_store(store.folder, URL, replace=True) >= 1
        assert copy_store(store.folder, URL) == 0


def test_an_interrupted_removal_of_another_store_is_resumed(store, bucket, tmp_path, monkeypatch):
    copy_store(store.folder, URL)
    other = embed(tmp_path / "other", [text._replace(text=text.text[::-1]) for text in TEXTS])
    rm, removed = type(bucket).rm, []

    def fail(self, path, *given):
        removed.append(path)
        if len(removed) == 3:
            raise ConnectionError("lost")
        return rm(self, path, *given)

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "rm", fail)
        with pytest.raises(InputError, match=r"cannot be written \(lost\)"):
            copy_store(other.folder, URL, replace=True)
    copy_store(other.folder, URL, replace=True)
    assert len([name for name in bucket.store if "shard" in name]) == len(other.paths)


def test_an_address_that_cannot_be_read_is_named(store, bucket, monkeypatch):
    def fail(*_):
        raise ConnectionError("lost")

    monkeypatch.setattr(type(bucket), "exists", fail)
    with pytest.raises(InputError, match=rf"^{URL}/{FINGERPRINT} cannot be read \(lost\): correct the address"):
        copy_store(store.folder, URL)


def test_an_interrupted_copy_over_another_store_is_no_store(store, bucket, tmp_path, monkeypatch):
    copy_store(store.folder, URL)
    other = embed(tmp_path / "other", teacher=FixedTeacher(revision="1"))
    with pytest.raises(InputError, match="found another store"):
        copy_store(other.folder, URL)

    def fail(*_):
        raise ConnectionError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "put_file", fail)
        with pytest.raises(InputError, match="cannot be written"):
            copy_store(other.folder, URL, replace=True)
    with pytest.raises(InputError, match=r"expected manifest\.json, found no such file"):
        link_store(URL, tmp_path / "early", 10**9)
    copy_store(other.folder, URL, replace=True)
    assert link_store(URL, tmp_path / "linked", 10**9).fingerprint.revision == "1"


def test_an_interrupted_copy_is_resumed(store, bucket, tmp_path, monkeypatch):
    put, sent = type(bucket).put_file, []

    def fail(self, path, *given):
        sent.append(path)
        if len(sent) == 5:
            raise ConnectionError("lost")
        return put(self, path, *given)

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "put_file", fail)
        with pytest.raises(InputError, match=r"cannot be written \(lost\): .* run the same command again to resume"):
            copy_store(store.folder, URL)
    with pytest.raises(InputError, match=r"memory://bucket/store: expected manifest\.json, found no such file"):
        link_store(URL, tmp_path / "early", 10**9)
    partial = next(name for name in bucket.store if "shard" in name)
    bucket.pipe_file(partial, b"half")
    assert copy_store(store.folder, URL) == 12 - 4 + 1
    assert link_store(URL, tmp_path / "linked", 10**9).texts(range(len(TEXTS))) == TEXTS


def test_a_damaged_shard_is_named_and_not_kept(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    name = store.paths[2].name
    content = bucket.cat_file(f"/bucket/store/{name}")
    bucket.pipe_file(f"/bucket/store/{name}", content[:-8] + b"damaged!")
    linked = link_store(URL, tmp_path / "linked", 10**9)
    with pytest.raises(InputError, match=f"{URL}/{name} is damaged"):
        linked.texts([8])
    assert 2 not in find_shards(linked.folder)
    bucket.rm(f"/bucket/store/{name}")
    with pytest.raises(InputError, match=f"{URL}: expected {name}, found no such file"):
        linked.texts([8])
    assert not [path for path in linked.folder.iterdir() if path.name.startswith(".")]


def test_a_fetched_shard_that_was_damaged_is_fetched_again_after_another_pull(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)
    linked.texts([5, 37])
    path = find_shards(linked.folder)[1]
    path.write_bytes(path.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(InputError, match=r"is damaged: .*`leaf-st store pull` again for a pulled store"):
        EmbeddingStore(linked.folder).require_intact()
    again = link_store(URL, tmp_path / "linked", 10**9)
    assert sorted(find_shards(linked.folder)) == [9]
    assert again.texts(range(len(TEXTS))) == TEXTS
    again.require_intact()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_not_a_fault_of_the_bucket(store, bucket, tmp_path, monkeypatch, number):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(type(bucket), "get_file", full)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        linked.texts([8])
    assert Path(caught.value.filename).parent == linked.folder
    assert cannot_write(caught.value)


def test_shards_on_the_hub_are_fetched_too(store, connect_to, tmp_path):
    with serve({}, datasets={"us/tiny": store.folder}) as hub:
        connect_to(hub.url)
        linked = link_store("hf://datasets/us/tiny", tmp_path / "linked", 10**9)
        assert linked.texts([5, 37]) == store.texts([5, 37])
        assert sorted(find_shards(linked.folder)) == [1, 9]


def test_a_store_of_fetched_shards_is_not_embedded_into(store, bucket, tmp_path):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)
    with pytest.raises(InputError, match="found a store whose shards are fetched: run `leaf-st train`"):
        embed(linked.folder)
    with pytest.raises(InputError, match="found a store whose shards are fetched: pull the store"):
        copy_store(linked.folder, "memory://bucket/again")


def test_a_server_that_does_not_answer_is_named(store, tmp_path):
    url = "ftp://127.0.0.1:1/store"
    problem = rf"^{url} cannot be opened \(.*\): correct the address, install its package, or try again later$"
    with pytest.raises(InputError, match=problem):
        copy_store(store.folder, url)
    copied = shutil.copytree(store.folder, tmp_path / "copied")
    write_source(copied, {"url": url, "most_bytes": 1})
    with pytest.raises(InputError, match=problem):
        EmbeddingStore(copied)


def test_what_cannot_be_opened_is_named(store, bucket, tmp_path):
    for url, problem in (
        ("nowhere://bucket", "nowhere://bucket cannot be opened"),
        ("https://me:secret@example.org/store", "expected an address without password"),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            link_store(url, tmp_path / "linked", 1)
        assert "secret" not in str(caught.value)
    copy_store(store.folder, URL)
    write_sealed(tmp_path / STORE_MANIFEST, {**read_sealed(store.folder / STORE_MANIFEST), "shards": ["/etc/passwd"]})
    bucket.put_file(str(tmp_path / STORE_MANIFEST), f"/bucket/store/{STORE_MANIFEST}")
    with pytest.raises(InputError, match=r"expected names of shards in manifest\.json"):
        link_store(URL, tmp_path / "linked", 1)
    copied = shutil.copytree(store.folder, tmp_path / "copied")
    (copied / SOURCE).write_text(json.dumps({"url": 3}))
    with pytest.raises(InputError, match=r"source\.json is damaged"):
        EmbeddingStore(copied)


@pytest.mark.parametrize("reader", ["is_intact", "open_shard"])
def test_a_shard_that_another_process_removes_is_fetched_again(store, bucket, tmp_path, monkeypatch, reader):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)
    read, removed = getattr(remote_shards, reader), []

    def remove_first(path):
        if not removed:
            removed.append(path.name)
            path.unlink()
        return read(path)

    monkeypatch.setattr(remote_shards, reader, remove_first)
    assert linked.texts([5]) == store.texts([5])
    assert removed == [store.paths[1].name]
    assert bucket.fetched[f"/bucket/store/{removed[0]}"] == 2


def test_a_shard_that_is_back_before_it_is_missed_is_mapped(store, bucket, tmp_path, monkeypatch):
    copy_store(store.folder, URL)
    linked = link_store(URL, tmp_path / "linked", 10**9)
    opened = []

    def missing_once(path):
        opened.append(path)
        if len(opened) == 1:  # another process removes the shard and fetches it again
            raise FileNotFoundError(path)
        return open_shard(path)

    monkeypatch.setattr(remote_shards, "open_shard", missing_once)
    assert linked.texts([5]) == store.texts([5])
    assert len(opened) == 2
