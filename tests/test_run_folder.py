"""Records of runs: a damaged record is named before anything is made from the record."""

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from leaf_st.errors import InputError
from leaf_st.pipeline.default_texts import open_texts
from leaf_st.pipeline.recipe_file import override
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run_folder import GIVEN, RECIPE, has_begun_training, known_record, read_record, read_run, run_of
from leaf_st.sealed import write_sealed

RECORD = {key: Recipe(name="tiny").to_dict() for key in ("recipe", "resolved")}
DAMAGED = [
    "[]",
    "{}",
    json.dumps({**RECORD, "recipe": None}),
    json.dumps({**RECORD, "resolved": [1]}),
    json.dumps({**RECORD, "recipe": {**RECORD["recipe"], "texts": "texts.jsonl"}}),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_named(content, tmp_path):
    (tmp_path / RECIPE).write_text(content)
    for read in (lambda: read_run(tmp_path), lambda: known_record(tmp_path, Recipe(name="tiny"))):
        with pytest.raises(InputError, match=RECIPE):
            read()
    assert isinstance(read_record(tmp_path), dict)


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_record_that_is_no_json_is_named(content, tmp_path):
    (tmp_path / RECIPE).write_text(content)
    for read in (lambda: read_record(tmp_path), lambda: read_run(tmp_path)):
        with pytest.raises(InputError, match=f"{RECIPE} is damaged"):
            read()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_pipe_in_place_of_the_record_is_named(make, tmp_path):
    make(tmp_path / RECIPE)
    with pytest.raises(InputError, match=f"{RECIPE} is damaged .*not a file"):
        known_record(tmp_path, Recipe(name="tiny"))


@pytest.mark.parametrize("part", ["texts", "teacher", "student", "training"])
def test_a_part_that_is_no_mapping_is_an_error_of_the_recipe(part):
    with pytest.raises(InputError, match="recipe of another version"):
        Recipe.from_dict({**RECORD["recipe"], part: "text"})


def _given(source, table=None):
    """Return a recipe for vectors that a call passed with its texts."""
    teacher = TeacherSpec("owner/api", vector_column="vector", table=table and TextsSpec(table))
    return Recipe("tiny", texts=TextsSpec(str(source)), teacher=teacher, student=StudentSpec(backbone="us/encoder"))


def test_the_texts_of_a_call_are_those_of_the_folder_where_it_is_now(tmp_path):
    before, folder, other = f"runs/a/{GIVEN}", tmp_path / "moved", tmp_path / "link"
    folder.mkdir()
    other.symlink_to(folder, target_is_directory=True)
    record = {"recipe": _given(before).to_dict(), "resolved": _given(before, before).to_dict()}
    write_sealed(folder / RECIPE, json.loads(json.dumps(record)))
    (folder / "store").mkdir()
    now = folder / GIVEN
    with pytest.raises(InputError, match=r"another recipe \(texts\.source was 'runs/a/"):
        known_record(folder, _given(now))
    now.parent.mkdir()
    now.touch()
    for source in (now, other / GIVEN):
        known = known_record(folder, _given(source))
        assert known["recipe"]["texts"]["source"] == known["resolved"]["texts"]["source"] == str(source)
        assert known["resolved"]["teacher"]["table"]["source"] == str(source)
    assert read_record(folder)["resolved"]["texts"]["source"] == str(now)


def test_texts_of_a_call_that_were_deleted_are_another_source(tmp_path):
    folder, source = tmp_path / "run", tmp_path / "texts.parquet"
    (folder / "store").mkdir(parents=True)
    source.touch()
    record = {key: _given(folder / GIVEN).to_dict() for key in ("recipe", "resolved")}
    write_sealed(folder / RECIPE, json.loads(json.dumps(record)))
    with pytest.raises(InputError, match=r"another recipe \(texts\.source was "):
        known_record(folder, _given(source))


@pytest.mark.parametrize(
    ("began_offline", "remedy"),
    [
        (False, "unset HF_HUB_OFFLINE, with which recipes choose docstrings, or name another --output"),
        (True, "add --set texts.source=docstrings to resume the run, or name another --output"),
    ],
)
def test_open_texts_that_another_environment_chose_are_named_with_the_remedy(
    began_offline, remedy, tmp_path, monkeypatch
):
    def asked(offline):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        return Recipe("tiny", texts=open_texts(100, sentences=True))

    first = asked(began_offline)
    (tmp_path / "store").mkdir()
    write_sealed(tmp_path / RECIPE, json.loads(json.dumps({key: first.to_dict() for key in ("recipe", "resolved")})))
    now = asked(not began_offline)
    sources = f"texts.source was '{first.texts.source}', is '{now.texts.source}'"
    with pytest.raises(InputError, match=rf"another recipe \({sources}\): {remedy}$"):
        known_record(tmp_path, now)
    resumed = override(now, ["texts.source=docstrings"]) if began_offline else asked(offline=False)
    assert known_record(tmp_path, resumed)["recipe"]["texts"]["source"] == first.texts.source


def test_a_training_begins_with_its_first_complete_checkpoint(tmp_path):
    assert not has_begun_training(tmp_path)
    (tmp_path / "checkpoints" / "passing").mkdir(parents=True)
    (tmp_path / "checkpoints" / "runs").mkdir()  # an integration's
    assert not has_begun_training(tmp_path)
    (tmp_path / "checkpoints" / "passing" / "checkpoint-3").mkdir()  # interrupted by a kill
    assert not has_begun_training(tmp_path)
    (tmp_path / "checkpoints" / "passing" / "checkpoint-3" / "complete.json").touch()
    assert has_begun_training(tmp_path)


def test_values_that_never_had_an_effect_are_left_out_of_a_record(tmp_path):
    record = json.loads(json.dumps(RECORD))
    for recipe in record.values():
        recipe["student"]["revision"] = "a1"  # without a backbone
        recipe["training"]["arguments"] = {
            "data_seed": 1,
            "dataloader_in_order": False,
            "bf16_full_eval": True,
            "seed": 7,
        }
    record["arguments"] = record["recipe"]["training"]["arguments"]
    write_sealed(tmp_path / RECIPE, record)
    (tmp_path / "model").mkdir()
    expected = Recipe(name="tiny", training=TrainingSpec(arguments={"seed": 7}))
    for known in (known_record(tmp_path, expected), read_record(tmp_path)):
        assert Recipe.from_dict(known["resolved"]) == expected
        assert known["arguments"] == {"seed": 7}


def test_the_number_format_of_a_member_that_had_no_effect_is_left_out_of_a_record(tmp_path):
    teacher = TeacherSpec(ensemble=[{"model": "us/a"}, {"model": "us/b"}])
    expected = Recipe("tiny", teacher=teacher, student=StudentSpec(backbone="us/small"))
    record = json.loads(json.dumps({part: expected.to_dict() for part in ("recipe", "resolved")}))
    for recipe in record.values():
        recipe["teacher"]["ensemble"][0].update(store_dtype="float32", rows_per_shard=8)
    write_sealed(tmp_path / RECIPE, record)
    (tmp_path / "store").mkdir()
    for known in (known_record(tmp_path, expected), read_record(tmp_path)):
        assert Recipe.from_dict(known["resolved"]) == expected


_PROMPTS = {"query": "Represent the user's text: "}


@pytest.mark.parametrize(
    ("recorded", "asked", "key"),
    [
        ({"prompts": _PROMPTS}, {}, "teacher.prompts.query"),
        ({}, {"prompts": _PROMPTS}, "teacher.prompts.query"),
        ({"revision": "a1"}, {}, "teacher.revision"),
        ({}, {"revision": "a1"}, "teacher.revision"),
        ({"trust_remote_code": True}, {}, "teacher.trust_remote_code"),
    ],
)
def test_a_value_of_another_model_that_an_earlier_version_kept_resumes_as_recorded(recorded, asked, key, tmp_path):
    first, now = (Recipe("tiny", teacher=TeacherSpec("us/big", **values)) for values in (recorded, asked))
    write_sealed(tmp_path / RECIPE, json.loads(json.dumps({part: first.to_dict() for part in ("recipe", "resolved")})))
    (tmp_path / "store").mkdir()
    with pytest.raises(InputError, match=rf"\({key} was .*\): add --set .* to resume the run, or name") as error:
        known_record(tmp_path, now)
    _, setting = shlex.split(str(error.value).partition("): add ")[2].partition(" to resume")[0])
    assert known_record(tmp_path, override(now, [setting]))


def test_a_teacher_that_was_moved_has_to_be_moved_back_to_resume(tmp_path):
    first, now = (Recipe("tiny", teacher=TeacherSpec(str(tmp_path / name))) for name in ("teacher", "moved"))
    record = {**{part: first.to_dict() for part in ("recipe", "resolved")}, "commits": {"teacher": None}}
    write_sealed(tmp_path / RECIPE, json.loads(json.dumps(record)))
    (tmp_path / "store").mkdir()
    for remedy in (
        rf"move the teacher back to {tmp_path / 'teacher'} to resume the run, or name",
        "name another --out",
    ):
        with pytest.raises(InputError, match=rf"\(teacher\.model was .*, is .*moved'\): {remedy}"):
            known_record(tmp_path, now)
        (tmp_path / "teacher").mkdir(exist_ok=True)


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("training.distance", {"training": TrainingSpec(distance="mse")}),
        ("training.max_length", {"training": TrainingSpec(max_length=64)}),
        ("student.max_length", {"student": StudentSpec(layers=(0, 4, 5), max_length=64)}),
        ("student.backbone", {"student": StudentSpec(backbone="us/small")}),
        ("general", {"general": TextsSpec("general.txt", limit=9)}),
    ],
)
def test_another_training_is_the_remedy_only_where_its_vectors_serve(key, asked, has_store, tmp_path):
    first = Recipe("tiny")
    write_sealed(tmp_path / RECIPE, json.loads(json.dumps({part: first.to_dict() for part in ("recipe", "resolved")})))
    for name in ("model", "results", "store"):
        (tmp_path / name).mkdir()
    if has_store:
        (tmp_path / "store" / "manifest.json").touch()
    moved = f", or move model and results of {tmp_path} to another folder to train again on the same vectors"
    remedy = moved if has_store and key == "training.distance" else ""
    with pytest.raises(InputError, match=rf"another recipe \({key} was .*\): name another --output{remedy}$"):
        known_record(tmp_path, replace(first, **asked))


@pytest.mark.parametrize(("inside", "name"), [(".", "."), ("model", "."), ("model/onnx", ".."), ("model", "../model")])
def test_the_run_of_the_current_folder_is_found(inside, name, tmp_path, monkeypatch):
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / RECIPE).write_text("{}")
    monkeypatch.chdir(tmp_path / inside)
    found = run_of(Path(name))
    assert found is not None
    assert found.resolve() == tmp_path
    assert run_of(Path("onnx")) is None
