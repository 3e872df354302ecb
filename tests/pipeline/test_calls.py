"""What `leaf-st evaluate` and `leaf-st export` do, as calls of Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import EarlyStoppingCallback

import leaf_st
from leaf_st.errors import InputError
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.models.portable import save_portable
from leaf_st.texts import Text


@pytest.fixture
def student_folder(tiny_student, tmp_path):
    save_portable(tiny_student, tmp_path / "student")
    return tmp_path / "student"


def test_evaluate_a_loaded_model_in_its_own_space(tiny_student, beir):
    (row,) = leaf_st.evaluate(tiny_student, beir)
    assert (row.set, row.mode, row.metric) == ("tiny", "standard", "ndcg_at_10")


def test_evaluate_a_folder_with_a_teacher_and_keep_the_results(student_folder, tiny_teacher_folder, beir, tmp_path):
    rows = leaf_st.evaluate(student_folder, [str(beir)], teacher=tiny_teacher_folder, output=tmp_path / "results")
    assert [row.mode for row in rows] == ["teacher", "standard", "asymmetric"]
    kept = json.loads((tmp_path / "results" / "tasks.json").read_text())
    assert [row["score"] for row in kept] == [row.score for row in rows]


def test_evaluate_takes_one_mode(tiny_student, local_teacher, beir):
    (row,) = leaf_st.evaluate(tiny_student, beir, teacher=local_teacher, modes="asymmetric")
    assert row.mode == "asymmetric"


def test_evaluate_asks_for_a_teacher(tiny_student, student_folder, beir):
    with pytest.raises(InputError, match="a loaded model does not name its teacher"):
        leaf_st.evaluate(tiny_student, beir, modes=["teacher"])
    with pytest.raises(InputError, match="nothing in it names its teacher"):
        leaf_st.evaluate(student_folder, beir, modes=["asymmetric"])


def test_an_object_in_place_of_a_name_is_named(tiny_student, local_teacher, beir, tmp_path):
    texts, quick = ["a", "b"], {"output": tmp_path / "run"}
    calls = {
        "teacher: expected a folder, hub id or TeacherSpec, found a SentenceTransformer: save a loaded model": lambda: (
            leaf_st.distill(texts, tiny_student, layers=(0, 2), **quick)
        ),
        "backbone: expected a folder or hub id, found a SentenceTransformer: save": lambda: leaf_st.distill(
            texts, "teacher", backbone=tiny_student, **quick
        ),
        "callbacks: expected a list of callbacks, found a EarlyStoppingCallback: put": lambda: leaf_st.distill(
            texts, "teacher", callbacks=EarlyStoppingCallback(), **quick
        ),
        "callbacks: expected objects of transformers.TrainerCallback, found a function": lambda: leaf_st.distill(
            texts, "teacher", callbacks=[lambda state: None], **quick
        ),
        "evaluator: expected an object of a class of .* evaluators, found a list: pass one": lambda: leaf_st.distill(
            texts, "teacher", evaluator=[], **quick
        ),
        "callbacks: expected validations for EarlyStoppingCallback, found eval_strategy='no': remove": lambda: (
            leaf_st.distill(texts, "teacher", callbacks=[EarlyStoppingCallback()], eval_strategy="no", **quick)
        ),
        "tasks: expected names of tasks or folders, found a object: pass metadata.name": lambda: leaf_st.evaluate(
            tiny_student, [object()]
        ),
        "teacher: expected a Teacher, found a SentenceTransformer: pass what leaf_st.open_teacher": lambda: (
            leaf_st.precompute([Text("a", "query")], tiny_student, tmp_path / "run")
        ),
        "texts: expected items of leaf_st.Text, found a str: write leaf_st.Text": lambda: leaf_st.precompute(
            texts, local_teacher, tmp_path / "run"
        ),
        "name: expected a folder or the name of a model, found a SentenceTransformer": lambda: leaf_st.load(
            tiny_student
        ),
        "teacher: expected a folder or hub id, found a SentenceTransformer: join": lambda: leaf_st.load(
            "leaf-ir", asymmetric=True, teacher=tiny_student
        ),
        "teacher: expected a folder, hub id or Teacher, found a SentenceTransformer: name its folder": lambda: (
            leaf_st.evaluate(tiny_student, beir, teacher=tiny_student)
        ),
        "model: expected a folder, hub id or SentenceTransformer, found a list": lambda: leaf_st.evaluate(["a"], beir),
        "spec: expected a TeacherSpec, found a str: pass leaf_st.recipe.TeacherSpec": lambda: leaf_st.open_teacher(
            "teacher"
        ),
        "teacher: expected a SentenceTransformer, found a LocalTeacher: load it": lambda: leaf_st.compose(
            tiny_student, local_teacher
        ),
        "run: expected a run folder, found a SentenceTransformer: name the folder": lambda: leaf_st.push_to_hub(
            tiny_student, "owner/name"
        ),
    }
    for message, call in calls.items():
        with pytest.raises(InputError, match=message):
            call()
    assert not (tmp_path / "run").exists()


def test_export_of_a_loaded_model_makes_its_folder(tiny_student, quick_graph, tmp_path):
    folder = tmp_path / "new"
    paths = leaf_st.export(tiny_student, folder)
    assert {path.relative_to(folder).as_posix() for path in paths} >= {"onnx/model.onnx", "onnx/model_int8.onnx"}
    assert all(path.is_file() for path in paths)
    assert SentenceTransformer(str(folder), device="cpu").encode("a").shape == (32,)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_export_of_a_model_in_half_precision_is_in_float32(tiny_student, quick_graph, tmp_path, precision):
    half, folder = tiny_student.to(precision), tmp_path / "new"
    paths = leaf_st.export(half, folder)
    assert {path.name for path in paths} >= {"model.onnx", "model_packed.onnx", "model_int8.onnx"}
    assert {weight.dtype for weight in half.parameters()} == {precision}
    saved = leaf_st.load(str(folder))
    assert {weight.dtype for weight in saved.parameters()} == {torch.float32}
    texts = ["a", "a longer text"]
    found = OnnxEncoder(folder / "onnx" / "model.onnx", saved)("query", texts)
    np.testing.assert_allclose(found, saved.encode_query(texts), atol=1e-5)


def test_export_needs_a_new_folder(tiny_student, tmp_path):
    with pytest.raises(InputError, match="output: expected a folder for the model"):
        leaf_st.export(tiny_student)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="expected a new or empty folder"):
        leaf_st.export(tiny_student, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_without_a_graph_is_refused_before_its_folder_is_made(tiny_student, tiny_teacher, tmp_path):
    pair = leaf_st.compose(tiny_student, tiny_teacher)
    with pytest.raises(InputError, match=r"^export: expected one model, found student and teacher in one: export the "):
        leaf_st.export(pair, tmp_path / "new")
    tiny_student.truncate_dim = 16
    tiny_student.save_pretrained(str(tmp_path / "cut"), create_model_card=False)
    with pytest.raises(InputError, match=r"^export: expected a model of its full width, found truncate_dim=16: set "):
        leaf_st.export(tmp_path / "cut", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_export_of_a_run_goes_to_its_model(student_folder, quick_graph, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.move(student_folder, run / "model")
    (run / "recipe.json").write_text("{}")
    assert {path.parent for path in leaf_st.export(run)} == {run / "model" / "onnx"}


@pytest.mark.parametrize("url", ["s3://bucket/run", Path("gs://bucket/run"), "hf://us/run"])
def test_no_call_makes_a_local_folder_of_a_url(url, tiny_student, local_teacher, beir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: leaf_st.distill(["a text"], "no/teacher", layers=[0], output=url),
        lambda: leaf_st.evaluate(tiny_student, beir, output=url),
        lambda: leaf_st.export(tiny_student, url),
        lambda: leaf_st.precompute([leaf_st.Text("a text", "query")], local_teacher, Path(url)),
        lambda: leaf_st.save_portable(tiny_student, Path(url)),
    ):
        with pytest.raises(InputError, match=r"^output folder: expected a local path, found '\w+://\w+/run': .* copy"):
            call()
    assert not list(tmp_path.iterdir())


def test_every_call_writes_to_the_home_folder(tiny_teacher_folder, tiny_student, local_teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    texts = [f"a text, number {number}" for number in range(20)]
    quick = {"layers": [0], "max_steps": 1, "eval_steps": 1, "save_steps": 1, "use_cpu": True}
    leaf_st.distill(texts, tiny_teacher_folder, output="~/run", **quick)
    leaf_st.precompute([leaf_st.Text(text, "query") for text in texts], local_teacher, Path("~/store"))
    leaf_st.save_portable(tiny_student, "~/model")
    assert {path.name for path in tmp_path.iterdir()} >= {"run", "store", "model"}
    assert not Path("~").exists()
