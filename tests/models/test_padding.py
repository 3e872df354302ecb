"""A text has one vector, whatever the texts beside it in a batch."""

import json

import pytest
from families import save_family

from leaf_st.errors import InputError
from leaf_st.models.load import load_model


@pytest.mark.parametrize("family", ["fnet", "convbert", "canine"])
@pytest.mark.parametrize("role", ["teacher", "student backbone"])
def test_a_model_that_reads_padding_is_refused(family, role, tmp_path):
    folder = save_family(family, tmp_path)
    with pytest.raises(InputError, match=rf"{role} .*: expected a model that ignores the padding.* \(type {family}\)"):
        load_model(folder, role=role, device="cpu")


def test_a_model_that_short_texts_change_is_refused(tmp_path):
    folder = save_family("big_bird", tmp_path)
    with pytest.raises(InputError, match=r"found attention_type=block_sparse in config\.json, .*: set attention_type"):
        load_model(folder, role="teacher", device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_type": "original_full"}))
    load_model(folder, role="teacher", device="cpu")


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3", "longformer", "deberta-v2", "modernbert", "t5"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_that_ignores_padding_is_loaded(family, precision, tmp_path):
    load_model(save_family(family, tmp_path), precision=precision, device="cpu")
