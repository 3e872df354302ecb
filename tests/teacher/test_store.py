import hashlib
import json
import os
import pickle
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fixed import TEXTS, FixedTeacher, embed
from hypothesis import given, settings
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed
from leaf_st.teacher import store as store_module
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.store import FINGERPRINT, STORE_MANIFEST, EmbeddingStore
from leaf_st.texts import Text
from leaf_st.texts.fold import folded, text_id

# Every character but lone surrogates, which are no text.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.lists(st.builds(Text, texts, st.sampled_from(["query", "document"])), min_size=1, max_size=30, unique=True)


@pytest.fixture
def store(tmp_path):
    return embed(tmp_path / "store")


@settings(max_examples=40, deadline=None)
@given(rows, st.sampled_from(["float16", "float32"]), st.integers(1, 9), st.data())
def test_rows_come_back_equal_and_in_order(written, dtype, rows_per_shard, data):
    with tempfile.TemporaryDirectory() as folder:
        embed(Path(folder), written, dtype=dtype, rows_per_shard=rows_per_shard)
        store = EmbeddingStore(Path(folder), FixedTeacher().fingerprint)
        assert len(store) == len(written)
        asked = data.draw(st.lists(st.integers(0, len(written) - 1)))
        assert store.texts(asked) == [written[row] for row in asked]
        vectors = store.embeddings(asked)
        expected = [FixedTeacher().vector(*written[row]) for row in asked]
        assert vectors.dtype == dtype
        np.testing.assert_array_equal(vectors, np.reshape(expected, vectors.shape))
        assert np.concatenate(list(store.ids())).tolist() == [text_id(row.text) for row in written]


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(0, 40))
def test_held_out_rows_depend_on_the_texts_alone(written, random, rows_per_shard, count):
    shuffled = random.sample(written, len(written))
    chosen = []
    for some, size in ((written, rows_per_shard), (shuffled, 4)):
        with tempfile.TemporaryDirectory() as folder:
            store = embed(Path(folder), some, rows_per_shard=size)
            held_out = store.held_out(count)
            assert held_out.tolist() == sorted(set(held_out.tolist()))
            chosen.append(store.texts(held_out))
    assert sorted(chosen[0]) == sorted(chosen[1])
    times, sides = (Counter(folded(row.text) for row in part) for part in (written, chosen[0]))
    # Texts of equal content are on the same side, so the last content may add more rows than asked for.
    assert all(sides[content] == times[content] for content in sides)
    more = len(chosen[0]) - min(count, len(written))
    assert 0 <= more < max([1, *(times[content] for content in sides)])


def test_texts_that_overlap_held_out_texts_are_not_trained_on(tmp_path):
    documents = [f"The first sentence of {n} is here. The second sentence of {n} is longer." for n in range(60)]
    asked = [f"the SECOND sentence of {n} is longer" for n in range(60)]
    variants = [f"Another question about {n:02d}{mark}" for n in range(20) for mark in ("", "?", " !")]
    rows = [*(Text(text, "document") for text in documents), *(Text(text, "query") for text in (*asked, *variants))]
    store = embed(tmp_path / "store", rows, rows_per_shard=7)
    held_out = store.held_out(15)
    untrained = store.untrained(held_out)
    assert set(held_out) <= set(untrained)
    contents = {folded(row.text) for row in store.texts(held_out)}
    for row in store.texts(sorted(set(range(len(rows))) - set(untrained))):
        content = folded(row.text)
        assert content not in contents
        assert not any(content in held or held in content for held in contents)
    more = store.texts(sorted(set(untrained) - set(held_out)))
    assert {row.kind for row in more} == {"query", "document"}


def test_a_store_of_an_earlier_version_keeps_its_held_out_rows(tmp_path):
    rows = [Text(f"A first sentence about {n}. A second sentence about {n}.", "document") for n in range(40)]
    store = embed(tmp_path / "store", rows, rows_per_shard=8)
    header = read_sealed(store.folder / "fingerprint.json")
    assert header.pop("held_out_by") == "content"
    (store.folder / "fingerprint.json").write_text(json.dumps(header))
    earlier = EmbeddingStore(store.folder)
    held_out = earlier.held_out(5)
    assert held_out.tolist() == sorted(sorted(range(40), key=lambda row: text_id(rows[row].text))[:5])
    assert earlier.untrained(held_out).tolist() == held_out.tolist() != store.held_out(5).tolist()


