import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from letters import save_set
from safetensors.numpy import load_file, save_file
from stages import Stopped

from leaf_st import evaluate, open_teacher
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.candidates import candidates
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.pipeline.plan import plan
from leaf_st.pipeline.plan_text import format_plan
from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.publishing.prepare import prepare
from leaf_st.recipe import TEACHER_OF_START, Recipe, StudentSpec, TeacherSpec
from leaf_st.run_folder import FIT
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.student.asymmetric import load
from leaf_st.teacher.ensemble.teacher import Ensemble
from leaf_st.teacher.open import teacher_spec
from leaf_st.teacher.store import EmbeddingStore

TEXTS = ["a text, number 3", "what is a leaf?", "zebras"]


@pytest.fixture
def ensemble(recipe, tiny_teacher_folder, narrow_student, tmp_path):
    save_portable(narrow_student, tmp_path / "other")
    members = [TeacherSpec(model=str(tiny_teacher_folder)), TeacherSpec(model=str(tmp_path / "other"), weight=2)]
    student = StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), closed_form_rows=8)
    teacher = TeacherSpec(ensemble=members).with_models(precision="float32")
    return replace(recipe, name="both", teacher=teacher, student=student)


def _trained(recipe, folder):
    run = Run(recipe, folder)
    run.embed()
    run.train()
    return run


@pytest.mark.parametrize("dimensions", [None, 8])
def test_a_student_of_two_teachers_knows_both(ensemble, dimensions, tmp_path):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher, dimensions=dimensions))
    run = _trained(recipe, tmp_path / "run")
    record = json.loads((run.folder / "recipe.json").read_text())
    assert [member["precision"] for member in record["resolved"]["teacher"]["ensemble"]] == ["float32", "float32"]
    assert record["teacher"]["teacher"] == "teacher + other"
    assert record["commits"] == {"teacher.ensemble.0": None, "teacher.ensemble.1": None, "student": None}
    assert (run.folder / FIT).is_file() == (run.folder / "model" / FIT).is_file() == (dimensions is not None)
    shutil.move(run.folder, tmp_path / "moved")  # the record names the old place of the axes
    model = str(tmp_path / "moved" / "model")
    teacher, pair = open_teacher(teacher_spec(model), "cpu"), load(model, asymmetric=True)
    assert teacher.dimension == (dimensions or WIDTH + WIDTH // 2)
    np.testing.assert_allclose(pair.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(pair.encode_query(TEXTS), load_model(model).encode_query(TEXTS), atol=1e-5)
    assert pair.similarity(pair.encode_query(TEXTS), pair.encode_document(TEXTS)).shape == (3, 3)
    for save in (pair.save_pretrained, lambda folder: save_portable(pair, tmp_path / folder)):
        with pytest.raises(InputError, match=r"cannot be saved as one model|custom code"):
            save(str(tmp_path / "pair"))
    rows = evaluate(model, save_set(tmp_path / "letters", 12, 4), modes=["teacher", "standard", "asymmetric"])
    assert (rows[0].mode, rows[0].model) == ("teacher", "local/teacher + other")
    again = Run(recipe, tmp_path / "moved")
    assert again.embed().rows == 60
    again.train()
    members = [recipe.teacher.ensemble[0], replace(recipe.teacher.ensemble[1], weight=3)]
    changed = replace(recipe, teacher=replace(recipe.teacher, ensemble=members))
    with pytest.raises(InputError, match=r"teacher\.ensemble\.1\.weight was 2\.0, is 3\.0"):
        Run(changed, tmp_path / "moved")
    with pytest.raises(InputError, match="expected one model to time, found several"):
        candidates([model])
    further = replace(recipe, teacher=TeacherSpec(model=TEACHER_OF_START), student=StudentSpec(start=model))
    assert _trained(further, tmp_path / "further").recipe.teacher.name == "teacher + other"


def test_a_run_that_is_killed_resumes_with_the_same_axes(ensemble, tmp_path, monkeypatch):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher.with_models(precision="auto"), dimensions=8))
    whole = Run(recipe, tmp_path / "whole").embed()
    combined, calls = Ensemble._combined, []

    def fail(self, vectors):
        calls.append(1)
        if len(calls) == 2:  # the first call fits the axes
            raise KeyboardInterrupt
        return combined(self, vectors)

    monkeypatch.setattr(Ensemble, "_combined", fail)
    with pytest.raises(KeyboardInterrupt):
        Run(recipe, tmp_path / "run").embed()
    monkeypatch.undo()
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert "auto" not in [member["precision"] for member in record["resolved"]["teacher"]["ensemble"]]
    before = (tmp_path / "run" / FIT).read_bytes()
    store = Run(recipe, tmp_path / "run").embed()
    assert (tmp_path / "run" / FIT).read_bytes() == before
    np.testing.assert_array_equal(store.embeddings(range(60)), whole.embeddings(range(60)))


