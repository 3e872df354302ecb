"""What a results folder keeps: measurements that are there are not made again, and only those of this model."""

import copy
import json

import numpy as np
import pytest
import torch

from leaf_st.errors import InputError
from leaf_st.evaluation.results import TASKS, Result
from leaf_st.evaluation.rows import MODELS, read_rows
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import CACHE, evaluate
from leaf_st.models.random_weights import WIDTH

MODES = ("teacher", "standard", "asymmetric")


@pytest.fixture
def models(tiny_teacher, tiny_student, counting):
    return {"teacher": counting(tiny_teacher), "student": counting(tiny_student)}


def _measure(folder, *paths, modes=MODES, **models):
    return evaluate(find_tasks(list(map(str, paths))), modes=modes, folder=folder, **models)


def _encoded(models):
    """Return how many texts both models have encoded since this was asked last."""
    count = sum(sum(seen.values()) for model in models.values() for seen in model.seen.values())
    for model in models.values():
        for seen in model.seen.values():
            seen.clear()
    return count


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_was_measured_is_not_measured_again(retrieval, sts, models, tmp_path):
    folder = tmp_path / "runs" / "results"
    rows = _measure(folder, retrieval, sts, **models)
    # Modes of one document model are measured together, so that they are not written in the order of the table.
    assert sorted(read_rows(folder / TASKS, Result), key=str) == sorted(rows, key=str)
    assert _encoded(models) > 0
    again = _measure(folder, retrieval, sts, **models)
    assert _encoded(models) == 0
    for row, same in zip(rows, again, strict=True):
        assert same.score == pytest.approx(row.score, abs=1e-4)  # mteb keeps six digits
        assert (same.set, same.mode, same.seconds, same.queries) == (row.set, row.mode, row.seconds, row.queries)


def test_each_model_has_an_entry_of_its_own(retrieval, models, tmp_path):
    teacher, student, _ = _measure(tmp_path, retrieval, **models)
    kept = {path.parent for path in (tmp_path / CACHE / "results").rglob(f"{retrieval.name}.json")}
    assert {(folder.parent.name, folder.name) for folder in kept} == {
        (teacher.model.replace("/", "__"), teacher.revision),
        (student.model.replace("/", "__"), student.revision),
        (f"{student.model}+{teacher.model}".replace("/", "__"), f"{student.revision}+{teacher.revision}"),
    }


def test_a_stopped_evaluation_goes_on(retrieval, sts, models, tmp_path, monkeypatch):
    student, encode = models["student"], models["student"].encode

    def stop(inputs, **options):
        if options.get("task") is None:
            raise KeyboardInterrupt
        return encode(inputs, **options)

    monkeypatch.setattr(student, "encode", stop)
    with pytest.raises(KeyboardInterrupt):
        _measure(tmp_path, retrieval, sts, **models)
    kept = {(row.set, row.mode) for row in read_rows(tmp_path / TASKS, Result)}
    assert kept == {*((retrieval.name, mode) for mode in MODES), ("similar", "teacher")}
    monkeypatch.undo()
    _encoded(models)
    rows = _measure(tmp_path, retrieval, sts, **models)
    assert _encoded(models) == 60  # the student's sentences alone
    assert len(rows) == 5
    assert all(row.seconds > 0 for row in rows)


def test_half_a_file_is_written_anew(sts, models, tmp_path):
    (row,) = _measure(tmp_path, sts, modes=["standard"], **models)
    (file,) = (tmp_path / CACHE).rglob("similar.json")
    whole = json.loads(file.read_text())
    file.write_text(file.read_text()[:100])
    (again,) = _measure(tmp_path, sts, modes=["standard"], **models)
    assert again.score == row.score
    assert json.loads(file.read_text())["scores"] == whole["scores"]


def test_other_data_of_the_same_name_are_measured(retrieval, models, tmp_path):
    folder = tmp_path / retrieval.name
    folder.mkdir()
    for file in retrieval.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = _measure(tmp_path / "results", folder, **models)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\n")
    after = _measure(tmp_path / "results", folder, **models)
    assert [row.score for row in after] != [row.score for row in before]
    assert {row.queries for row in after} == {1}
    assert sorted(read_rows(tmp_path / "results" / TASKS, Result), key=str) == sorted(after, key=str)


def _other_weights(model):
    with torch.no_grad():
        next(model.parameters()).add_(0.1)


def _another_prompt(model):
    model.prompts = {"query": "find ", "document": ""}


@pytest.mark.parametrize("change", [_other_weights, _another_prompt])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_folder_of_another_model_is_left_alone(role, change, sts, retrieval, models, tmp_path):
    _measure(tmp_path, sts, **models)
    before = _files(tmp_path)
    other = copy.deepcopy(models[role])
    change(other)
    with pytest.raises(
        InputError, match=rf"{TASKS} holds results of local/.* \(.*\), not of .*: name another --output"
    ):
        _measure(tmp_path, retrieval, **(models | {role: other}))
    assert _files(tmp_path) == before


def test_a_teacher_may_come_later(retrieval, models, tmp_path):
    (alone,) = _measure(tmp_path, retrieval, modes=["standard"], student=models["student"], teacher=None)
    _encoded(models)
    rows = _measure(tmp_path, retrieval, **models)
    assert models["student"].seen["document"] == {}
    assert rows[1].score == pytest.approx(alone.score, abs=1e-3)
    assert len(read_rows(tmp_path / TASKS, Result)) == 3


def test_an_error_leaves_what_was_measured(sts, retrieval, models, tmp_path, monkeypatch):
    _measure(tmp_path, sts, **models)
    before = _files(tmp_path)
    monkeypatch.setattr(models["student"], "encode", lambda inputs, **_: np.full((len(inputs), WIDTH), np.nan))
    with pytest.raises(
        InputError, match="the student gives NaN or infinite numbers for 6 of 6 texts, such as the query"
    ):
        _measure(tmp_path, retrieval, modes=["standard"], **models)
    assert _files(tmp_path) == before


def test_models_that_cannot_be_measured_leave_the_folder_to_others(sts, models, tmp_path, monkeypatch):
    monkeypatch.setattr(models["teacher"], "encode", lambda inputs, **_: np.full((len(inputs), WIDTH), np.inf))
    with pytest.raises(InputError, match="the teacher gives NaN or infinite numbers"):
        _measure(tmp_path, sts, **models)
    assert not (tmp_path / MODELS).exists()
    assert not (tmp_path / TASKS).exists()


def test_a_file_in_the_place_of_the_folder_is_named(sts, models, tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match="notes: a file has that name, name another --output"):
        _measure(tmp_path / "notes", sts, **models)
    (tmp_path / TASKS).write_text("{}x")
    with pytest.raises(InputError, match=r"tasks\.json: expected a JSON list of measurements"):
        _measure(tmp_path, sts, **models)
    assert (tmp_path / TASKS).read_text() == "{}x"
