"""Models of strangers: a folder that leads elsewhere, or that would run code, loads nothing and says so."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from families import WIDTH, save_family
from safetensors.torch import load_file, save_file

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.publishing.pull import pull
from leaf_st.publishing.verify import verify

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"


class _Writes:
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "the pickle ran")


@pytest.fixture
def model(tiny_student, tmp_path):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    return folder


def _change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _move_away(path, elsewhere):
    elsewhere.parent.mkdir(parents=True, exist_ok=True)
    path.rename(elsewhere)
    return elsewhere


def _path_outside(path):
    def damage(folder):
        place = _move_away(folder / "2_Dense", folder.parent / "elsewhere" / "2_Dense")
        name = str(place) if path == "absolute" else os.path.relpath(place, folder)
        _change(folder / "modules.json", lambda modules: modules[2].update(path=name))

    return damage


def _link(name, *, absolute=True):
    def damage(folder):
        place = _move_away(folder / name, folder.parent / "elsewhere" / "moved")
        (folder / name).symlink_to(place if absolute else os.path.relpath(place, (folder / name).parent))

    return damage


def _link_through_a_link(folder):
    _move_away(folder / "tokenizer.json", folder.parent / "tokenizer.json")
    (folder / "1_Pooling" / "up").symlink_to("..", target_is_directory=True)
    (folder / "tokenizer.json").symlink_to("1_Pooling/up/../tokenizer.json")


def _pickled(name):
    def damage(folder):
        part = (folder / name).parent
        (part / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(_Writes(folder.parent / "ran")))

    return damage


def _converted(name):
    def damage(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"weights in another form")

    return damage


def _shards(name):
    def damage(folder):
        weights = folder / "model.safetensors"
        place = folder / {"outside": "../elsewhere.safetensors", "missing": "second.safetensors"}.get(name, name)
        names = list(load_file(weights))
        if name != "missing":
            shutil.copyfile(weights, place)
        weights.rename(folder / "other.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, os.path.relpath(place, folder))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def _adapter(folder):
    base = _move_away(folder / "model.safetensors", folder.parent / "base" / "model.safetensors").parent
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "task_type": "FEATURE_EXTRACTION"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _setting(**settings):
    return lambda folder: _change(folder / "sentence_bert_config.json", lambda config: config.update(settings))


def _pointer(name):
    return lambda folder: (folder / name).write_text(POINTER)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_path_outside("relative"), r"found the path \.\./elsewhere/2_Dense in its modules\.json: move the module"),
        (_path_outside("absolute"), r"found the path \.\./elsewhere/2_Dense in its modules\.json: move the module"),
        (_link("model.safetensors"), r"found the link .*/model\.safetensors to /.*moved: replace the link by a copy"),
        (_link("2_Dense"), "found the link .*/2_Dense to /.*moved: replace the link by a copy"),
        (_link("1_Pooling/config.json", absolute=False), r"found the link .* to \.\./\.\./elsewhere/moved: replace"),
        (_link_through_a_link, "found the link .*/tokenizer.json to 1_Pooling/up/../tokenizer.json: replace"),
        (_pickled("pytorch_model.bin"), r"as safetensors, found .*/pytorch_model\.bin, a pickle, which can run code"),
        (_pickled("model.ckpt"), r"as safetensors, found .*/model\.ckpt, a pickle, which can run code: if you trust"),
        (_pickled("2_Dense/pytorch_model.bin"), r"as safetensors, found .*/2_Dense/pytorch_model\.bin, a pickle"),
        (_converted("model-f16.gguf"), r"as safetensors, found only other forms such as .*/model-f16\.gguf: name the"),
        (_converted("onnx/model.onnx"), r"as safetensors, found only other forms such as .*/onnx/model\.onnx: name"),
        (_shards("outside"), r"names of safetensors files beside .*, found '\.\./elsewhere\.safetensors': save"),
        (
            _shards("pytorch_model.bin"),
            "names of safetensors files beside .*, found 'pytorch_model.bin': save the model again",
        ),
        (_shards("missing"), "the file .*/second.safetensors, which model.safetensors.index.json lists, found none"),
        (_adapter, r"complete weights, found an adapter \(LoRA\) in .*: merge the adapter into its base model"),
        (
            _pointer("model.safetensors"),
            r"the file .*/model\.safetensors, found a pointer of git LFS: run `git lfs pull`",
        ),
        (_pointer("tokenizer.json"), r"the file .*/tokenizer\.json, found a pointer of git LFS: run `git lfs pull` in"),
        (_pointer("config.json"), r"the file .*/config\.json, found a pointer of git LFS: run `git lfs pull` in"),
        (_pointer("2_Dense/model.safetensors"), r"the file .*/2_Dense/model\.safetensors, found a pointer of git LFS"),
    ],
)
def test_a_folder_that_leads_elsewhere_or_runs_code_is_refused(model, damage, problem):
    damage(model)
    for role in ("teacher", "student backbone", "student.start", "model"):
        with pytest.raises(InputError, match=rf"^{role} {model} cannot be loaded: expected .*{problem}") as raised:
            load_model(model, role=role, trust_remote_code=True, device="cpu")
        assert "\n" not in str(raised.value)
    assert not (model.parent / "ran").exists()


def test_a_published_folder_is_checked_before_a_consumer_loads_it(model):
    _link("2_Dense")(model)
    checks = {check.name: check for check in verify(model, None)}
    assert checks["load"].state == "failed"
    assert "found the link" in checks["load"].detail


def test_a_file_behind_a_link_is_not_copied(model, tmp_path):
    _link("2_Dense/config.json")(model)
    with pytest.raises(InputError, match=rf"^model {model}: expected .*, found the link .*: replace the link"):
        pull(str(model), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_pickles_beside_safetensors_are_not_read(model, tiny_student):
    (model / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(_Writes(model.parent / "ran")))
    found = load_model(model, device="cpu").encode("a text")
    np.testing.assert_array_equal(found, tiny_student.encode("a text"))
    assert not (model.parent / "ran").exists()


def test_links_inside_a_folder_are_followed(model, tiny_student):
    (model / "weights").mkdir()
    _move_away(model / "model.safetensors", model / "weights" / "model.safetensors")
    (model / "model.safetensors").symlink_to("weights/model.safetensors")
    link = model.parent / "latest"
    link.symlink_to("model")
    np.testing.assert_array_equal(load_model(link, device="cpu").encode("a"), tiny_student.encode("a"))


def _in_the_cache(model, cache):
    """Lay the files of ``model`` out as in the hub's cache, where one file is shared by several models."""
    blobs, snapshot = cache / "models--us--tiny" / "blobs", cache / "models--us--tiny" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    (cache / "blobs" / "4d").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        blob, link = blobs / str(number), snapshot / path.relative_to(model)
        shutil.copyfile(path, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
        if path.name == "model.safetensors":
            shared = cache / "blobs" / "4d" / str(number)
            blob.rename(shared)
            blob.symlink_to(os.path.relpath(shared, blobs))
    return snapshot


def test_the_links_of_the_hub_s_cache_are_followed(model, tiny_student, tmp_path):
    snapshot = _in_the_cache(model, tmp_path / "cache")
    np.testing.assert_array_equal(load_model(snapshot, device="cpu").encode("a"), tiny_student.encode("a"))
    weights = snapshot / "model.safetensors"
    weights.unlink()
    weights.symlink_to(model / "model.safetensors")
    with pytest.raises(InputError, match="found the link"):
        load_model(snapshot, device="cpu")


def test_a_model_in_a_folder_of_the_hub_s_cache_is_loaded(model, tiny_student, tmp_path):
    (tmp_path / "repository").mkdir()
    model.rename(tmp_path / "repository" / "model")
    snapshot = _in_the_cache(tmp_path / "repository", tmp_path / "cache")
    np.testing.assert_array_equal(load_model(snapshot / "model", device="cpu").encode("a"), tiny_student.encode("a"))


def _code(folder):
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(folder.parent / 'ran')!r}).touch()\n")


