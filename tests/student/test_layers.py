import json

import numpy as np
import pytest
import torch
import transformers
from families import save_family
from transformers import CLIPConfig, CLIPModel

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.student.build import build_student
from leaf_st.student.layers import keep_layers

# Longer than the attention windows of the families, so that a layer with a wrong window gives other vectors.
TEXTS = ["a text of words and letters that is longer than any window", "b"]


_SHAPE = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _model(name, **values):
    """Return a tiny model of four layers, of a family that the installed transformers may lack."""
    if not hasattr(transformers, f"{name}Config"):
        pytest.skip(f"this version of transformers has no {name}")
    return getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**_SHAPE, **values)).eval()


def _build(folder, layers=None):
    return build_student(folder, dimension=24, normalized=True, layers=layers, max_length=32, device="cpu")


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "gpt-neo", "modernbert", "longformer", "t5", "roberta"])
def test_a_saved_student_of_picked_layers_gives_the_same_vectors(family, tmp_path):
    student = _build(save_family(family, tmp_path), layers=(0, 2, 5))
    save_portable(student, tmp_path / "student")
    again = load_model(tmp_path / "student", device="cpu")
    assert again[0].model.config.num_hidden_layers == 3
    assert again[0].model.state_dict().keys() == student[0].model.state_dict().keys()
    np.testing.assert_array_equal(again.encode(TEXTS), student.encode(TEXTS))


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "longformer"])
def test_a_picked_layer_keeps_its_attention_window(family, tmp_path):
    backbone = load_model(save_family(family, tmp_path), device="cpu")[0].model.config
    picked = _build(tmp_path / family, layers=(1, 2, 5))[0].model.config
    key = "attention_window" if family == "longformer" else "layer_types"
    assert getattr(picked, key) == [getattr(backbone, key)[layer] for layer in (1, 2, 5)]


def test_both_forms_of_a_config_name_the_kinds_of_the_picked_layers(tmp_path):
    config = _build(save_family("gpt-neo", tmp_path), layers=(1, 2, 5))[0].model.config
    assert config.attention_layers == ["local", "global", "local"]
    assert config.expand_attention_types_params(config.attention_types) == config.attention_layers


@pytest.mark.parametrize("family", ["modernbert", "t5"])
def test_a_first_layer_with_weights_of_its_own_must_be_kept(family, tmp_path):
    folder = save_family(family, tmp_path)
    with pytest.raises(
        InputError, match=r"^student\.layers: expected layer 0 .*other weights .* found 1,3: keep layer 0"
    ):
        _build(folder, layers=(1, 3))


def test_a_model_of_images_and_texts_has_no_stack_of_layers():
    text = {
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    image = {**text, "image_size": 32, "patch_size": 16}
    with pytest.raises(
        InputError, match=r"^student\.layers: expected a model with one stack of layers, .* type clip: set"
    ):
        keep_layers(CLIPModel(CLIPConfig(text_config=text, vision_config=image)), [0])


def test_layers_that_are_scaled_by_their_number_keep_their_number(tmp_path):
    config = save_family("gpt2", tmp_path) / "config.json"
    assert _build(config.parent, layers=(1,))[0].model.config.num_hidden_layers == 1
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scale_attn_by_inverse_layer_idx": True}))
    with pytest.raises(InputError, match=r"^student\.layers: expected the first layers, such as 0, .* found 1: name"):
        _build(config.parent, layers=(1,))
    assert _build(config.parent, layers=(0,))[0].model.config.num_hidden_layers == 1


@pytest.mark.parametrize("family", ["t5", "longformer", "roberta", "modernbert"])
def test_training_mode_adds_no_noise_in_any_family(family, tmp_path):
    student = _build(save_family(family, tmp_path)).train()
    first, second = (student(student.preprocess(TEXTS))["sentence_embedding"] for _ in range(2))
    assert torch.equal(first, second)


def test_weights_outside_of_the_layers_are_no_reason_to_keep_layer_0(tmp_path):
    folder = save_family("esm", tmp_path)
    expected = "found esm, where a model of the layers 1,3 needs weights of other names or shapes .*, such as contact_h"
    with pytest.raises(InputError, match=expected):
        _build(folder, (1, 3))


def test_values_for_single_layers_are_no_values_for_the_picked_layers(tmp_path):
    model = load_model(save_family("bert", tmp_path), device="cpu")[0].model
    model.config.per_layer_config = {1: {"intermediate_size": 8}}
    with pytest.raises(
        InputError,
        match=r"^student\.layers: .* found per_layer_config in the config of the model type bert: set student",
    ):
        keep_layers(model, [0, 5])
    assert model.config.num_hidden_layers == 6


@pytest.mark.parametrize("layers", [(0, 2), (1,)])
def test_a_layer_that_computes_with_its_number_is_refused(layers):
    message = (
        r"^student\.layers: .* found diffllama, where a model of the layers [\d,]+ computes in layer \d with "
        r"self_attn\.lambda_init=.* in place of .*: set student\.layers=None"
    )
    with pytest.raises(InputError, match=message):
        keep_layers(_model("DiffLlama"), layers)


def test_the_first_layers_keep_the_values_of_their_numbers():
    model, ids = _model("DiffLlama"), torch.arange(3, 9)[None]
    expected = model(ids, output_hidden_states=True).hidden_states[2]
    picked = keep_layers(model, (0, 1))
    torch.testing.assert_close(picked(ids).last_hidden_state, picked.norm(expected))


def test_a_layer_that_computes_with_the_number_of_layers_is_refused():
    width = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8}
    expected = r"found minicpm3, .* computes in layer 0 with residual_scale=1\.0 in place of 0\.5: set student"
    with pytest.raises(InputError, match=expected):
        keep_layers(_model("MiniCPM3", scale_depth=1, **width), (0,))


