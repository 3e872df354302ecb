"""Saved configs that versions of transformers before 5 read: their own names, with the values of the model."""

import inspect
import json

import numpy as np
import pytest
from families import save_teacher
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from leaf_st.models.earlier_transformers import add_earlier_names, earlier_names
from leaf_st.models.identity import identify
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.student.build import build_student

FULL, WINDOW = "full_attention", "sliding_attention"


def _default(theta):
    return {"rope_type": "default", "rope_theta": theta}


def _modernbert(kinds):
    parameters = {FULL: _default(160000.0), WINDOW: _default(10000.0)}
    return {"model_type": "modernbert", "rope_parameters": parameters, "layer_types": kinds}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert"}, {}),
        ({"model_type": "bert", "rope_parameters": None}, {}),
        ({"model_type": "mistral", "rope_parameters": _default(1e6)}, {"rope_theta": 1e6}),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        ),
        (
            {"model_type": "gemma3_text", "rope_parameters": {FULL: _default(1e6), WINDOW: _default(1e4)}},
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        ),
        (
            _modernbert([FULL, WINDOW, WINDOW, FULL]),
            {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3},
        ),
        (_modernbert([FULL, WINDOW, WINDOW, FULL, FULL]), None),
        ({"model_type": "another", "rope_parameters": {FULL: _default(1e6), WINDOW: _default(1e4)}}, None),
    ],
)
def test_values_have_the_names_of_earlier_versions(config, expected):
    assert earlier_names(config) == expected


def test_tokens_and_classes_of_tokenizers_have_earlier_names(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    tokenizer = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<extra_id_0>"], "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    add_earlier_names(tmp_path, ["input_ids"])
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "model_input_names": ["input_ids"],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<extra_id_0>"],
        "pad_token": "<pad>",
    }


def test_a_model_that_earlier_versions_cannot_describe_keeps_the_class_that_they_refuse(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(_modernbert([FULL, FULL, WINDOW])))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TokenizersBackend"}))
    add_earlier_names(tmp_path, ["input_ids"])
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"tokenizer_class": "TokenizersBackend"}


@pytest.mark.parametrize(("family", "ends"), [("llama", True), ("llama", False)])
def test_earlier_classes_that_follow_settings_find_the_added_tokens(family, ends, tmp_path):
    folder = save_teacher(family, tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]" if ends else "[CLS] $A", special_tokens=tokens
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    names = {"tokenizer_class": "LlamaTokenizer", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    model = load_model(folder, device="cpu")
    save_portable(model, tmp_path / "saved")
    saved = json.loads(next((tmp_path / "saved").rglob("tokenizer_config.json")).read_text())
    assert saved["tokenizer_class"].startswith("Llama")
    assert (saved["add_bos_token"], saved["add_eos_token"]) == (True, ends)
    again = load_model(tmp_path / "saved", device="cpu")
    np.testing.assert_array_equal(again.encode(["a text"]), model.encode(["a text"]))


@pytest.mark.parametrize("family", ["bert", "gemma3", "llama", "modernbert", "qwen3", "t5"])
def test_the_installed_version_reads_the_same_model(family, tmp_path):
    teacher = save_teacher(family, tmp_path)
    student = build_student(teacher, dimension=16, normalized=True, device="cpu")
    save_portable(student, tmp_path / "student")
    again = load_model(tmp_path / "student", device="cpu")
    texts = ["a text of words and letters that is longer than any window", "b"]
    np.testing.assert_array_equal(again.encode(texts), student.encode(texts))
    assert identify(again).revision == identify(student).revision
    names = json.loads((tmp_path / "student" / "tokenizer_config.json").read_text())["model_input_names"]
    assert ("token_type_ids" in names) is ("token_type_ids" in inspect.signature(student[0].model.forward).parameters)
    save_portable(again, tmp_path / "again")
    for name in ("config.json", "tokenizer_config.json"):
        saved, second = (json.loads((tmp_path / place / name).read_text()) for place in ("student", "again"))
        assert second.items() >= {key: value for key, value in saved.items() if key != "_name_or_path"}.items()
