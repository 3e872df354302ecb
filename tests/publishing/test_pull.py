import errno
import os
import re
import resource
import shutil
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from hub import connect, serve
from huggingface_hub.errors import LocalEntryNotFoundError
from sentence_transformers import SentenceTransformer

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.models import find
from leaf_st.publishing.pull import pull
from leaf_st.zoo import ZOO

TEXTS = ["a small text", "z"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_pulled_model_needs_neither_the_hub_nor_this_package(published, composed, connect_to, capsys, tmp_path):
    with serve(published) as hub:
        connect_to(hub.url)
        for name in ("leaf-ir", "leaf-ir-asym"):
            main(["pull", name])
            assert f'SentenceTransformer("{name}")' in capsys.readouterr().out
    weights = "model.safetensors"
    assert (tmp_path / "leaf-ir" / weights).read_bytes() == (published[ZOO["leaf-ir"].hub_id] / weights).read_bytes()
    assert not any(path.is_symlink() for path in (tmp_path / "leaf-ir").rglob("*"))
    for name in ("README.md", "LICENSE"):
        assert (tmp_path / "leaf-ir" / name).read_text() == f"{name} of the student"
        for side in ("student", "teacher"):
            assert (tmp_path / "leaf-ir-asym" / side / name).read_text() == f"{name} of the {side}"
    model = SentenceTransformer(str(tmp_path / "leaf-ir-asym"), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), composed.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), composed.encode_document(TEXTS), atol=1e-6)


def test_a_model_that_the_hub_does_not_have(connect_to, capsys, tmp_path):
    with serve({}) as hub:
        connect_to(hub.url)
        with pytest.raises(SystemExit) as ended:
            main(["pull", "leaf-mt"])
    assert ended.value.code == 2
    assert "model MongoDB/mdbr-leaf-mt: the hub has no such model or revision" in capsys.readouterr().err
    assert not (tmp_path / "leaf-mt").exists()


