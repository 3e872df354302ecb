import random
import resource
import signal
import time
from functools import partial
from pathlib import Path

import forked
import numpy as np
import pytest
from fixed import TEXTS, FixedTeacher, embed
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.teacher import precompute as precompute_module
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.texts import Text


def _shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The shards of a store that nothing disturbed."""
    folder = tmp_path_factory.mktemp("complete")
    embed(folder)
    return _shards(folder)


def _embed_slowly(folder, seconds):
    embed(folder, teacher=FixedTeacher(seconds=seconds))


def _start(folder, seconds):
    """Embed in a process that takes ``seconds`` for each shard."""
    process = forked.CONTEXT.Process(target=_embed_slowly, args=(folder, seconds))
    process.start()
    return process


def test_a_killed_embedding_resumes_and_ends_with_the_same_bytes(tmp_path, complete):
    moments, before = random.Random(0), 0
    for _ in range(2):
        process = _start(tmp_path, 0.1)
        # Wait for one new shard, so that every kill falls into the work and none into the imports.
        while len(_shards(tmp_path)) == before and process.is_alive():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / STORE_MANIFEST).exists()
        found = _shards(tmp_path)
        assert found.items() < complete.items()
        before = len(found)
    process = _start(tmp_path, 0)
    process.join()
    assert process.exitcode == 0
    assert _shards(tmp_path) == complete
    assert EmbeddingStore(tmp_path).damaged() == []


def test_temporary_files_of_a_kill_are_no_shards_and_no_foreign_files(tmp_path, complete):
    for name in (".fingerprint.json.0a1b2c3d.tmp", ".shard-00000000-0123456789abcdef.arrow.0a1b2c3d.tmp"):
        (tmp_path / name).write_bytes(b"half")
    assert embed(tmp_path).damaged() == []
    assert _shards(tmp_path) == complete
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".shard")]


def test_files_with_other_names_are_neither_read_nor_deleted(tmp_path, complete):
    embed(tmp_path)
    others = [f"{name.removesuffix('.arrow')} (1).arrow" for name in complete]
    others += [f"{name.removesuffix('.arrow')}-copy.arrow" for name in complete]
    others += ["shard-old-1.arrow", ".shard-old-1.tmp", ".shard-00000003-old.arrow.0a1b2c3d.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"a copy that was interrupted")
    next(tmp_path.glob("shard-00000003-*[0-9a-f].arrow")).unlink()
    asked = []
    teacher = FixedTeacher()
    teacher.encode_query = lambda texts: asked.extend(texts) or FixedTeacher.encode_query(teacher, texts)
    assert embed(tmp_path, teacher=teacher).damaged() == []
    assert set(asked) < {text.text for text in TEXTS[12:16]}
    assert {path.name for path in tmp_path.iterdir()} == {*complete, *others, "fingerprint.json", STORE_MANIFEST}
    assert all((tmp_path / name).read_bytes() == content for name, content in complete.items())


def test_the_folder_is_not_listed_for_each_shard(tmp_path, monkeypatch):
    listed, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda *arguments: listed.append(arguments) or glob(*arguments))
    embed(tmp_path / "few", TEXTS[:8])
    few = len(listed)
    embed(tmp_path / "more", TEXTS)
    assert len(listed) == 2 * few


_MANY = [Text(f"text {number}", "query") for number in range(5000)]


@pytest.mark.parametrize("total", [5_000_000, lambda rows: 1000 * rows + 4_000_000 if rows == 1024 else rows])
def test_a_large_store_has_larger_shards(tmp_path, total):
    store = embed(tmp_path, _MANY, rows_per_shard=None, total=total)
    assert [len(ids) for ids in store.ids()] == [4096, 904]
    assert store.texts([4095, 4096]) == _MANY[4095:4097]
    again = embed(tmp_path, _MANY, Unwilling(), rows_per_shard=None)  # whatever the expected number of texts
    assert again.header["rows_per_shard"] == 4096


def test_a_small_store_has_shards_of_1024_rows(tmp_path):
    assert [len(ids) for ids in embed(tmp_path, _MANY, rows_per_shard=None).ids()] == [1024] * 4 + [904]


def test_a_store_with_other_shards_is_resumed(tmp_path, complete):
    first = embed(tmp_path, partition=(0, 2))
    assert first is None
    assert embed(tmp_path, rows_per_shard=None, total=10**9).rows == len(TEXTS)
    assert _shards(tmp_path) == complete


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_partitions_in_any_order_make_the_same_store(tmp_path, complete, order):
    stores = [embed(tmp_path, partition=(index, 3)) for index in order]
    assert stores[:2] == [None, None]
    assert stores[2].rows == len(TEXTS)
    assert _shards(tmp_path) == complete


def test_the_last_of_several_partitions_finishes_the_store(tmp_path, complete):
    def texts():
        yield from TEXTS
        # While this worker has its last block still in hand, the other does all of its work.
        assert embed(tmp_path, partition=(0, 2)) is None

    assert embed(tmp_path, texts(), partition=(1, 2)).rows == len(TEXTS)
    assert _shards(tmp_path) == complete


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty])
def test_a_damaged_shard_is_named_and_made_again(tmp_path, complete, capsys, damage):
    embed(tmp_path)
    path = sorted(tmp_path.glob("shard-*"))[3]
    damage(path)
    assert EmbeddingStore(tmp_path).damaged() == [path]
    assert embed(tmp_path).damaged() == []
    assert f"{path} is damaged: embedding its texts again" in capsys.readouterr().out
    assert _shards(tmp_path) == complete


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty])
def test_each_partition_makes_its_own_damaged_shards_again(tmp_path, complete, damage):
    embed(tmp_path)
    path = sorted(tmp_path.glob("shard-*"))[3]
    damage(path)
    embed(tmp_path, partition=(0, 2))
    assert EmbeddingStore(tmp_path).damaged() == [path]
    assert embed(tmp_path, partition=(1, 2)).damaged() == []
    assert _shards(tmp_path) == complete


def test_each_shard_is_verified_by_the_worker_of_its_partition(tmp_path, monkeypatch):
    embed(tmp_path)
    verified = []
    monkeypatch.setattr("leaf_st.teacher.precompute.is_intact", lambda path: verified.append(path.name) or True)
    for index in range(3):
        embed(tmp_path, partition=(index, 3))
    assert sorted(verified) == sorted(path.name for path in tmp_path.glob("shard-*"))


def test_the_total_may_be_an_estimate_from_the_texts_read_so_far(tmp_path):
    asked = []
    embed(tmp_path, total=lambda rows: asked.append(rows))
    assert asked == [*range(4, len(TEXTS), 4), len(TEXTS)]


class Unwilling(FixedTeacher):
    def _encode(self, texts, kind):
        raise AssertionError("a text was embedded again")


def test_a_whole_store_is_not_embedded_again(tmp_path):
    embed(tmp_path)
    assert embed(tmp_path, teacher=Unwilling()).rows == len(TEXTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "1", "teacher": "other"}, r"expected revision other \(1\), found fixed \(0\)"),
        ({"prompts": {"query": "", "document": ""}}, "expected prompts {'query': '', .*found {'query': 'q: '"),
        ({"max_length": 32}, "expected max_length 32, found 16"),
        ({"normalized": True}, "expected normalized True, found False"),
        ({"precision": "bfloat16"}, "found float32; run the same command again if teacher.precision is auto, or else"),
    ],
)
def test_another_teacher_is_refused_by_both_values(tmp_path, change, message):
    embed(tmp_path)
    with pytest.raises(InputError, match=message):
        embed(tmp_path, teacher=FixedTeacher(**change))


def test_the_same_files_under_another_name_are_the_same_teacher(tmp_path):
    embed(tmp_path)
    assert embed(tmp_path, teacher=FixedTeacher(teacher="a copy")).rows == len(TEXTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32"}, "expected dtype float32, found float16"),
        ({"rows_per_shard": 5}, "expected rows_per_shard 5, found 4"),
    ],
)
def test_another_form_is_refused_by_both_values(tmp_path, change, message):
    embed(tmp_path)
    with pytest.raises(InputError, match=message):
        embed(tmp_path, **change)


@pytest.mark.parametrize("texts", [TEXTS[::-1], TEXTS[1:], TEXTS[:10], TEXTS[:8]])
def test_other_texts_are_refused(tmp_path, texts):
    embed(tmp_path)
    with pytest.raises(InputError, match=r"holds texts other than the .*: name another .*, or delete this one$"):
        embed(tmp_path, texts)
    assert EmbeddingStore(tmp_path).rows == len(TEXTS)


def test_other_kinds_of_the_same_texts_are_refused(tmp_path):
    as_documents = [text._replace(kind="document") for text in TEXTS]  # as a file without a column of kinds gives them
    embed(tmp_path, as_documents)
    with pytest.raises(InputError, match="holds texts other than the given ones, or other kinds of them: name"):
        embed(tmp_path)


def test_other_texts_that_another_partition_adds_meanwhile_are_refused(tmp_path):
    def texts():
        # This worker has listed the shards, and the other one, which reads other texts, does all of its work now.
        assert embed(tmp_path, TEXTS[::-1], partition=(0, 2)) is None
        yield from TEXTS

    with pytest.raises(InputError, match="holds texts other than the given ones"):
        embed(tmp_path, texts(), partition=(1, 2))
    assert not (tmp_path / STORE_MANIFEST).exists()


def test_no_texts_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected texts, found none: name other texts$"):
        embed(tmp_path, [])


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match="is not empty and is not a store of vectors"):
            embed(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class Broken(FixedTeacher):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def vector(self, text, kind):
        vector = super().vector(text, kind)
        return np.where(np.arange(len(vector)) == 5, self.value, vector) if text == "text 6" else vector


class _SmallVectors(FixedTeacher):
    def vector(self, text, kind):
        return 1e-7 * super().vector(text, kind)


def test_vectors_that_are_too_small_for_float16_never_enter(tmp_path):
    with pytest.raises(
        InputError, match=r"found a vector of norm .*e-0\d that loses \d+% of its length.*store_dtype='float32'"
    ):
        embed(tmp_path / "store", teacher=_SmallVectors())
    assert embed(tmp_path / "float32", teacher=_SmallVectors(), dtype="float32").rows


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(np.nan, "float16"), (np.inf, "float32"), (-np.inf, "float16"), (7e4, "float16")],
)
def test_values_that_are_not_finite_never_enter(tmp_path, value, dtype):
    remedy = r": set teacher\.store_dtype=.float32. if the va" if dtype == "float16" else ": name another teacher"
    found = "NaN or infinite values" if dtype == "float32" or abs(value) != 7e4 else "values too large for float16"
    message = rf"as {dtype}, found {found} for 1 of the 4 texts in rows 4 to 7 .*, first for row 6, 'text 6'{remedy}"
    with pytest.raises(InputError, match=message):
        embed(tmp_path, teacher=Broken(value), dtype=dtype)
    assert [path.name[:14] for path in tmp_path.glob("shard-*")] == ["shard-00000000"]
    assert not (tmp_path / STORE_MANIFEST).exists()


def test_what_float16_cannot_hold_float32_can(tmp_path):
    store = embed(tmp_path, teacher=Broken(7e4), dtype="float32")
    assert store.embeddings([6])[0, 5] == 7e4


def test_skipped_rows_are_written_down(tmp_path):
    assert embed(tmp_path, skipped={"empty": 3}).skipped == {"empty": 3}


def _embed_within(folder, limit):
    """Embed where no file may have more than ``limit`` bytes, and print the error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        embed(folder)
    except OSError as error:
        print(error.strerror)


