"""The linear map beside the student, against NumPy and a map that must be perfect."""

import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from letters import normalized, save_texts
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from leaf_st import Text, precompute
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import baseline
from leaf_st.evaluation.measurements.alignment import measure_alignment
from leaf_st.evaluation.measurements.baseline import BASELINE, LinearMap, fit_map, fit_ridge, recall
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.random_weights import WIDTH
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run_folder import read_record, write_record
from leaf_st.teacher.open import open_teacher


def _ridge(x, y, ridge):
    """Return weights and offset from the augmented least-squares problem."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    penalty = np.sqrt(ridge * x.var(axis=0).sum() / x.shape[1] * len(x)) * np.eye(x.shape[1])
    rows = np.concatenate([x - mean_x, penalty])
    targets = np.concatenate([y - mean_y, np.zeros((x.shape[1], y.shape[1]))])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return weights, mean_y - mean_x @ weights


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
def test_the_map_is_numpy_s_ridge_regression(ridge):
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(200, 6)) * [1, 1, 2, 2, 3, 9] + 1).astype(np.float32)
    y = (x @ draw.normal(size=(6, 4)) + draw.normal(size=(200, 4))).astype(np.float32)
    blocks = [(x[start : start + 64], y[start : start + 64]) for start in range(0, 200, 64)]
    expected = _ridge(x.astype(np.float64), y.astype(np.float64), ridge)
    for found, value in zip(fit_ridge(blocks, ridge), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-9)


def test_a_map_reads_as_many_tokens_as_its_source_has_positions_for(tiny_teacher, local_teacher, tmp_path):
    rows = [Text(" ".join("abcdefgh"[number % 8 :] * 60), "document") for number in range(10)]
    store = precompute(rows, local_teacher, tmp_path / "store")
    length = tiny_teacher.max_seq_length
    found, expected = (fit_map(tiny_teacher, store, range(8), [8, 9], most) for most in (1024, 128))
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert found.l2 == expected.l2
    assert tiny_teacher.max_seq_length == length


def test_recall_counts_the_teacher_s_ten_nearest():
    draw = np.random.default_rng(0)
    expected = draw.normal(size=(7, 8)).astype(np.float32), draw.normal(size=(30, 8)).astype(np.float32)
    found = tuple(side + draw.normal(size=side.shape).astype(np.float32) for side in expected)
    model = Namespace(similarity=lambda a, b: _Tensor(a @ b.T))
    nearest = [np.argsort(-(a @ b.T), axis=1)[:, :10] for a, b in (expected, found)]
    shared = [len(set(a) & set(b)) for a, b in zip(*nearest, strict=True)]
    assert recall(found, expected, model) == pytest.approx(10 * np.mean(shared))
    assert recall(expected, expected, model) == 100


class _Tensor(np.ndarray):
    """An array, as `similarity` returns a tensor."""

    def __new__(cls, values):
        return np.asarray(values).view(cls)


@pytest.fixture(scope="module")
def measure(trained, tiny_unnormalized_folder):
    """Measure the baseline of the trained run as the command does."""

    def measure(output, **attributes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(baseline, "MINILM", str(tiny_unnormalized_folder))
            for name, value in attributes.items():
                patch.setattr(baseline, name, value)
            return BASELINE.measure(Namespace(model=str(trained.folder), data=[], output=output))

    return measure


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("baseline")


@pytest.fixture(scope="module")
def rows(measure, results):
    return measure(results)


def test_a_row_for_the_student_and_each_map_in_both_modes(rows, tiny_unnormalized_folder):
    maps = ["student", "linear map from layers 0, 2 of teacher", f"linear map from {tiny_unnormalized_folder.name}"]
    assert [(row.map, row.mode) for row in rows] == [
        (name, mode) for name in maps for mode in ("standard", "asymmetric")
    ]
    assert [row.fitted_on for row in rows[::2]] == [None, 54, 54]  # 6 of 60 texts are held out


def test_the_student_s_rows_are_those_of_evaluation_and_alignment(rows, trained, search_set, tmp_path):
    student = SentenceTransformer(str(trained.folder / "model"), device="cpu")
    teacher = open_teacher(trained.recipe.teacher)
    modes = ["teacher", "standard", "asymmetric"]
    scores = {
        row.mode: row.score
        for row in evaluate_tasks(find_tasks([str(search_set)]), teacher=teacher, student=student, modes=modes)
    }
    (aligned,) = measure_alignment(trained.folder, tmp_path)
    for row in rows[:2]:
        assert row.score == pytest.approx(scores[row.mode], abs=1e-3)
        assert row.teacher_score == pytest.approx(scores["teacher"], abs=1e-3)
        assert row.l2 == aligned.l2


def test_finished_sets_are_not_measured_again(rows, measure, results, capsys):
    assert measure(results, measure_baseline=lambda *_, **__: pytest.fail("measured again")) == rows
    assert BASELINE.read(results) == rows
    table = BASELINE.table(rows).splitlines()
    assert table[0].split()[:3] == ["model", "mode", "nDCG@10"]
    assert table[1].startswith("student")
    assert len(table) == 7
    (shown,) = BASELINE.section(rows).tables
    assert len(shown.rows) == 6
    assert BASELINE.words(rows) == ["--data", "letters"]


def test_a_teacher_that_was_moved_is_named(trained, tmp_path):
    copy, gone = Path(shutil.copytree(trained.folder, tmp_path / "run")), tmp_path / "gone"
    record = read_record(copy)
    record["resolved"]["teacher"]["model"] = str(gone)
    write_record(copy, record)
    with pytest.raises(InputError, match=rf"^teacher {gone}, recorded in {copy}: expected the folder .*: move it back"):
        BASELINE.measure(Namespace(model=str(copy), data=[], output=tmp_path / "results"))


def test_a_teacher_that_is_a_linear_image_of_the_backbone_has_a_perfect_map(
    tiny_unnormalized_folder, search_set, tmp_path
):
    encoder = SentenceTransformer(str(tiny_unnormalized_folder), device="cpu")
    torch.manual_seed(0)
    encoder.append(Dense(WIDTH, WIDTH, bias=False, activation_function=torch.nn.Identity()))
    encoder.save_pretrained(str(tmp_path / "teacher"), create_model_card=False)
    arguments = {"max_steps": 1, "save_steps": 1, "eval_steps": 1, "use_cpu": True, "bf16": False}
    recipe = Recipe(
        name="image",
        texts=TextsSpec(source=str(save_texts(tmp_path / "texts.jsonl", 400))),
        teacher=TeacherSpec(model=str(tmp_path / "teacher"), precision="float32", store_dtype="float32"),
        student=StudentSpec(backbone=str(tiny_unnormalized_folder), closed_form_rows=0),
        training=TrainingSpec(arguments=arguments),
        evaluate_on=[str(search_set)],
    )
    run = Run(recipe, tmp_path / "run")
    run.embed()
    run.train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline, "MINILM", str(tiny_unnormalized_folder))
        rows = BASELINE.measure(Namespace(model=str(run.folder), data=[], output=tmp_path / "results"))
    student, image = rows[:2], rows[2:]
    assert {row.map for row in image} == {f"linear map from {tiny_unnormalized_folder.name}"}
    for row in image:
        assert row.recall == 100
        assert row.score == pytest.approx(row.teacher_score, abs=0.2)  # the ridge moves ranks within the ten
        assert row.l2 < 0.01 < min(other.l2 for other in student)


def test_a_map_gives_norm_one_where_the_teacher_does(tiny_teacher):
    draw = np.random.default_rng(0)
    weights, offset, found = draw.normal(size=(4, 3)), draw.normal(size=3), draw.normal(size=(5, 4))
    plain, unit = (LinearMap(tiny_teacher, weights, offset, unit, 1, 0.0).apply(found) for unit in (False, True))
    np.testing.assert_allclose(plain, found @ weights + offset, rtol=1e-5)
    np.testing.assert_allclose(unit, normalized(plain), rtol=1e-5)


def test_a_static_student_has_only_the_general_source(tiny_unnormalized_folder, monkeypatch, caplog):
    caplog.set_level("INFO", "leaf_st")
    recipe = Recipe("table", student=StudentSpec(static=True))
    monkeypatch.setattr(baseline, "MINILM", str(tiny_unnormalized_folder))
    assert list(baseline.sources(recipe, None)) == [f"linear map from {tiny_unnormalized_folder.name}"]
    monkeypatch.setattr(baseline, "MINILM", "us/nowhere")
    assert baseline.sources(recipe, None) == {}
    assert "skipping the map from us/nowhere" in caplog.text


def test_a_static_student_is_compared_with_the_map_from_the_general_source(
    tiny_teacher_folder, tiny_unnormalized_folder, search_set, tmp_path, monkeypatch
):
    arguments = {"max_steps": 1, "save_steps": 1, "eval_steps": 1, "use_cpu": True, "bf16": False}
    recipe = Recipe(
        name="table",
        texts=TextsSpec(source=str(save_texts(tmp_path / "texts.jsonl", 60))),
        teacher=TeacherSpec(model=str(tiny_teacher_folder), precision="float32"),
        student=StudentSpec(static=True, closed_form_rows=0),
        training=TrainingSpec(arguments=arguments),
        evaluate_on=[str(search_set)],
    )
    run = Run(recipe, tmp_path / "run")
    run.embed()
    run.train()
    monkeypatch.setattr(baseline, "MINILM", str(tiny_unnormalized_folder))
    rows = BASELINE.measure(Namespace(model=str(run.folder), data=[], output=tmp_path / "results"))
    assert [row.map for row in rows[::2]] == ["student", f"linear map from {tiny_unnormalized_folder.name}"]
    assert all(np.isfinite(row.l2) for row in rows)


def test_at_most_twenty_thousand_rows_are_drawn_and_none_is_held_out(monkeypatch):
    held_out = list(range(0, 100, 7))
    assert baseline.training_rows(range(100), held_out) == sorted(set(range(100)) - set(held_out))
    monkeypatch.setattr(baseline, "_FITTED_TEXTS", 20)
    drawn = baseline.training_rows(range(1000), held_out)
    assert len(drawn) == 20
    assert not set(drawn) & set(held_out)
    assert drawn == sorted(drawn) == baseline.training_rows(range(1000), held_out)
    assert drawn[-1] > 500
