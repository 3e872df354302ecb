from pathlib import Path

import numpy as np
import pytest
from hub import run_python, serve
from huggingface_hub.errors import LocalEntryNotFoundError
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models import find
from leaf_st.models.portable import save_portable
from leaf_st.publishing.pull import pull
from leaf_st.student.asymmetric import compose
from leaf_st.zoo import ZOO

TEXTS = ["a small text", "z"]


@pytest.fixture
def published(tiny_student, tiny_teacher, tmp_path):
    """Folders by hub id: a student with prompts, and its teacher, as the hub holds them."""
    tiny_student.prompts = {"query": "find: ", "document": ""}
    save_portable(tiny_student, tmp_path / "published" / "student")
    tiny_teacher.save_pretrained(str(tmp_path / "published" / "teacher"))
    for side in ("student", "teacher"):
        for name in ("README.md", "LICENSE"):
            (tmp_path / "published" / side / name).write_text(f"{name} of the {side}")
    model = ZOO["leaf-ir"]
    return {
        model.hub_id: tmp_path / "published" / "student",
        model.teacher.hub_id: tmp_path / "published" / "teacher",
    }


@pytest.fixture
def expected(published, tiny_student, tiny_teacher):
    """The composition of both models."""
    tiny_teacher.prompts = dict(tiny_student.prompts)
    return compose(tiny_student, tiny_teacher)


def test_a_pulled_model_needs_neither_the_hub_nor_this_package(published, expected, tmp_path):
    with serve(published) as hub:
        for name in ("leaf-ir", "leaf-ir-asym"):
            done = run_python(hub.url, tmp_path, "-m", "leaf_st", "pull", name)
            assert done.returncode == 0, done.stderr
            assert f'SentenceTransformer("{name}")' in done.stdout
    weights = "model.safetensors"
    assert (tmp_path / "leaf-ir" / weights).read_bytes() == (published[ZOO["leaf-ir"].hub_id] / weights).read_bytes()
    assert not any(path.is_symlink() for path in (tmp_path / "leaf-ir").rglob("*"))
    for name in ("README.md", "LICENSE"):
        assert (tmp_path / "leaf-ir" / name).read_text() == f"{name} of the student"
        for side in ("student", "teacher"):
            assert (tmp_path / "leaf-ir-asym" / side / name).read_text() == f"{name} of the {side}"
    model = SentenceTransformer(str(tmp_path / "leaf-ir-asym"), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), expected.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), expected.encode_document(TEXTS), atol=1e-6)


def test_a_model_that_the_hub_does_not_have(published, tmp_path):
    with serve({}) as hub:
        done = run_python(hub.url, tmp_path, "-m", "leaf_st", "pull", "leaf-mt")
    assert done.returncode == 2
    assert "model MongoDB/mdbr-leaf-mt: the hub has no such model or revision" in done.stderr
    assert not (tmp_path / "leaf-mt").exists()


def test_a_folder_that_is_not_empty_is_not_pulled_into(tiny_teacher_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty: name another --output"):
        pull(str(tiny_teacher_folder), tmp_path)


def test_the_current_folder_is_not_pulled_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--output \.: expected a folder to create, found the current folder"):
        pull("leaf-ir", Path())


def test_a_model_in_the_cache_is_pulled_without_its_card(published, tmp_path):
    load = f"from leaf_st.models.find import find_model; find_model('{ZOO['leaf-ir'].hub_id}')"
    with serve(published) as hub:
        assert run_python(hub.url, tmp_path, "-c", load).returncode == 0
    # The hub is out of reach now.
    done = run_python(hub.url, tmp_path, "-m", "leaf_st", "pull", ZOO["leaf-ir"].hub_id, "--output", "mine")
    assert done.returncode == 0, done.stderr
    assert "its card and licence could not be fetched" in done.stdout
    assert (tmp_path / "mine" / "model.safetensors").is_file()


def test_the_hub_is_asked_once(monkeypatch, tmp_path):
    asked = []

    def nobody(name, *, local_files_only=False, **options):
        asked.append(local_files_only)
        raise LocalEntryNotFoundError("nobody answers")

    monkeypatch.setattr(find, "snapshot_download", nobody)
    with pytest.raises(InputError, match=r"the hub cannot be reached \(nobody answers\)"):
        pull("somebody/model", tmp_path / "model")
    assert asked == [False]
