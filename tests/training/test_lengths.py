import numpy as np
import pytest

from leaf_st.models.random_weights import WIDTH
from leaf_st.student.static import build_static
from leaf_st.teacher.precompute import precompute
from leaf_st.training.lengths import token_lengths


@pytest.fixture
def own_store(tmp_path, teacher, texts):
    return precompute(texts[:40], teacher, tmp_path / "store", rows_per_shard=16)


def _files(store):
    return sorted(store.folder.glob("tokens-*"))


def test_counts_are_the_tokenizer_s(own_store, tiny_student):
    tiny_student.max_seq_length = 20
    counts = token_lengths(own_store, tiny_student)
    expected = [int(tiny_student.preprocess([text])["attention_mask"].sum()) for text in own_store.prompted(range(40))]
    assert counts.tolist() == expected
    assert max(expected) == 20


def test_the_file_is_made_once(own_store, tiny_student):
    token_lengths(own_store, tiny_student)
    (path,) = _files(own_store)
    before = path.stat().st_mtime_ns
    tiny_student.encode(["a tokenizer that has worked is the same tokenizer"])
    token_lengths(own_store, tiny_student)
    assert _files(own_store) == [path]
    assert path.stat().st_mtime_ns == before


def test_a_table_pads_nothing_so_nothing_is_counted(own_store, tiny_teacher_folder):
    static = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    assert token_lengths(own_store, static).tolist() == [0] * 40
    assert not _files(own_store)


def test_another_maximum_has_another_file(own_store, tiny_student):
    tiny_student.max_seq_length = 20
    first = token_lengths(own_store, tiny_student)
    tiny_student.max_seq_length = 10
    second = token_lengths(own_store, tiny_student)
    assert len(_files(own_store)) == 2
    assert np.array_equal(second, np.minimum(first, 10))
