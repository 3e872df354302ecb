import json
import shutil
from dataclasses import replace

import pytest
import torch
from hub import serve
from transformers import BertConfig

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import export
from leaf_st.evaluation.measurements.candidates import candidates, latency_texts
from leaf_st.evaluation.timing import require_batches
from leaf_st.export.forms import get_form
from leaf_st.export.own import mark
from leaf_st.models.find import find_model
from leaf_st.models.portable import save_portable
from leaf_st.recipe import DOCSTRINGS, Recipe, TeacherSpec, TextsSpec
from leaf_st.zoo import ARCHITECTURES, ARCTIC, MXBAI, Architecture

TINY = Architecture(32, 2, 2, 64, vocab_size=100, max_position_embeddings=40)


def test_without_the_hub_the_models_of_table_8_have_random_weights(monkeypatch, caplog):
    caplog.set_level("INFO", "leaf_st")
    for name in (ARCTIC.hub_id, MXBAI.hub_id, "leaf-ir", "leaf-mt"):
        monkeypatch.setitem(ARCHITECTURES, name, TINY)
    found = candidates(["leaf-ir", "leaf-mt"])
    assert [(made.name, made.teacher, made.random_weights) for made in found] == [
        (ARCTIC.hub_id, ARCTIC.hub_id, True),
        ("leaf-ir", ARCTIC.hub_id, True),
        (MXBAI.hub_id, MXBAI.hub_id, True),
        ("leaf-mt", MXBAI.hub_id, True),
    ]
    assert [made.encoder.get_embedding_dimension() for made in found] == [32, 768, 32, 1024]
    for made in found:
        assert made.encoder.dtype == torch.float32
        assert made.encoder.prompts["query"] == ARCTIC.prompts["query"]
        assert made.encoder.encode_query(["a text"]).shape == (1, made.encoder.get_embedding_dimension())
    assert (
        "leaf-ir is timed with random weights, which give the same times: model MongoDB/mdbr-leaf-ir: " in caplog.text
    )


def test_the_record_of_a_student_names_its_teacher(tmp_path, tiny_student, tiny_teacher_folder):
    tiny_student.prompts = {"query": "q: ", "document": ""}
    recipe = Recipe("tiny", teacher=TeacherSpec(model=str(tiny_teacher_folder)))
    save_portable(tiny_student, tmp_path / "model", {"resolved": recipe.to_dict()})
    save_portable(tiny_student, tmp_path / "other")
    graph = tmp_path / "model" / get_form("onnx packed").file
    graph.parent.mkdir()
    graph.touch()
    mark(graph)
    names = [str(tmp_path / name) for name in ("model", "other")]
    teacher, student = candidates(names[:1])
    assert (teacher.name, teacher.graphs, teacher.random_weights) == (str(tiny_teacher_folder), {}, False)
    assert (student.name, student.graphs, student.teacher) == (names[0], {"onnx packed": graph}, teacher.name)
    assert teacher.encoder.prompts["query"] == "q: "
    with pytest.raises(InputError, match="nothing in it names its teacher"):
        candidates(names)
    assert [made.name for made in candidates(names, str(tiny_teacher_folder))] == [teacher.name, *names]


def test_graphs_of_another_program_are_not_timed(tmp_path, tiny_student, tiny_teacher_folder, caplog):
    caplog.set_level("INFO", "leaf_st")
    folders = tmp_path / "student", shutil.copytree(tiny_teacher_folder, tmp_path / "teacher")
    save_portable(tiny_student, folders[0])
    graphs = [folder / get_form("onnx").file for folder in folders]
    for graph in graphs:
        graph.parent.mkdir()
        graph.write_bytes(b"with the inputs of another program")
    assert [made.graphs for made in candidates([str(folders[0])], str(folders[1]))] == [{}, {}]
    for graph in graphs:
        assert f"{graph} is not timed: it has no mark of leaf-st export" in caplog.text


