import pickle
import shutil

import numpy as np
import pytest
import torch
from from_scratch import same_model, train

from leaf_st.models.random_weights import WIDTH
from leaf_st.student.static import build_static
from leaf_st.teacher.precompute import precompute
from leaf_st.training import token_ids as token_ids_module
from leaf_st.training import token_lengths as token_lengths_module
from leaf_st.training.token_ids import Batches, can_keep_ids, dtype_of
from leaf_st.training.token_lengths import tokens_of

ROWS = [39, 0, 17, 17, 38]


@pytest.fixture
def own_store(tmp_path, teacher, texts):
    return precompute(texts[:40], teacher, tmp_path / "store", rows_per_shard=16)


@pytest.mark.parametrize("side", ["right", "left"])
def test_features_are_the_tokenizer_s(own_store, tiny_student, side):
    tiny_student.max_seq_length = 20
    tiny_student.tokenizer.padding_side = side
    _, ids = tokens_of(own_store, tiny_student)
    expected = tiny_student[0].preprocess(own_store.prompted(ROWS))
    found = ids.features(ROWS)
    assert found.keys() == expected.keys()
    assert found["input_ids"].shape[1] == 20
    for name, value in expected.items():
        assert torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value


def test_places_of_rows_beyond_the_first_group(own_store, tiny_student, monkeypatch):
    monkeypatch.setattr(token_ids_module, "_GROUP", 8)
    _, ids = tokens_of(own_store, tiny_student)
    expected = tiny_student[0].preprocess(own_store.prompted([39, 8, 7, 31]))["input_ids"]
    assert torch.equal(ids.features([39, 8, 7, 31])["input_ids"], expected)


def test_a_pickle_of_batches_has_no_tokens(own_store, tiny_student):
    lengths, ids = tokens_of(own_store, tiny_student)
    batches = Batches(own_store, ids)
    content = pickle.dumps(batches)
    (path,) = own_store.folder.glob("tokens-*.ids")
    assert path.read_bytes()[-32:] not in content
    assert lengths[-16:].tobytes() not in content
    found, expected = pickle.loads(content)(ROWS), batches(ROWS)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value


def test_a_damaged_file_is_written_again(own_store, tiny_student):
    _, ids = tokens_of(own_store, tiny_student)
    before = ids.features(ROWS)["input_ids"]
    (path,) = own_store.folder.glob("tokens-*.ids")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert torch.equal(tokens_of(own_store, tiny_student)[1].features(ROWS)["input_ids"], before)


def test_a_large_id_needs_four_bytes(tiny_student, monkeypatch):
    assert dtype_of(tiny_student) == np.dtype("<u2")
    monkeypatch.setattr(tiny_student.tokenizer, "get_vocab", lambda: {"[CLS]": 1, "after a gap": 65_536})
    assert dtype_of(tiny_student) == np.dtype("<u4")


def test_ids_of_another_store_are_not_used(tmp_path, teacher, texts, tiny_student):
    first = precompute(texts[:40], teacher, tmp_path / "first")
    tokens_of(first, tiny_student)
    other = precompute([*texts[:20], *texts[60:80]], teacher, tmp_path / "other")
    for path in first.folder.glob("tokens-*"):  # as after a store was deleted and embedded again, except these files
        shutil.copy(path, other.folder)
    _, ids = tokens_of(other, tiny_student)
    expected = tiny_student[0].preprocess(other.prompted(range(40)))["input_ids"]
    assert torch.equal(ids.features(range(40))["input_ids"], expected)


def test_texts_without_a_token_are_counted(tmp_path, teacher, texts, tiny_student, caplog, monkeypatch):
    monkeypatch.setattr("leaf_st.teacher.store.EmbeddingStore.prompted", lambda self, rows: ["" for _ in rows])
    store = precompute(texts[:40], teacher, tmp_path / "store")
    tokens_of(store, tiny_student)
    assert "40 of 40 texts have no token in the student's vocabulary" in caplog.text


def test_a_table_has_no_ids(own_store, tiny_teacher_folder):
    static = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    assert not can_keep_ids(static)
    assert tokens_of(own_store, static)[1] is None


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_from_ids_train_the_student_of_batches_from_texts(
    tmp_path, recipe, changed, store, workers, monkeypatch
):
    run = changed(recipe, max_steps=3, dataloader_num_workers=workers)
    train(run, store, tmp_path / "ids")
    assert list(store.folder.glob("tokens-*.ids"))
    monkeypatch.setattr(token_lengths_module, "can_keep_ids", lambda _: False)
    train(run, store, tmp_path / "texts")
    assert same_model(tmp_path / "ids", tmp_path / "texts")


@pytest.mark.parametrize("shape", [min, max])
def test_ids_that_differ_from_the_tokenizer_s_are_not_used(own_store, tiny_student, monkeypatch, shape):
    """Only the shortest or the longest text differs."""
    first = tiny_student[0]
    preprocess = first.preprocess
    chosen = shape(own_store.prompted(range(40)), key=lambda text: len(first.tokenizer(text)["input_ids"]))

    def other(texts, **options):
        return preprocess([text[::-1] if text == chosen else text for text in texts], **options)

    monkeypatch.setattr(first, "preprocess", other)
    assert tokens_of(own_store, tiny_student)[1] is None