def test_a_folder_that_is_not_empty_is_not_pulled_into(tiny_teacher_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty: name another --output"):
        pull(str(tiny_teacher_folder), tmp_path)


def test_the_current_folder_is_not_pulled_into():
    with pytest.raises(InputError, match=r"--output \.: expected a folder to create, found the current folder"):
        pull("leaf-ir", Path())


def test_a_model_in_the_cache_is_pulled_without_its_card(published, connect_to, capsys, tmp_path):
    with serve(published) as hub:
        connect_to(hub.url)
        find.find_model(ZOO["leaf-ir"].hub_id)
    # The hub is out of reach now.
    main(["pull", ZOO["leaf-ir"].hub_id, "--output", "mine"])
    written = capsys.readouterr()
    assert "the folder has no model card: read the card and the licence" in written.out
    assert "the hub cannot be reached, so the copy of MongoDB/mdbr-leaf-ir in its cache is used" in written.err
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def test_a_cache_without_the_tables_of_tokenizers_is_pulled(published, connect_to, capsys, tmp_path):
    (published[ZOO["leaf-ir"].hub_id] / "bpe.codes").write_text("a b 10\n")
    with serve(published) as hub:
        connect_to(hub.url)
        find.find_model(ZOO["leaf-ir"].hub_id, files=["*.json", "*.safetensors", "*.txt"])  # as an earlier version did
    main(["pull", ZOO["leaf-ir"].hub_id, "--output", "mine"])
    assert "the hub cannot be reached, so the copy of MongoDB/mdbr-leaf-ir" in capsys.readouterr().err
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def _pull_from(url, home, *arguments):
    connect(pytest.MonkeyPatch(), url, home)
    time.sleep = lambda _: None  # the client waits before it asks again
    main(["pull", *arguments])


def test_a_cache_without_the_hub_s_list_is_pulled_if_it_has_all_modules(published, tmp_path):
    name, home = ZOO["leaf-ir"].hub_id, tmp_path / "home"
    with serve(published) as hub:
        forked.run(_pull_from, hub.url, home, name, "--output", str(tmp_path / "first"))
    shutil.rmtree(next((home / "hub").glob("models--*/trees")))  # SentenceTransformer(name) leaves no list
    # Another process, because the client keeps the list in memory. The hub is out of reach now.
    done = forked.run(_pull_from, hub.url, home, name, "--output", str(tmp_path / "second"))
    assert f"the hub cannot be reached, so the copy of {name} in its cache is used" in done.stderr
    assert (tmp_path / "second" / "model.safetensors").is_file()
    next((home / "hub").glob("models--*/snapshots/*/modules.json")).unlink()
    done = forked.run(_pull_from, hub.url, home, name, "--output", str(tmp_path / "third"))
    assert done.returncode == 2
    assert "but not the hub's list of files, so the folder may be only a part of the model" in done.stderr


def test_an_empty_folder_with_the_name_of_the_model_is_pulled_into(published, connect_to, tmp_path):
    name = ZOO["leaf-ir"].hub_id
    (tmp_path / name).mkdir(parents=True)
    with serve(published) as hub:
        connect_to(hub.url)
        pull(name, Path(name))
    assert (tmp_path / name / "model.safetensors").is_file()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected a model, found no config\.json in empty: name a folder that"):
        pull("./empty", tmp_path / "pulled")


def test_the_hub_is_asked_once(monkeypatch, tmp_path):
    asked = []

    def nobody(_, name, **options):
        asked.append(name)
        raise LocalEntryNotFoundError("nobody answers")

    monkeypatch.setattr(find.HfApi, "model_info", nobody)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"the hub cannot be reached: .*; the request failed with: nobody answers"):
        pull("somebody/model", tmp_path / "model")
    assert asked == ["somebody/model"]


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ("pytorch_model.bin", r"found pytorch_model\.bin, a pickle"),
        ("model-f16.gguf", r"found only other forms such as model-f16\.gguf: name the model from which"),
    ],
)
def test_a_model_without_safetensors_is_not_pulled(published, connect_to, tmp_path, weights, problem):
    name = ZOO["leaf-ir"].hub_id
    (published[name] / "model.safetensors").rename(published[name] / weights)
    with serve(published) as hub:
        connect_to(hub.url)
        for _ in range(2):  # the second time, the cache has a folder of the other files
            with pytest.raises(InputError, match=f"weights as safetensors, {problem}"):
                pull(name, tmp_path / "mine")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        pull(name, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_model_that_the_hub_has_no_longer_is_not_pulled_from_the_cache(published, connect_to, tmp_path):
    name = ZOO["leaf-ir"].hub_id
    with serve(published) as hub:
        connect_to(hub.url)
        pull(name, tmp_path / "first")
        hub.models = {}
        with pytest.raises(InputError, match="the hub has no such model or revision"):
            pull(name, tmp_path / "second")


def test_a_name_without_its_owner_is_completed_in_the_error():
    with pytest.raises(InputError, match="the hub id with its owner, such as sentence-transformers/all-MiniLM-L12-v2"):
        find.find_model("all-MiniLM-L12-v2")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", None, r"expected the file .*/config\.json, found none: name another model"),
        ("1_Pooling/config.json", None, r"expected the file .*/1_Pooling/config\.json, found none: name another model"),
        (
            "2_Dense/model.safetensors",
            None,
            r"expected the file .*/2_Dense/model\.safetensors, found none: pickled weights are not downloaded",
        ),
        ("model.safetensors", None, r"expected a model, found no model\.safetensors in "),
        ("tokenizer.json", None, r"expected a tokenizer in .*, found no file of a vocabulary: restore the file"),
        ("model.safetensors", "", r"found the empty file .*/model\.safetensors: name another revision or model"),
        ("tokenizer.json", "<html>", r"found damaged content in .*/tokenizer\.json .*: name another revision or model"),
        (
            "1_Pooling/config.json",
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4\n",
            r"found a pointer of git LFS: name another revision or model, or ask the owner of the model to upload",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_not_pulled(published, connect_to, tmp_path, name, content, problem):
    hub_id = ZOO["leaf-ir"].hub_id
    folder = Path(shutil.copytree(published[hub_id], tmp_path / "broken"))
    (folder / "recipe.json").unlink(missing_ok=True)  # whose checksums would name the file
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with serve({"me/broken": folder}) as hub:
        connect_to(hub.url)
        with pytest.raises(InputError, match=rf"^model me/broken: (expected .*)?{problem}"):
            pull("me/broken", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_weights_that_were_cut_in_a_cache_without_links_are_not_pulled(published, connect_to, tmp_path):
    with serve({"me/whole": published[ZOO["leaf-ir"].hub_id]}) as hub:
        connect_to(hub.url)
        snapshot = find.find_model("me/whole")
        for link in [path for path in snapshot.rglob("*") if path.is_symlink()]:  # as on Windows
            content = link.read_bytes()
            link.unlink()
            link.write_bytes(content)
        weights = snapshot / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        cached = re.escape(str(snapshot.parents[1]))
        with pytest.raises(InputError, match=rf"found damaged content in .*: delete {cached} to download the model"):
            pull("me/whole", tmp_path / "pulled")
        shutil.rmtree(snapshot.parents[1])
        pull("me/whole", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "model.safetensors").is_file()


def test_weights_of_another_name_are_named(published, connect_to, tmp_path):
    folder = Path(shutil.copytree(published[ZOO["leaf-ir"].hub_id], tmp_path / "variant"))
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    with serve({"me/variant": folder}) as hub:
        connect_to(hub.url)
        with pytest.raises(InputError, match=r"expected the file .*/model\.safetensors, found model\.fp16\."):
            pull("me/variant", tmp_path / "pulled")


def test_a_name_may_end_in_a_slash_and_a_revision_must_not_be_empty(tiny_teacher_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["pull", f"{tiny_teacher_folder}/"])
    assert (tmp_path / tiny_teacher_folder.name / "model.safetensors").is_file()
    with pytest.raises(InputError, match=r"^--revision: expected a branch, tag or commit, found empty text"):
        pull(str(tiny_teacher_folder), tmp_path / "other", "")


def test_only_a_folder_is_pulled_into(tiny_teacher_folder, tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for name, found in (("link", "a link to nothing: remove the link"), ("file", "a file: name another one")):
        with pytest.raises(InputError, match=rf"^--output .*{name}: expected a folder to create, found {found}"):
            pull(str(tiny_teacher_folder), tmp_path / name)


def test_a_mount_is_named_before_the_download(tiny_teacher_folder, tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "disk")  # only an administrator can mount
    with pytest.raises(InputError, match=r"^--output .*disk: expected a folder that can be replaced, found a mount"):
        pull(str(tiny_teacher_folder), tmp_path / "disk")
    pull(str(tiny_teacher_folder), tmp_path / "disk" / "model")
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["model"]


def test_a_file_system_that_sets_no_modes_is_pulled_into(tiny_teacher_folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        for name in ("chmod", "utime"):
            patch.setattr(os, name, refuse)
        pull(str(tiny_teacher_folder), tmp_path / "pulled")
    copied, files = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "pulled", tiny_teacher_folder)
    )
    assert copied == files


def _pull_within(limit, *arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    main(["pull", *arguments])


def test_a_disk_without_room_is_one_line(tiny_teacher_folder, tmp_path):
    done = forked.run(_pull_within, 6000, str(tiny_teacher_folder), "--output", str(tmp_path / "pulled"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"leaf-st: File too large: {tmp_path}/.pulled.new/")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [410, 423, 451])
def test_a_model_that_the_hub_refuses_for_good_is_not_pulled_from_the_cache(published, connect_to, tmp_path, status):
    name = ZOO["leaf-ir"].hub_id
    with serve(published) as hub:
        connect_to(hub.url)
        pull(name, tmp_path / "first")
        hub.fail_with = status
        with pytest.raises(InputError, match=f"the hub refuses to send this model: .*; the hub answered: .*{status}"):
            pull(name, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_proxy_that_wants_a_password_is_not_the_hub(published, connect_to, tmp_path):
    name = ZOO["leaf-ir"].hub_id
    with serve(published) as hub:
        connect_to(hub.url)
        pull(name, tmp_path / "first")
        hub.fail_with = 407
        pull(name, tmp_path / "second")
    assert (tmp_path / "second" / "model.safetensors").is_file()


@pytest.mark.parametrize(("name", "revision"), [("leaf-ir", None), ("leaf-ir", "main"), ("leaf-ir-asym", None)])
def test_a_listed_name_is_fetched_although_a_folder_has_this_name(
    name, revision, published, composed, tiny_unnormalized_folder, connect_to, tmp_path
):
    for folder in ("leaf-ir", "leaf-ir-asym"):
        shutil.copytree(tiny_unnormalized_folder, tmp_path / folder)
    with serve(published) as hub:
        connect_to(hub.url)
        pull(name, tmp_path / "fresh", revision)
    model = SentenceTransformer(str(tmp_path / "fresh"), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), composed.encode_query(TEXTS), atol=1e-6)


def test_a_model_is_not_pulled_into_itself(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    with pytest.raises(InputError, match=r"^--output .*copy: expected a folder outside of the model folder "):
        pull("model", folder / "copy")
    assert not (folder / "copy").exists()