def test_a_teacher_is_looked_up_at_its_revision(tmp_path, tiny_student, tiny_teacher_folder, connect_to):
    revision = "f" * 40
    recipe = Recipe("tiny", teacher=TeacherSpec(model="us/teacher", revision=revision))
    save_portable(tiny_student, tmp_path / "student", {"resolved": recipe.to_dict()})
    with serve({"us/teacher": tiny_teacher_folder}) as hub:
        connect_to(hub.url)
        find_model("us/teacher", revision)
        hub.fail_with = 503  # the cache holds this revision, and no other
        teacher, _ = candidates([str(tmp_path / "student")])
    assert (teacher.name, teacher.random_weights) == ("us/teacher", False)


def test_a_folder_with_only_a_config_is_timed_with_random_weights(tmp_path, tiny_teacher_folder):
    for name, layers in (("student", 1), ("teacher", 3)):
        (tmp_path / name).mkdir()
        shape = BertConfig(**vars(replace(TINY, num_hidden_layers=layers)))
        shape.save_pretrained(tmp_path / name)
    teacher, student = candidates([str(tmp_path / "student")], str(tmp_path / "teacher"))
    assert [(made.random_weights, len(made.encoder[0].model.encoder.layer)) for made in (teacher, student)] == [
        (True, 3),
        (True, 1),
    ]
    (tmp_path / "student" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match=r"expected a model, found no model\.safetensors in"):
        candidates([str(tmp_path / "student")], str(tmp_path / "teacher"))


def test_a_missing_model_of_unknown_shape_is_refused(tiny_teacher_folder):
    with pytest.raises(InputError, match="model us/student: not in the hub's cache"):
        candidates(["us/student"], str(tiny_teacher_folder))


def test_texts_of_both_sides(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [{"text": f"text {number}", "kind": ("query", "document")[number % 2]} for number in range(6000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = latency_texts(str(path))
    assert texts == {
        "query": [f"text {2 * number}" for number in range(1024)],
        "document": [f"text {2 * number + 1}" for number in range(1024)],
    }


def test_an_export_of_a_run_with_texts_of_one_kind_takes_documentation(tmp_path, monkeypatch):
    (tmp_path / "texts.txt").write_text("a text\nanother text\n")
    recipe = Recipe(name="a", texts=TextsSpec(source=str(tmp_path / "texts.txt")), teacher=TeacherSpec(model="teacher"))
    monkeypatch.setattr(export, "recorded_recipe", lambda model: recipe)
    assert export._texts_of("model", None) == TextsSpec(source=DOCSTRINGS)


def test_an_export_of_a_run_with_few_queries_takes_documentation(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "leaf_st")
    path = tmp_path / "texts.jsonl"
    kinds = ["query"] * 15 + ["document"] * 20
    path.write_text("".join(json.dumps({"text": f"text {row}", "kind": kind}) + "\n" for row, kind in enumerate(kinds)))
    recipe = Recipe(name="a", texts=TextsSpec(source=str(path)), teacher=TeacherSpec(model="teacher"))
    monkeypatch.setattr(export, "recorded_recipe", lambda model: recipe)
    assert export._texts_of("model", None) == TextsSpec(source=DOCSTRINGS)
    assert "documentation strings are used: expected at least 16 texts of kind query" in caplog.text
    assert export._texts_of("model", str(path)) == TextsSpec(source=str(path))  # the user named them
    with pytest.raises(InputError, match=r"of kind query to time a batch, found 15: name .* more texts \(--texts\)$"):
        require_batches(latency_texts(str(path)), (1, 16))


def test_texts_of_only_one_side_are_refused(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"texts\.txt: expected queries and documents, found no query"):
        latency_texts(str(path))
    with pytest.raises(InputError, match=r"^--texts .*texts\.txt: expected queries and documents, found no query"):
        latency_texts(str(path), "--texts")
    path.write_bytes(b"\xff\xfetext")
    with pytest.raises(InputError, match=r"^--texts .*texts\.txt: "):
        latency_texts(str(path), "--texts")
