"""Further training of a student, with losses on the domain and on general texts."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from from_scratch import train
from sentence_transformers import SentenceTransformer

from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.recipe import StudentSpec, TextsSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.precompute import precompute
from leaf_st.texts import Text


@pytest.fixture(scope="module")
def general(tmp_path_factory, teacher):
    texts = [Text(f"general text {number} " + "of it " * (number % 7), "document") for number in range(29)]
    return precompute(texts, teacher, tmp_path_factory.mktemp("general") / "general")


@pytest.fixture(scope="module")
def start(tmp_path_factory, tiny_teacher_folder, teacher):
    folder = tmp_path_factory.mktemp("start") / "model"
    prompts = teacher.fingerprint.prompts
    save_portable(
        build_student(tiny_teacher_folder, dimension=WIDTH, normalized=True, layers=(0, 2), prompts=prompts), folder
    )
    return folder


@pytest.fixture(scope="module")
def going_on(recipe, start):
    return replace(recipe, student=StudentSpec(start=str(start)), general=TextsSpec(limit=100))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, going_on, store, general, start):
    run = tmp_path_factory.mktemp("going-on")
    train(going_on, store, run, general=general)
    return run


def _rows(run, name):
    history = json.loads((run / "results" / "training.json").read_text())
    return [(row["step"], row[f"eval_{name}_loss"]) for row in history if f"eval_{name}_loss" in row]


def _distance(folder, store, rows):
    """Return the mean distance to the targets, by NumPy."""
    student = SentenceTransformer(str(folder), device="cpu")
    targets = store.embeddings(rows).astype(np.float64)
    return np.linalg.norm(student.encode(store.prompted(rows), batch_size=1) - targets, axis=1).mean()


def test_the_first_losses_are_the_losses_of_the_start(finished, start, store, general):
    sets = {"domain": (store, store.held_out(20).tolist()), "general": (general, list(range(29)))}
    for name, (part, rows) in sets.items():
        step, loss = _rows(finished, name)[0]
        assert step == 0
        assert loss == pytest.approx(_distance(start, part, rows), abs=1e-5)


def test_the_last_losses_are_those_of_the_model(finished, store, general):
    best, domain = min(_rows(finished, "domain"), key=lambda row: row[1])
    assert domain == pytest.approx(_distance(finished / "model", store, store.held_out(20).tolist()), abs=1e-5)
    assert dict(_rows(finished, "general"))[best] == pytest.approx(
        _distance(finished / "model", general, list(range(29))), abs=1e-5
    )
    assert domain < _rows(finished, "domain")[0][1]


def test_no_report_and_no_metric_mean_the_defaults(tmp_path, going_on, changed, store, general):
    recipe = changed(going_on, report_to=None, metric_for_best_model=None, greater_is_better=None, max_steps=5)
    train(recipe, store, tmp_path, general=general)
    state = json.loads((tmp_path / "checkpoints" / "checkpoint-5" / "trainer_state.json").read_text())
    assert state["best_metric"] == dict(_rows(tmp_path, "domain"))[5]


def test_both_losses_are_measured_at_every_validation(finished):
    steps = [step for step, _ in _rows(finished, "domain")]
    assert steps == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert [step for step, _ in _rows(finished, "general")] == steps


def test_the_last_line_says_both_before_and_after(tmp_path, finished, going_on, store, general, caplog):
    caplog.set_level("INFO", "leaf_st")
    shutil.copytree(finished, tmp_path / "again")
    train(going_on, store, tmp_path / "again", general=general)  # of a finished run it says the same
    first = {name: _rows(finished, name)[0][1] for name in ("domain", "general")}
    best = min(_rows(finished, "domain"), key=lambda row: row[1])[0]
    last = {name: dict(_rows(finished, name))[best] for name in first}
    expected = ", ".join(f"{name} L2 {first[name]:.4f} -> {last[name]:.4f}" for name in first)
    assert caplog.messages[-1] == expected


def test_a_stopped_training_resumes_to_the_same_losses(tmp_path, finished, going_on, store, general):
    shutil.copytree(finished, tmp_path / "stopped")
    (tmp_path / "stopped" / "checkpoints" / "checkpoint-50" / "complete.json").unlink()
    train(going_on, store, tmp_path / "stopped", general=general)
    for name in ("domain", "general"):
        assert _rows(tmp_path / "stopped", name) == _rows(finished, name)