def _module_of_its_own(folder):
    _change(folder / "modules.json", lambda modules: modules[1].update(type="code.Pooling"))


def _model_of_its_own(folder):  # a known type, for which transformers would load random weights
    auto_map = {"AutoConfig": "code.JinaConfig", "AutoModel": "us/elsewhere--code.JinaModel"}
    _change(folder / "config.json", lambda config: config.update(auto_map=auto_map))


def _model_of_its_own_with_a_known_name(folder):  # as gte-Qwen2, with attention in both directions
    auto_map = {"AutoModel": "code.BertModel"}
    _change(folder / "config.json", lambda config: config.update(auto_map=auto_map))


def _tokenizer_of_its_own(names):  # as gte-Qwen2, with an end token
    auto_map = {"AutoTokenizer": names} if isinstance(names, list) else [names, None]
    return lambda folder: _change(folder / "tokenizer_config.json", lambda config: config.update(auto_map=auto_map))


def _activation_of_its_own(folder):  # sentence-transformers would use Tanh
    _change(folder / "2_Dense" / "config.json", lambda config: config.update(activation_function="code.Act"))


def _attention_of_its_own(folder):  # transformers would download the code
    _change(folder / "config.json", lambda config: config.update(_attn_implementation="us/attention"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_module_of_its_own, r"expected modules of sentence-transformers, found custom code \(code\.Pooling\)"),
        (
            _model_of_its_own,
            r"expected a model type of transformers, found custom code \(us/elsewhere--code\.JinaModel",
        ),
        (
            _model_of_its_own_with_a_known_name,
            r"expected a model type of transformers, found custom code \(code\.BertModel\)",
        ),
        (
            _tokenizer_of_its_own(["code.BertTokenizer", "code.BertTokenizerFast"]),
            r"expected a tokenizer of transformers, found custom code \(code\.BertTokenizerFast\)",
        ),
        (
            _tokenizer_of_its_own("code.BertTokenizer"),
            r"expected a tokenizer of transformers, found custom code \(code\.BertTokenizer\)",
        ),
        (_attention_of_its_own, r"expected an attention of transformers, found custom code \(us/attention\)"),
        (_activation_of_its_own, r"expected an activation function of torch, found custom code \(code\.Act\)"),
    ],
)
def test_code_that_nobody_asked_for_is_named_and_does_not_run(model, change, found):
    _code(model)
    change(model)
    trust = r"if you trust this code, set teacher\.trust_remote_code=true in the recipe .*, or name another teacher"
    for role, remedy in {"teacher": trust, "student backbone": "or name another student backbone"}.items():
        with pytest.raises(InputError, match=rf"^{role} {model} cannot be loaded from {model}: {found}.*; .*{remedy}"):
            load_model(model, role=role, device="cpu")
    assert not (model.parent / "ran").exists()


def test_code_of_a_model_that_transformers_has_by_now_is_not_needed(tmp_path):
    folder = save_family("nomic-bert", tmp_path)
    code = {"AutoConfig": "us/code--configuration.NomicBertConfig", "AutoModel": "us/code--modeling.NomicBertModel"}
    _change(folder / "config.json", lambda config: config.update(auto_map=code))
    assert load_model(folder, device="cpu").encode("a text").shape == (WIDTH,)


@pytest.mark.parametrize("content", ["", "[", "{}", "[1]", '[{"path": 1}]', '[{"path": "a\\u0000b", "type": "x"}]'])
def test_a_list_of_modules_that_cannot_be_read_is_one_line(model, content):
    (model / "modules.json").write_text(content)
    with pytest.raises(InputError, match=r"^model .* cannot be loaded") as raised:
        load_model(model, device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["modules.json", "model.safetensors", "2_Dense/config.json", "1_Pooling/unknown"])
def test_a_pipe_is_refused_without_waiting_for_its_writer(name, model):
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(InputError, match=r"expected files, found the pipe or device|found no model\.safetensors"):
        load_model(model)
