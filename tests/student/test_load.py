import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub import serve
from huggingface_hub.errors import LocalEntryNotFoundError

from leaf_st.errors import InputError
from leaf_st.models import find as resolve
from leaf_st.models.identity import model_name
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.publishing.pull import pull
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.asymmetric import compose, load
from leaf_st.student.static import build_static
from leaf_st.teacher.open import teacher_spec
from leaf_st.zoo import ZOO, describe_zoo

TEXTS = ["a small text", "z"]


@pytest.fixture
def published(tiny_student, tiny_teacher, tmp_path):
    """Folder by hub id: a student that knows its prompts, and its teacher, as they are on the hub."""
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


def _python(hub, folder, *arguments):
    """Run in a process of its own, because the hub's client reads these variables when it is imported."""
    environment = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "http"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def expected(published, tiny_student, tiny_teacher):
    """What the composition of both must give."""
    tiny_teacher.prompts = dict(tiny_student.prompts)
    return compose(tiny_student, tiny_teacher)


_LOAD = """
import sys
import numpy as np
from leaf_st import load
for name, asymmetric in (("leaf-ir", False), ("leaf-ir", True), ("leaf-ir-asym", False)):
    model = load(name, asymmetric=asymmetric)
    np.save(f"{name}-{asymmetric}.npy", [model.encode_query(sys.argv[1:]), model.encode_document(sys.argv[1:])])
"""


def test_zoo_names_load_from_the_hub(published, expected, tiny_student, tmp_path):
    with serve(published) as hub:
        done = _python(hub, tmp_path, "-c", _LOAD, *TEXTS)
    assert done.returncode == 0, done.stderr
    queries, documents = tiny_student.encode_query(TEXTS), expected.encode_document(TEXTS)
    for file, sides in (
        ("leaf-ir-False", (queries, tiny_student.encode_document(TEXTS))),
        ("leaf-ir-True", (queries, documents)),
        ("leaf-ir-asym-False", (queries, documents)),
    ):
        np.testing.assert_allclose(np.load(tmp_path / f"{file}.npy"), sides, atol=1e-6)


def test_a_recipe_s_own_model_knows_its_teacher(tiny_student, tiny_teacher_folder, expected, tmp_path):
    recipe = Recipe(name="own", teacher=TeacherSpec(model=str(tiny_teacher_folder)), student=StudentSpec(layers=(0, 2)))
    save_portable(tiny_student, tmp_path / "model", {"resolved": recipe.to_dict()})
    model = load(tmp_path / "model", asymmetric=True)
    np.testing.assert_allclose(model.encode_query(TEXTS), expected.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), expected.encode_document(TEXTS), atol=1e-6)


def test_a_record_does_not_let_code_run(tiny_student, tiny_teacher_folder, tmp_path):
    teacher = TeacherSpec(model=str(tiny_teacher_folder), trust_remote_code=True)
    recipe = Recipe(name="own", teacher=teacher, student=StudentSpec(layers=(0, 2)))
    save_portable(tiny_student, tmp_path / "model", {"resolved": recipe.to_dict()})
    assert not teacher_spec(str(tmp_path / "model")).trust_remote_code


@pytest.mark.parametrize("record", [None, {}, {"resolved": 3}, {"resolved": {"unknown": 1}}])
def test_a_model_without_a_teacher_asks_for_one(tiny_student, tiny_teacher_folder, record, tmp_path):
    save_portable(tiny_student, tmp_path / "model", record)
    with pytest.raises(InputError, match="names its teacher: give teacher="):
        load(str(tmp_path / "model"), asymmetric=True)
    named = load(str(tmp_path / "model"), asymmetric=True, teacher=str(tiny_teacher_folder))
    assert named.encode_query(TEXTS).shape == (2, 32)


def test_a_table_of_tokens_knows_its_name_and_its_teacher(tiny_teacher, tiny_teacher_folder, tmp_path):
    static = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    recipe = Recipe(name="own", teacher=TeacherSpec(model=str(tiny_teacher_folder)), student=StudentSpec(static=True))
    folder = str(tmp_path / "model")
    save_portable(static, Path(folder), {"resolved": recipe.to_dict()})
    model = load(folder, asymmetric=True)
    np.testing.assert_allclose(model.encode_query(TEXTS), static.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), tiny_teacher.encode(TEXTS), atol=1e-6)
    assert model_name(load(folder)) == folder


def test_the_table_of_models_names_each_once():
    lines = describe_zoo().splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["leaf-ir", "leaf-ir-asym", "leaf-mt", "leaf-mt-asym"]
    assert json.dumps(describe_zoo()).count("Snowflake") == 1
    assert 'prompt of a query: "Represent this sentence for searching relevant passages: " (leaf-ir, leaf-mt)' in lines


def test_the_hub_is_asked_once(monkeypatch, tmp_path):
    asked = []

    def nobody(name, *, local_files_only=False, **options):
        asked.append(local_files_only)
        raise LocalEntryNotFoundError("nobody answers")

    monkeypatch.setattr(resolve, "snapshot_download", nobody)
    with pytest.raises(InputError, match=r"the hub cannot be reached \(nobody answers\)"):
        pull("somebody/model", tmp_path / "model")
    assert asked == [False]
