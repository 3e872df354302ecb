import json
from pathlib import Path

import numpy as np
import pytest
from hub import serve

import leaf_st
from leaf_st.errors import InputError
from leaf_st.models.identity import model_name
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.asymmetric import load
from leaf_st.student.static import build_static
from leaf_st.teacher.open import teacher_spec
from leaf_st.zoo import describe_zoo

TEXTS = ["a small text", "z"]


def test_zoo_names_load_from_the_hub(published, composed, tiny_student, connect_to):
    queries, documents = tiny_student.encode_query(TEXTS), composed.encode_document(TEXTS)
    with serve(published) as hub:
        connect_to(hub.url)
        for name, asymmetric, sides in (
            ("leaf-ir", False, (queries, tiny_student.encode_document(TEXTS))),
            ("leaf-ir", True, (queries, documents)),
            ("leaf-ir-asym", False, (queries, documents)),
        ):
            model = leaf_st.load(name, asymmetric=asymmetric)
            np.testing.assert_allclose(model.encode_query(TEXTS), sides[0], atol=1e-6)
            np.testing.assert_allclose(model.encode_document(TEXTS), sides[1], atol=1e-6)


def test_a_recipe_s_own_model_knows_its_teacher(tiny_student, tiny_teacher_folder, composed, tmp_path):
    recipe = Recipe(name="own", teacher=TeacherSpec(model=str(tiny_teacher_folder)), student=StudentSpec(layers=(0, 2)))
    save_portable(tiny_student, tmp_path / "model", {"resolved": recipe.to_dict()})
    model = load(tmp_path / "model", asymmetric=True)
    np.testing.assert_allclose(model.encode_query(TEXTS), composed.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), composed.encode_document(TEXTS), atol=1e-6)


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
    assert 'prompt for a query: "Represent this sentence for searching relevant passages: " (leaf-ir, leaf-mt)' in lines