def test_every_list_of_a_config_with_one_entry_for_each_layer_is_picked():
    values = {"layer_types": ["full_attention"] * 4, "layer_rope_theta": [100.0, 0.0, 10000.0, 0.0]}
    model, ids = _model("GraniteSWA", initializer_range=0.3, **values), torch.arange(3, 15)[None]
    dropped = model.layers[1]
    dropped.forward = lambda hidden_states, *_, **__: hidden_states  # the same model without layer 1
    expected = model(ids).last_hidden_state
    del dropped.forward
    picked = keep_layers(model, (0, 2, 3))
    assert picked.config.layer_rope_theta == [100.0, 10000.0, 0.0]
    torch.testing.assert_close(picked(ids).last_hidden_state, expected)


def test_a_list_of_the_numbers_of_all_layers_or_for_all_layers_is_not_picked():
    model = _model("Llama")
    model.config.numbers, model.config.eos_token_id = [0, 1, 2, 3], [2, 3, 4, 5]
    config = keep_layers(model, (0, 3)).config
    assert (config.numbers, config.eos_token_id) == ([0, 1, 2, 3], [2, 3, 4, 5])


def test_a_model_that_cannot_have_fewer_layers_is_one_line():
    width = {"vocab_size_per_layer_input": 30, "hidden_size_per_layer_input": 8, "laurel_rank": 4}
    shared = {"num_kv_shared_layers": 2, "layer_types": ["full_attention", "sliding_attention"] * 2}
    expected = (
        r"found gemma3n_text, where a model of the layers 0,3 cannot be made \(ValueError: The set .*\): set student"
    )
    with pytest.raises(InputError, match=expected):
        keep_layers(_model("Gemma3nText", **width, **shared), (0, 3))


def test_outputs_and_the_pooler_of_a_backbone_do_not_hinder_a_student(tmp_path):
    folder = save_family("bert", tmp_path)
    for name, values in {
        "config.json": {"output_attentions": True, "output_hidden_states": True},
        "sentence_bert_config.json": {"model_args": {"add_pooling_layer": False}},
    }.items():
        known = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
        (folder / name).write_text(json.dumps({**known, **values}))
    student = _build(folder, layers=(0, 2))
    save_portable(student, tmp_path / "student")
    again = load_model(tmp_path / "student", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), student.encode(TEXTS))


def test_a_list_of_all_layers_is_said_to_make_no_smaller_encoder(tmp_path, caplog):
    folder = save_family("bert", tmp_path)
    _build(folder, layers=(0, 2))
    assert "names all" not in caplog.text
    _build(folder, layers=range(6))
    assert "student.layers names all layers of the model, so the student has as many layers" in caplog.text