def test_a_write_that_fails_leaves_no_shard(tmp_path, complete):
    done = forked.run(_embed_within, tmp_path, min(map(len, complete.values())) - 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.json"]
    embed(tmp_path)
    assert _shards(tmp_path) == complete


def test_an_embedding_resumes_without_a_progress_bar(tmp_path, monkeypatch):
    # Several processes show the bar of the first one only.
    monkeypatch.setattr(precompute_module, "tqdm", partial(tqdm, disable=True))
    first = embed(tmp_path / "store")
    again = embed(tmp_path / "store")
    assert len(first) == len(again)


class Collapsed(FixedTeacher):
    """Gives one vector, except for rounding."""

    texts = 0

    def vector(self, text, kind):
        self.texts += 1
        return np.full(8, 0.5, dtype=np.float32) + np.float32(1e-7) * (self.texts % 2)


class Wordless(FixedTeacher):
    """A teacher in bfloat16 that has no token for any text."""

    def __init__(self):
        super().__init__(precision="bfloat16")

    def vector(self, text, kind):
        return np.zeros(8, dtype=np.float32)

    def in_float32(self):
        return self


def test_texts_without_a_token_are_named(tmp_path, caplog):
    with pytest.raises(InputError, match="found zeros for all of the first 4 texts, as models give them for texts"):
        embed(tmp_path, teacher=Wordless())
    assert not caplog.messages


@pytest.mark.parametrize(("number", "found"), [(38, "all of the first 4 texts"), (3, "all 3 texts")])
def test_a_teacher_of_one_vector_is_refused_after_the_first_block(tmp_path, number, found):
    teacher = Collapsed()
    with pytest.raises(InputError, match=f"fixed: expected vectors that differ, found the same vector for {found}: "):
        embed(tmp_path, TEXTS[:number], teacher)
    assert teacher.texts == min(number, 4)
    assert not list(tmp_path.glob("shard-*"))


class Unbounded(FixedTeacher):
    def vector(self, text, kind):
        return np.full(8, -np.inf) if text == "text 1" else super().vector(text, kind)


def test_infinite_numbers_are_not_taken_for_equal_vectors(tmp_path):
    with pytest.raises(InputError, match="found NaN or infinite values for 1 of the 4 texts"):
        embed(tmp_path, teacher=Unbounded())


def test_a_single_text_needs_no_other_vector(tmp_path):
    assert len(embed(tmp_path, TEXTS[:1], Collapsed())) == 1