def test_the_hash_of_the_texts_depends_on_the_texts_alone(store, tmp_path, monkeypatch):
    ids = b"".join(text_id(row.text).to_bytes(8, "little") for row in TEXTS)
    assert store.texts_digest == hashlib.blake2b(ids, digest_size=8).hexdigest()
    other = embed(tmp_path / "other", rows_per_shard=5, teacher=FixedTeacher(max_length=8))
    assert other.digest != store.digest
    assert other.texts_digest == store.texts_digest
    assert embed(tmp_path / "fewer", TEXTS[:-1]).texts_digest != store.texts_digest
    monkeypatch.setattr(store_module, "_MOST_CHOSEN_AGAIN", 1)
    for _ in range(2):  # made, and read from its file
        assert EmbeddingStore(store.folder).texts_digest == store.texts_digest
        assert (store.folder / f"texts-{store.digest}.npy").is_file()


def test_prompts_stand_in_front(store):
    assert store.prompted([0, 1]) == ["text 0", "q: text 1"]


def test_a_mask_in_place_of_row_numbers_is_refused(store):
    mask = np.arange(len(store)) < 2
    for rows in (mask, mask.tolist()):
        with pytest.raises(
            InputError, match=r"^rows: expected row numbers, found a mask of booleans: pass np\.flatnonz"
        ):
            store.embeddings(rows)
    np.testing.assert_array_equal(store.embeddings(np.flatnonzero(mask)), store.embeddings([0, 1]))


def test_embeddings_are_views_of_the_file(store):
    first, again = (store.shard(1).embeddings for _ in range(2))
    assert not first.flags.owndata
    assert not first.flags.writeable
    assert np.shares_memory(first, again)


def test_dataset_equals_the_store(store):
    dataset = store.to_dataset()
    everything = range(len(store))
    assert len(dataset) == len(store)
    assert dataset[:]["text"] == store.prompted(everything)
    vectors = dataset[:]["label"].numpy()
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, store.embeddings(everything).astype(np.float32))
    assert dataset.select([5, 3])[:]["text"] == store.prompted([5, 3])


def _mapped_files(folder):
    """Count the files in ``folder`` that this process maps."""
    return len({line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line})


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux lists the files that a process maps")
def test_a_store_of_many_shards_maps_few_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "OPEN_SHARDS", 5)
    written = [Text(f"text {number}", "query") for number in range(200)]
    store = embed(tmp_path / "store", written, rows_per_shard=1)
    everything = range(len(store))
    assert store.texts(everything) == written
    expected = np.stack([FixedTeacher().vector(row.text, row.kind) for row in written])
    np.testing.assert_array_equal(store.embeddings(everything), expected.astype(np.float16))
    assert len(store.held_out(20)) == 20
    dataset = store.to_dataset()
    assert dataset[:]["text"] == store.prompted(everything)
    assert dataset.data.column("length").to_pylist() == [len(row.text) for row in written]
    assert _mapped_files(store.folder) <= 5 + 1  # the shards, and the table of the data set


def test_a_data_set_without_lengths_reads_no_text(store, monkeypatch):
    monkeypatch.setattr(store_module, "_ROWS_AT_ONCE", 7)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "open_shard", lambda path: pytest.fail(f"{path} was read"))
        dataset = store.to_dataset(with_lengths=False)
    assert dataset.data.column("row").to_pylist() == list(range(len(store)))
    assert dataset[:]["text"] == store.prompted(range(len(store)))


def test_passes_over_all_rows_leave_no_shard_mapped(store):
    held_out = store.held_out(4)
    store.untrained(held_out[:1])
    assert sum(map(len, store.ids())) == len(store)
    assert _mapped_files(store.folder) == 0
    store.texts([0])
    assert _mapped_files(store.folder) == 1
    store.unmap()
    assert _mapped_files(store.folder) == 0
    assert store.texts([0]) == TEXTS[:1]


