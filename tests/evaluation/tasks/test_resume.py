"""Results folders: finished measurements are not repeated, and a folder belongs to one pair of models."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from letters import open_model

from leaf_st.errors import InputError
from leaf_st.evaluation.results import TASKS_FILE, Result
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import MODELS
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.queries import without_query_scores
from leaf_st.evaluation.tasks.runner import CACHE, evaluate_tasks
from leaf_st.models.random_weights import WIDTH

MODES = ("teacher", "standard", "asymmetric")


@pytest.fixture
def models(tiny_teacher, tiny_student, counting, counting_teacher):
    return {"teacher": counting_teacher(tiny_teacher), "student": counting(tiny_student)}


@pytest.fixture
def tiny_models(tiny_teacher, tiny_student):
    return {"teacher": tiny_teacher, "student": tiny_student}


def _measure(folder, *paths, modes=MODES, **models):
    return evaluate_tasks(find_tasks(list(map(str, paths))), modes=modes, folder=folder, **models)


def _encoded(models):
    """Return how many texts both models have encoded since the last call."""
    count = sum(sum(seen.values()) for model in models.values() for seen in model.seen.values())
    for model in models.values():
        for seen in model.seen.values():
            seen.clear()
    return count


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_finished_measurements_are_not_repeated(retrieval, sts, models, tmp_path):
    folder = tmp_path / "runs" / "results"
    rows = _measure(folder, retrieval, sts, **models)
    # Modes of one document model are measured together, so that the order of the file is not the order of the table.
    assert sorted(read_rows(folder / TASKS_FILE, Result), key=str) == sorted(rows, key=str)
    assert _encoded(models) > 0
    again = _measure(folder, retrieval, sts, **models)
    assert _encoded(models) == 0
    for row, same in zip(rows, again, strict=True):
        assert same.score == pytest.approx(row.score, abs=1e-4)  # mteb keeps six digits
        for name in ("set", "mode", "seconds", "queries", "query_scores"):
            assert getattr(same, name) == getattr(row, name)


def test_scores_of_queries_come_from_mteb_s_cache(retrieval, models, tmp_path):
    """A kill after mteb wrote its result loses none; a result of an earlier version has none."""
    rows = _measure(tmp_path, retrieval, **models)
    (tmp_path / TASKS_FILE).unlink()
    again = _measure(tmp_path, retrieval, **models)
    assert [row.query_scores for row in again] == [row.query_scores for row in rows]
    for file in (tmp_path / CACHE).rglob(f"{retrieval.name}.json"):
        file.write_text(json.dumps(without_query_scores(json.loads(file.read_text()))))
    _encoded(models)
    old = _measure(tmp_path, retrieval, **models)
    assert _encoded(models) == 0
    assert {row.query_scores for row in old} == {None}


def test_no_score_of_an_edited_set_stands_beside_scores_before(retrieval, models, tmp_path, caplog):
    folder = shutil.copytree(retrieval, tmp_path / "set")
    _measure(tmp_path / "results", folder, **models)
    lines = (folder / "qrels.tsv").read_text().splitlines()
    (folder / "qrels.tsv").write_text("\n".join(lines[:-1]) + "\n")
    (row,) = _measure(tmp_path / "results", folder, modes=("standard",), **models)
    assert read_rows(tmp_path / "results" / TASKS_FILE, Result) == [row]
    assert "the data of the set have changed: set in asymmetric mode, set in teacher mode" in caplog.text


def test_another_set_of_the_same_name_is_refused(sts, pairs, models, tmp_path):
    for name, path in (("a", sts), ("b", sts), ("c", pairs)):
        (tmp_path / name).mkdir()
        shutil.copy(path, tmp_path / name / "test.parquet")
    _measure(tmp_path / "results", tmp_path / "a" / "test.parquet", modes=("standard",), **models)
    _encoded(models)
    for name in "bc":
        with pytest.raises(InputError, match="contains results of another set with the name test"):
            _measure(tmp_path / "results", tmp_path / name / "test.parquet", modes=("standard",), **models)
    assert _encoded(models) == 0


def test_each_model_has_its_own_cache_entry(retrieval, models, tmp_path):
    teacher, student, _ = _measure(tmp_path, retrieval, **models)
    kept = {path.parent for path in (tmp_path / CACHE / "results").rglob(f"{retrieval.name}.json")}
    assert {(folder.parent.name, folder.name) for folder in kept} == {
        (teacher.model.replace("/", "__"), teacher.revision),
        (student.model.replace("/", "__"), student.revision),
        (f"{student.model}+{teacher.model}".replace("/", "__"), f"{student.revision}+{teacher.revision}"),
    }


def test_an_interrupted_evaluation_resumes(retrieval, sts, models, tmp_path, monkeypatch):
    student, encode = models["student"], models["student"].encode

    def stop(inputs, **options):
        if options.get("task") is None:
            raise KeyboardInterrupt
        return encode(inputs, **options)

    monkeypatch.setattr(student, "encode", stop)
    with pytest.raises(KeyboardInterrupt):
        _measure(tmp_path, retrieval, sts, **models)
    kept = {(row.set, row.mode) for row in read_rows(tmp_path / TASKS_FILE, Result)}
    assert kept == {*((retrieval.name, mode) for mode in MODES), ("similar", "teacher")}
    monkeypatch.undo()
    _encoded(models)
    rows = _measure(tmp_path, retrieval, sts, **models)
    assert _encoded(models) == 60  # only the student's sentences
    assert len(rows) == 5
    assert all(row.seconds > 0 for row in rows)


def test_an_incomplete_file_is_replaced(sts, models, tmp_path):
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
    assert sorted(read_rows(tmp_path / "results" / TASKS_FILE, Result), key=str) == sorted(after, key=str)


def _other_weights(model):
    with torch.no_grad():
        next(model.parameters()).add_(0.1)


def _another_prompt(model):
    model.prompts = {"query": "find ", "document": ""}


@pytest.mark.parametrize("change", [_other_weights, _another_prompt])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_folder_of_another_model_is_not_changed(role, change, sts, retrieval, models, tiny_models, tmp_path):
    _measure(tmp_path, sts, **models)
    before = _files(tmp_path)
    other = copy.deepcopy(tiny_models[role])
    change(other)
    other = open_model(other) if role == "teacher" else other
    with pytest.raises(
        InputError, match=rf"{TASKS_FILE} contains results of local/.* \(.*\), not of .*: name another --output"
    ):
        _measure(tmp_path, retrieval, **(models | {role: other}))
    assert _files(tmp_path) == before


def test_the_teacher_can_be_added_later(retrieval, models, tmp_path):
    (alone,) = _measure(tmp_path, retrieval, modes=["standard"], student=models["student"], teacher=None)
    _encoded(models)
    rows = _measure(tmp_path, retrieval, **models)
    assert models["student"].seen["document"] == {}
    assert rows[1].score == pytest.approx(alone.score, abs=1e-3)
    assert len(read_rows(tmp_path / TASKS_FILE, Result)) == 3


def test_an_error_keeps_finished_measurements(sts, retrieval, models, tmp_path, monkeypatch):
    _measure(tmp_path, sts, **models)
    before = _files(tmp_path)
    monkeypatch.setattr(models["student"], "encode", lambda inputs, **_: np.full((len(inputs), WIDTH), np.nan))
    with pytest.raises(
        InputError, match="the student returns NaN or infinite numbers for 6 of 6 texts, such as the query"
    ):
        _measure(tmp_path, retrieval, modes=["standard"], **models)
    assert _files(tmp_path) == before


def test_models_that_cannot_be_measured_do_not_claim_the_folder(sts, models, tmp_path, monkeypatch):
    monkeypatch.setattr(models["teacher"], "encode", lambda texts, *_: np.full((len(texts), WIDTH), np.inf))
    with pytest.raises(InputError, match="the teacher returns NaN or infinite numbers"):
        _measure(tmp_path, sts, **models)
    assert not (tmp_path / MODELS).exists()
    assert not (tmp_path / TASKS_FILE).exists()


def test_a_file_instead_of_the_folder_is_reported(sts, models, tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InputError, match="notes: expected a folder, found a file: name another --output"):
        _measure(tmp_path / "notes", sts, **models)
    (tmp_path / TASKS_FILE).write_text("{}x")
    with pytest.raises(InputError, match=r"tasks\.json: expected a JSON list of measurements"):
        _measure(tmp_path, sts, **models)
    assert (tmp_path / TASKS_FILE).read_text() == "{}x"
