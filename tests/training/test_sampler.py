import time
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.models.random_weights import WIDTH
from leaf_st.student.static import build_static
from leaf_st.teacher.precompute import precompute
from leaf_st.training import token_lengths as token_lengths_module
from leaf_st.training.sampler import LengthGroupedBatchSampler
from leaf_st.training.token_lengths import lengths_of, tokens_of


@st.composite
def _samplers(draw):
    rows = draw(st.integers(1, 300))
    left_out = draw(st.sets(st.integers(0, rows - 1), max_size=rows))
    sampler = LengthGroupedBatchSampler(
        np.random.default_rng(rows).integers(1, 50, size=rows).astype(np.uint16),
        batch_size=draw(st.integers(1, 40)),
        seed=draw(st.integers(0, 5)),
        leave_out=np.array(sorted(left_out), dtype=np.int64),
        drop_last=draw(st.booleans()),
        rows_per_chunk=draw(st.integers(1, 50)),
        chunks_per_window=draw(st.integers(1, 8)),
    )
    sampler.set_epoch(draw(st.integers(0, 3)))
    return sampler, set(range(rows)) - left_out


@given(_samplers())
def test_every_row_comes_once_and_none_of_those_left_out(made):
    sampler, rows = made
    batches = list(sampler)
    seen = [row for batch in batches for row in batch]
    assert len(seen) == len(set(seen))
    if sampler.drop_last:
        assert set(seen) <= rows
        assert len(seen) == len(rows) - len(rows) % sampler.batch_size
    else:
        assert set(seen) == rows


@given(_samplers())
def test_batches_are_full_but_for_the_last(made):
    sampler, rows = made
    sizes = [len(batch) for batch in sampler]
    assert len(sampler) == len(sizes)
    assert all(size == sampler.batch_size for size in sizes[:-1])
    if sizes and not sampler.drop_last:
        assert sizes[-1] == (len(rows) % sampler.batch_size or sampler.batch_size)


def _lengths(rows=20_000):
    return np.clip(np.random.default_rng(0).lognormal(4, 0.9, size=rows), 3, 512).astype(np.uint16)


def _order(seed, epoch, consumed=0):
    sampler = LengthGroupedBatchSampler(_lengths(), 32, seed)
    list(islice(sampler, consumed))
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_depends_on_seed_and_epoch_alone():
    assert _order(1, 2) == _order(1, 2, consumed=7)
    assert _order(1, 2) != _order(1, 3)
    assert _order(1, 2) != _order(2, 2)


def test_other_batches_in_another_epoch_and_not_only_another_order_of_them():
    first, second = ({frozenset(batch) for batch in _order(1, epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 10


def test_little_padding():
    lengths = _lengths()
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in LengthGroupedBatchSampler(lengths, 32))
    assert lengths.sum(dtype=np.int64) / padded > 0.95


def test_long_and_short_batches_alternate():
    lengths = _lengths()
    means = np.array([lengths[batch].mean() for batch in LengthGroupedBatchSampler(lengths, 32)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.15


class _HundredMillion:
    """Lengths that are made when asked for, as a memory map reads them."""

    def __len__(self):
        return 100_000_000

    def __getitem__(self, rows):
        return (np.arange(rows.start, min(rows.stop, len(self))) % 509).astype(np.uint16)


def test_memory_and_start_do_not_grow_with_the_rows():
    left_out = np.arange(0, 100_000_000, 25_000)
    tracemalloc.start()
    began = time.perf_counter()
    batches = list(islice(LengthGroupedBatchSampler(_HundredMillion(), 32, leave_out=left_out), 4_000))
    seconds = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(batches) == 4_000
    assert peak < 200e6
    assert seconds < 5


@pytest.fixture
def own_store(tmp_path, teacher, texts):
    return precompute(texts[:40], teacher, tmp_path / "store", rows_per_shard=16)


def _files(store):
    return sorted(store.folder.glob("tokens-*.npy"))


def test_counts_are_the_tokenizer_s(own_store, tiny_student):
    tiny_student.max_seq_length = 20
    counts = tokens_of(own_store, tiny_student)[0]
    expected = [int(tiny_student.preprocess([text])["attention_mask"].sum()) for text in own_store.prompted(range(40))]
    assert counts.tolist() == expected
    assert max(expected) == 20


def test_the_file_is_made_once(own_store, tiny_student):
    tokens_of(own_store, tiny_student)
    (path,) = _files(own_store)
    before = path.stat().st_mtime_ns
    tiny_student.encode(["a tokenizer that has worked is the same tokenizer"])
    tokens_of(own_store, tiny_student)
    assert _files(own_store) == [path]
    assert path.stat().st_mtime_ns == before
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert tokens_of(own_store, tiny_student)[0].max() < 256  # counted again


def test_a_large_store_counts_the_tokens_that_are_asked_for(own_store, tiny_student, monkeypatch):
    expected = np.array(tokens_of(own_store, tiny_student)[0])
    monkeypatch.setattr(token_lengths_module, "COUNTED_AT_START", 39)
    counted, count = [], token_lengths_module.token_counts
    monkeypatch.setattr(token_lengths_module, "token_counts", lambda *given: counted.append(given[1]) or count(*given))
    lengths = tokens_of(own_store, tiny_student)[0]
    assert not counted
    assert len(lengths) == 40
    assert lengths[3:20].tolist() == expected[3:20].tolist()
    assert counted == [own_store.prompted(range(3, 20))]
    again = tokens_of(own_store, tiny_student)[0]  # as after a restart
    assert again[5:12].tolist() == expected[5:12].tolist()
    assert len(counted) == 1
    rows = np.array([30, 4, 39])
    assert lengths_of(again, rows).tolist() == lengths_of(expected, rows).tolist() == expected[rows].tolist()
    batches = [list(LengthGroupedBatchSampler(known, 8, seed=3, rows_per_chunk=4)) for known in (again, expected)]
    assert batches[0] == batches[1]


def test_a_table_pads_nothing_so_nothing_is_counted(own_store, tiny_teacher_folder):
    static = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    assert tokens_of(own_store, static)[0].tolist() == [0] * 40
    assert not _files(own_store)


def test_another_maximum_has_another_file(own_store, tiny_student):
    tiny_student.max_seq_length = 20
    first = tokens_of(own_store, tiny_student)[0]
    tiny_student.max_seq_length = 10
    second = tokens_of(own_store, tiny_student)[0]
    assert len(_files(own_store)) == 2
    assert np.array_equal(second, np.minimum(first, 10))


def test_the_parts_of_a_large_batch_are_similar_in_length():
    lengths = np.random.default_rng(0).lognormal(4, 0.7, 300_000).astype(np.uint16)
    batches = list(LengthGroupedBatchSampler(lengths, 2048, drop_last=True))
    padded = lengths[np.array(batches)].reshape(len(batches), 64, 32).max(axis=2)
    assert padded.mean() > 0.97 * padded.max(axis=1).mean()  # a step lasts as long as its longest part
