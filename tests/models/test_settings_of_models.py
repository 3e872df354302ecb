"""Values in a model's JSON files that libraries read in silence, or refuse without naming the file."""

import json

import pytest

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable

GENERAL = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
DENSE = "2_Dense/config.json"


@pytest.fixture
def model(tiny_student, tmp_path):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    return folder


def _refused(model, expected):
    with pytest.raises(InputError, match=expected) as caught:
        load_model(str(model), role="teacher")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        (GENERAL, "prompts", None),
        (GENERAL, "prompts", ["query: "]),
        (GENERAL, "prompts", {"query": 5}),
        (GENERAL, "prompts", {"query": "half \ud83d"}),
        (GENERAL, "default_prompt_name", 1),
        (GENERAL, "similarity_fn_name", "dot_score"),
        (GENERAL, "truncate_dim", "8"),
        (POOLING, "pooling_mode_cls_token", "false"),
        (POOLING, "include_prompt", "false"),
        (DENSE, "bias", "false"),
        (DENSE, "in_features", "32"),
        (DENSE, "activation_function", "torch.nn.modules.activation.Tanhh"),
        (DENSE, "activation_function", "torch.nn.modules.linear.Bilinear"),
        ("config.json", "num_attention_heads", 0),
        ("config.json", "hidden_act", "gelu_of_mine"),
        ("config.json", "dtype", "float5"),
    ],
)
def test_a_value_of_a_wrong_type_or_range_is_named_with_its_file(model, file, key, value):
    path = model / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    _refused(model, rf"teacher .*: expected {key} in {path} to be .*, found .*: correct the value$")


def test_values_that_may_be_null_are_accepted(model):
    path = model / GENERAL
    settings = {**json.loads(path.read_text()), "prompts": {"query": None}, "similarity_fn_name": None}
    path.write_text(json.dumps(settings))
    load_model(str(model))


def test_a_pooling_without_a_mode_is_refused(model):
    settings = json.loads((model / POOLING).read_text())
    off = {key: False if key.startswith("pooling_mode") else value for key, value in settings.items()}
    (model / POOLING).write_text(json.dumps(off))
    _refused(model, "expected a mode of pooling in .*, found only false: set one mode to true")


def _change_modules(model, change):
    path = model / "modules.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_modules_have_different_names(model):
    _change_modules(model, lambda modules: [{**module, "name": "0"} for module in modules])
    _refused(model, "expected different names of modules in .*modules.json, found '0' twice")


def test_the_first_module_reads_texts(model):
    _change_modules(model, lambda modules: modules[::-1])
    _refused(model, "expected a first module that reads texts, such as Transformer, found the order Normalize, Dense")


def test_a_model_without_pooling_is_named(model):
    _change_modules(model, lambda modules: modules[:1])
    _refused(
        model, "expected a module that makes one vector of a text's tokens, such as Pooling, found none in modules"
    )


def test_weights_of_other_shapes_are_named(model):
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 5000}))
    _refused(model, r"weights of the shapes that config\.json states, found embeddings\.word_embeddings\.weight \(\[")


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "found the empty file"), (b"<html>Log in</html>", "found damaged content in")]
)
def test_damaged_weights_are_named(model, content, expected):
    path = model / "model.safetensors"
    path.write_bytes(content)
    _refused(model, f"{expected} {path}")


def test_a_tokenizer_of_a_later_version_is_named(model):
    path = model / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["pre_tokenizer"] = {"type": "NewSplit"}
    path.write_text(json.dumps(settings))
    _refused(model, f"found damaged or newer content in {path}")


def test_vocabularies_that_cannot_be_read_are_the_reason_that_is_named(model):
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_bytes("café".encode("latin-1"))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "BertTokenizer"}))
    _refused(model, f"the files of a tokenizer in {model}, found some that cannot be read .*UTF-8")
