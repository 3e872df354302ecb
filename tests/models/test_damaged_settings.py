"""Damaged JSON in a model folder: one line of error, which names the file."""

import os

import pytest

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.portable import add_requirement, save_portable
from leaf_st.models.random_weights import shape_if_missing

FILES = [
    "config.json",
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
]
CONTENTS = {
    "cut": b'{"a": ',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte-order mark": b'\xef\xbb\xbf{"a": 1}',
    "NUL": b"\0",
    "nested": b"[" * 100_000,
    "a number": b"1",
    "a text": b'"a"',
}


@pytest.fixture
def model(tiny_student, tmp_path):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    return folder


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(model, name, content):
    (model / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_model(str(model))
    assert str(model / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_settings_are_not_published(model, tiny_student):
    path = model / "config_sentence_transformers.json"
    for content in (CONTENTS["cut"], CONTENTS["nested"], CONTENTS["a number"]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{path.name}.*: save the model again$"):
            add_requirement(tiny_student, model)


@pytest.mark.parametrize("name", ["modules.json", "config.json"])
def test_a_pipe_is_refused_before_it_is_read(model, name):
    (model / name).unlink()
    os.mkfifo(model / name)
    with pytest.raises(InputError, match=name):
        load_model(str(model))


def test_a_deeply_nested_config_names_no_known_shape(tmp_path):
    (tmp_path / "config.json").write_bytes(CONTENTS["nested"])
    with pytest.raises(InputError, match=f"found no model.safetensors in {tmp_path}"):
        shape_if_missing(str(tmp_path), None)