def test_axes_of_other_texts_are_refused(ensemble, tmp_path):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher, dimensions=8))
    with pytest.raises(KeyboardInterrupt):
        Run(recipe, tmp_path / "run").embed(Stopped())
    assert (tmp_path / "run" / FIT).is_file()
    shutil.copy(recipe.texts.source, tmp_path / "other.jsonl")
    other = replace(recipe, texts=replace(recipe.texts, source=str(tmp_path / "other.jsonl")))
    with pytest.raises(InputError, match=r"another recipe \(texts\.source was .*name another --output, or delete"):
        Run(other, tmp_path / "run")


def test_a_partition_uses_the_axes_that_another_one_fitted(ensemble, tmp_path):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher, dimensions=8))
    Run(recipe, tmp_path / "whole").embed()
    axes = load_file(tmp_path / "whole" / FIT)
    (tmp_path / "run" / FIT).parent.mkdir(parents=True)
    save_file({name: -values for name, values in axes.items()}, tmp_path / "run" / FIT)  # as another processor may
    before = (tmp_path / "run" / FIT).read_bytes()
    store = Run(recipe, tmp_path / "run").embed()
    assert (tmp_path / "run" / FIT).read_bytes() == before
    whole = EmbeddingStore(tmp_path / "whole" / "store").embeddings(range(60))
    np.testing.assert_allclose(store.embeddings(range(60)), -whole, atol=1e-3)


def test_the_store_states_the_precision_of_each_member(ensemble, tmp_path):
    Run(ensemble, tmp_path / "run").embed()
    header = read_sealed(tmp_path / "run" / "store" / "fingerprint.json")
    recipe = replace(ensemble, teacher=ensemble.teacher.with_models(precision="auto"))
    (tmp_path / "run" / "recipe.json").unlink()
    for stated, members in (
        ("float32", ["float32", "float32"]),
        ("bfloat16+float32", ["bfloat16", "float32"]),
        ("float32+float32+bfloat16", ["auto", "auto"]),  # of another teacher
    ):
        changed = {**header, "fingerprint": {**header["fingerprint"], "precision": stated}}
        write_sealed(tmp_path / "run" / "store" / "fingerprint.json", changed)
        teacher = Run(recipe, tmp_path / "run").recipe.teacher
        assert [member.precision for member in teacher.ensemble] == members


def test_a_published_student_names_its_teachers(ensemble, tmp_path):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher, dimensions=8))
    run = _trained(recipe, tmp_path / "run")
    assert all(check.state != "failed" for check in prepare(run.folder, "us/both", without_results=True))
    published = run.folder / "publish"
    assert (published / FIT).is_file()
    card = (published / "README.md").read_text()
    assert "- teacher, weight 1\n- other, weight 2\n" in card
    assert 'teacher = open_teacher(teacher_spec("us/both"))' in card
    assert str(tmp_path) not in card + (published / "recipe.json").read_text()
    with pytest.raises(InputError, match="teacher \\+ other cannot be saved as one model"):
        prepare(run.folder, "us/both", asymmetric=True, without_results=True)


def test_a_plan_times_an_ensemble_before_its_axes_are_fitted(ensemble, tmp_path):
    recipe = replace(ensemble, teacher=replace(ensemble.teacher, dimensions=8))
    text = format_plan(plan(recipe, tmp_path / "run"))
    assert "(8 x float16)" in text
    assert "a second by teacher + other in float32" in text
    assert not (tmp_path / "run").exists()


def test_the_recipe_runs_with_tiny_models(tmp_path, request):
    recipe = load_recipe(request.config.rootpath / "recipes" / "ensemble.py", ["texts.source=docstrings"])
    small = smoke(recipe, tmp_path / "smoke")
    assert Recipe.from_dict(json.loads(json.dumps(small.to_dict()))) == small
    assert (len(small.teacher.ensemble), small.teacher.dimensions) == (2, WIDTH)
    _trained(small, tmp_path / "smoke")