def test_only_shards_of_small_stores_are_compared_before_each_training(store, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(store_module, "_COMPARED_AT_START", 38 * 8 * 2 - 1)
    next(store.folder.glob("shard-00000002-*")).write_bytes(b"x")
    store.require_intact()
    assert "are not compared with their checksums; `leaf-st store verify` does" in caplog.text
    monkeypatch.setattr(store_module, "_COMPARED_AT_START", 38 * 8 * 2)
    with pytest.raises(InputError, match=r"shard-00000002-.* is damaged"):
        store.require_intact()


def test_checksums_are_compared_once(store, monkeypatch):
    store.require_intact()
    monkeypatch.setattr(EmbeddingStore, "damaged", lambda self: pytest.fail("compared again"))
    store.require_intact()
    EmbeddingStore(store.folder, verified=True).require_intact()


def test_a_damaged_shard_is_named(store):
    path = next(store.folder.glob("shard-00000002-*"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{path.name} is damaged: run `leaf-st embed` again"):
        store.require_intact()


def test_the_header_says_which_texts_are_one(store):
    assert store.header["unique_by"] == "prompt"
    header = json.loads((store.folder / FINGERPRINT).read_text())
    del header["unique_by"], header["checksum"]  # as earlier versions wrote it
    (store.folder / FINGERPRINT).write_text(json.dumps(header))
    assert EmbeddingStore(store.folder).header["unique_by"] == "kind"
    assert len(embed(store.folder)) == len(store)


def test_an_incomplete_store_does_not_open(tmp_path):
    embed(tmp_path, partition=(0, 2))
    with pytest.raises(InputError, match=r"json is missing: the store is incomplete: run `leaf-st embed` again"):
        EmbeddingStore(tmp_path)


def test_another_folder_does_not_open(tmp_path):
    with pytest.raises(InputError, match="expected a store of vectors"):
        EmbeddingStore(tmp_path)


def test_another_teacher_s_store_does_not_open(store):
    with pytest.raises(InputError, match="expected precision bfloat16, found float32"):
        EmbeddingStore(store.folder, FixedTeacher(precision="bfloat16").fingerprint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 99}', "expected format 1, found 99"),
        ('{"format": 1}', "is damaged"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(store, content, message):
    (store.folder / FINGERPRINT).write_text(content)
    with pytest.raises(InputError, match=message):
        EmbeddingStore(store.folder)


def test_a_manifest_that_says_nothing_is_named(store):
    (store.folder / STORE_MANIFEST).write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        EmbeddingStore(store.folder)


def test_a_pickled_store_is_its_folder(store):
    assert len(list(store.ids())) > 1  # all shards are mapped now
    copied = pickle.dumps(store)
    assert len(copied) < 1000
    assert len(pickle.loads(copied)) == len(store)


def test_a_missing_shard_is_named(store):
    path = next(store.folder.glob("shard-00000002-*"))
    path.unlink()
    assert store.damaged() == [path]
    with pytest.raises(InputError, match=f"{path.name} is missing"):
        store.texts([8])


@pytest.mark.parametrize("name", ["manifest.json", "fingerprint.json"])
def test_json_of_any_depth_or_a_folder_is_named(name, store):
    path = store.folder / name
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=f"{name} is damaged"):
        EmbeddingStore(store.folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=f"{name} is damaged"):
        EmbeddingStore(store.folder)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\xff\xff\xff\xff\0\0\0\0"])
def test_a_file_that_is_no_shard_is_named(content, store):
    path = next(store.folder.glob("shard-00000000-*"))
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"shard .*{path.name} is damaged"):
        EmbeddingStore(store.folder).embeddings([0])


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("manifest.json", "rows", "many"),
        ("manifest.json", "rows", -1),
        ("manifest.json", "shards", 3),
        ("fingerprint.json", "dtype", 1 << 70),
        ("fingerprint.json", "rows_per_shard", 0),
        ("fingerprint.json", "fingerprint", {"dimension": None, "prompts": {}}),
        ("fingerprint.json", "fingerprint", []),
    ],
)
def test_a_value_of_another_type_is_named(name, key, value, store):
    path = store.folder / name
    path.write_text(json.dumps({**read_sealed(path), key: value}))
    with pytest.raises(InputError, match=rf"{name} is damaged \({key}: "):
        EmbeddingStore(store.folder)


def test_a_pipe_in_place_of_a_shard_is_no_shard(store):
    path = next(store.folder.glob("shard-00000001-*"))
    path.unlink()
    os.mkfifo(path)
    assert 1 not in find_shards(store.folder)
    assert 0 in find_shards(store.folder)
    with pytest.raises(InputError, match=f"{path.name} is missing"):
        list(store.ids())


def test_texts_of_the_store_are_found_by_content_unless_an_earlier_version_made_the_store(tmp_path):
    store = embed(tmp_path / "store", [Text(f"a text, number {row}", "document") for row in range(40)])
    asked = ["a text, number 3", "A text; number 3!", "a text, number 40"]
    assert store.include(asked) == [True, True, False]
    store.header["held_out_by"] = "text"
    assert store.include(asked) == [True, False, False]
    assert store.include([]) == []


def test_a_store_in_a_relative_folder_is_found_from_another_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(store.folder.parent)
    relative = EmbeddingStore(Path(store.folder.name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(relative.embeddings([0, 1]), store.embeddings([0, 1]))
    assert len(pickle.loads(pickle.dumps(relative))) == len(store)
