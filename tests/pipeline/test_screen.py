"""Screening of the tiny teacher, and the prediction from made-up runs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from api import KEY, serve
from letters import save_texts
from sentence_transformers import SentenceTransformer

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screen import half_of_the_layers, screen
from leaf_st.pipeline.screening.closed_form import measure_closed_form
from leaf_st.pipeline.screening.prediction import Case, case_of, errors, fit, leave_one_out
from leaf_st.pipeline.screening.runs import MEASURED_RUNS, MeasuredRun, measured_runs
from leaf_st.pipeline.screening.spectrum import spectrum
from leaf_st.recipe import PAPER, Recipe, StudentSpec, TeacherSpec, TextsSpec
from leaf_st.teacher.open import open_teacher
from leaf_st.training.train import initial_student


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return save_texts(tmp_path_factory.mktemp("screen") / "texts.jsonl", 200)


@pytest.fixture
def letters(texts, tiny_teacher_folder):
    teacher, student = TeacherSpec(model=str(tiny_teacher_folder)), StudentSpec(layers=(0, 4, 5))
    return Recipe(name="screened", texts=TextsSpec(source=str(texts)), teacher=teacher, student=student)


def _rows(recipe):
    return [json.loads(line) for line in Path(recipe.texts.source).read_text().splitlines()]


_LAW = (-1, 0.15, 0.3, -0.2, 0.5)


def _run(samples, layers, start_l2=0.6, spread=0.9, noise=0.0, agreement=60.0):
    """Return a made-up run that follows the formula with the coefficients `_LAW` and a loss of 20."""
    terms = (1, np.log(samples), np.log(layers), 1 / layers, agreement / 100)
    l2 = start_l2 * np.exp(-np.dot(_LAW, terms) + noise)
    retention = 100 - 20 * (l2 / spread) ** 3
    values = {
        "dimension": 384,
        "spread": spread,
        "start_rows": 160,
        "start_r2": 0.6,
        "start_l2": start_l2,
        "start_agreement": agreement,
    }
    trained = {"texts": 1000, "steps": samples // 32, "batch_size": 32, "l2": float(l2), "agreement": None}
    return MeasuredRun("teacher", "student", layers, **values, **trained, retention=float(retention), source="made up")


@pytest.fixture
def runs():
    pairs = [(samples, layers) for samples in (32_000, 64_000, 320_000) for layers in (1, 2, 3)]
    return [_run(*pair) for pair in pairs] + [_run(*pair, agreement=30.0) for pair in pairs[:4]]


@pytest.mark.parametrize(("count", "dimension"), [(300, 12), (20, 50)])
def test_the_effective_dimension_is_that_of_the_covariance(count, dimension):
    draw = np.random.default_rng(0)
    vectors = (draw.normal(size=(count, dimension)) * np.linspace(0.1, 2, dimension) + 3).astype(np.float32)
    variances = np.sort(np.linalg.eigvalsh(np.cov(vectors.astype(np.float64).T, bias=True)))[::-1]
    found = spectrum(vectors)
    assert found.dimension == dimension
    assert found.participation == pytest.approx(variances.sum() ** 2 / (variances**2).sum(), rel=1e-6)
    shares = variances.cumsum() / variances.sum()
    assert shares[found.axes - 1] >= 0.95 > shares[found.axes - 2]
    assert found.spread == pytest.approx(np.linalg.norm(vectors - vectors.mean(0), axis=1).__pow__(2).mean() ** 0.5)


def test_a_flat_spectrum_has_all_dimensions_and_a_line_has_one():
    assert spectrum(np.concatenate([np.eye(6), -np.eye(6)])).participation == pytest.approx(6)
    line = spectrum(np.outer(np.arange(9.0), np.ones(4)))
    assert (line.participation, line.axes) == (pytest.approx(1), 1)


def test_the_closed_form_is_that_of_the_definition(letters, tmp_path):
    store = Run(letters, tmp_path / "run").embed()
    rows = np.random.default_rng(3).permutation(200).tolist()
    fitted, held_out = rows[:150], rows[150:]
    student = initial_student(letters, store.fingerprint)
    found = measure_closed_form(letters, store, student, fitted, held_out)
    pooled = SentenceTransformer(modules=[student[0], student[1]], device="cpu")
    x, unseen = (np.float64(pooled.encode(store.prompted(part))) for part in (fitted, held_out))
    y, expected = (np.float64(store.embeddings(part)) for part in (fitted, held_out))
    centred = x - x.mean(0)
    penalty = 1e-4 * centred.var(axis=0).mean() * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y.mean(0)))
    raw = (unseen - x.mean(0)) @ weights + y.mean(0)
    mapped = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert found.l2 == pytest.approx(np.linalg.norm(mapped - expected, axis=1).mean(), abs=1e-4)
    assert found.r2 == pytest.approx(
        1 - ((expected - raw) ** 2).sum() / ((expected - expected.mean(0)) ** 2).sum(), abs=1e-3
    )
    kinds = np.array([row.kind for row in store.texts([*held_out, *fitted])])
    documents = np.concatenate([expected, y])[kinds == "document"]
    shared = [
        len(set(np.argsort(-documents @ ours)[:10]) & set(np.argsort(-documents @ theirs)[:10]))
        for ours, theirs, kind in zip(mapped, expected, kinds[:50], strict=True)
        if kind == "query"
    ]
    assert (found.queries, found.documents) == (len(shared), len(documents))
    assert found.agreement == pytest.approx(10 * np.mean(shared), abs=0.5)


def test_the_figures_of_a_sample(letters):
    found = screen(letters)
    start = found.start
    assert (start.fitted_on, start.held_out, start.layers) == (160, 40, 3)
    assert start.spectrum.dimension == 32
    assert start.queries + start.documents == pytest.approx(120, abs=15)  # held-out queries and all documents
    assert 10 < start.agreement <= 100  # chance finds ten of a hundred documents
    assert found.rows == 200
    size = sum(len(row["text"]) for row in _rows(letters))
    assert found.store_bytes == pytest.approx(size + 200 * (32 * 2 + 44), abs=200 * 10)
    assert (found.tokens, found.usd) == (None, None)


def test_a_step_has_the_texts_of_all_its_batches(letters):
    arguments = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4}
    found = screen(replace(letters, training=replace(letters.training, arguments=arguments)), 60)
    assert found.batch_size == 64


def test_all_layers_of_the_teacher_are_explained_completely(letters, tiny_teacher_folder):
    complete = replace(letters, student=StudentSpec(backbone=str(tiny_teacher_folder)))
    start = screen(complete).start
    assert start.l2 < 0.2
    assert start.r2 > 0.9
    assert start.agreement > screen(replace(letters, student=StudentSpec(layers=(0,)))).start.agreement


def test_texts_of_one_kind_search_the_others(letters, tmp_path):
    texts = tmp_path / "documents.txt"
    texts.write_text("".join(f"document {number} " + "abc " * (number % 7) + "\n" for number in range(100)))
    start = screen(replace(letters, texts=TextsSpec(source=str(texts)))).start
    assert (start.queries, start.documents) == (20, 80)


def test_the_prediction_recovers_a_law_without_noise(runs):
    fitted = fit(runs)
    assert fitted.coefficients == pytest.approx(_LAW)
    assert fitted.loss == pytest.approx(20)
    assert errors(leave_one_out(runs)) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-7))
    unseen = _run(100_000, 2, start_l2=0.4, spread=0.5)
    assert fitted.l2(case_of(unseen)) == pytest.approx(unseen.l2)
    assert fitted.retention(unseen.l2, 0.5) == pytest.approx(unseen.retention)
    untrained = Case(start_l2=0.6, spread=0.9, layers=1, samples=1, start_agreement=60.0)
    assert fitted.l2(untrained) == 0.6  # training does no harm


def test_each_run_is_predicted_from_the_others(runs):
    odd = _run(64_000, 2, noise=0.3)
    checked = leave_one_out([*runs, odd])
    assert checked[-1].l2 == pytest.approx(odd.l2 * np.exp(-0.3))
    l2, retention = errors(checked)
    assert l2 >= abs(checked[-1].l2 - odd.l2) / 14**0.5
    assert retention > 0
    with pytest.raises(InputError, match="expected runs that differ in steps and layers, found 4 runs"):
        leave_one_out([*runs, odd], lambda run: run.layers != 3)


def test_the_measured_runs_of_the_package_determine_the_prediction():
    runs = measured_runs(MEASURED_RUNS)
    assert len(runs) >= 6
    l2, _ = errors(leave_one_out(runs))
    assert l2 < 0.03
    assert len({(run.teacher, run.student, run.steps, run.batch_size, run.texts) for run in runs}) == len(runs)


def test_the_command_prints_figures_predictions_and_cost(texts, tiny_teacher_folder, capsys):
    main(["screen", str(tiny_teacher_folder), "--texts", str(texts), "--layers", "0,2", "--steps", "1000", "2000"])
    printed = capsys.readouterr().out
    for expected in (
        "effective dimension of the teacher's vectors (participation ratio)",
        "principal axes with 95 % of their variance, of 32",
        "linear map from the untrained student, 2 layers: R²",
        "1,000 of 32 texts",
        "2,000 of 32 texts",
        "store of 200 texts",
        "Fitted on 160 texts, measured on 40 others.",
    ):
        assert expected in printed
    assert "Outside of the measured runs" in printed  # 200 texts


@pytest.mark.parametrize(("options", "layers"), [(["--layers", "0"], 1), (["--set", "student.layers=0"], 1), ([], 3)])
def test_the_layers_that_are_named_are_screened(options, layers, texts, tiny_teacher_folder, capsys):
    main(["screen", str(tiny_teacher_folder), "--texts", str(texts), *options])
    assert f"linear map from the untrained student, {layers} layers: R²" in capsys.readouterr().out


def test_a_recipe_file_with_an_api_has_a_price(texts, tiny_teacher_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve() as server:
        recipe = tmp_path / "recipe.py"
        recipe.write_text(
            "from leaf_st.recipe import *\nrecipe = Recipe(name='api', texts=TextsSpec('none.txt'),"
            "teacher=TeacherSpec("
            f"api=ApiSpec({server.url!r}, 'loopback', price_per_million_tokens=1e4)),"
            f"student=StudentSpec(backbone={str(tiny_teacher_folder)!r}, layers=(0, 2)))"
        )
        main(["screen", str(recipe), "--texts", str(texts), "--sample", "100"])
        assert 100 <= sum(server.asked.values()) < 200  # and the probes
    printed = capsys.readouterr().out
    assert "Fitted on 80 texts" in printed
    assert "price of about " in printed
    assert " USD" in printed


def test_given_vectors_are_screened_without_a_teacher(letters, tiny_teacher_folder, tmp_path):
    rows = _rows(letters)
    teacher = open_teacher(letters.teacher)
    for row in rows:
        row["kind"] = "document"
    for row, vector in zip(rows, teacher.encode_document([row["text"] for row in rows]), strict=True):
        row["vector"] = vector.tolist()
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = replace(
        letters,
        texts=TextsSpec(source=str(table)),
        teacher=TeacherSpec(model="owner/given", vector_column="vector"),
        student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 4, 5), max_length=64),
    )
    loaded = screen(replace(letters, texts=TextsSpec(source=str(table)))).start
    found = screen(given).start
    assert found.l2 == pytest.approx(loaded.l2, abs=5e-3)
    assert found.spectrum.participation == pytest.approx(loaded.spectrum.participation, rel=1e-2)


def test_an_ensemble_is_projected_before_it_is_screened(letters, tiny_teacher_folder):
    member = TeacherSpec(model=str(tiny_teacher_folder))
    teacher = TeacherSpec(ensemble=[member, replace(member, weight=2.0)], dimensions=8)
    student = StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 4, 5))
    found = screen(replace(letters, teacher=teacher, student=student))
    assert found.start.spectrum.dimension == 8


def test_half_of_the_layers(tiny_teacher_folder):
    assert half_of_the_layers(TeacherSpec(model=str(tiny_teacher_folder))) == (0, 4, 5)


def test_what_cannot_be_screened_is_refused(letters, texts, tiny_teacher_folder):
    with pytest.raises(InputError, match=r"student\.static: expected a student with an encoder"):
        screen(replace(letters, student=StudentSpec(static=True)))
    with pytest.raises(InputError, match=r"texts\.source: expected local texts, found paper"):
        screen(replace(letters, texts=TextsSpec(source=PAPER)))
    with pytest.raises(InputError, match="expected at least 50 texts, found 9"):
        screen(replace(letters, texts=TextsSpec(source=str(texts), limit=9)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--texts: expected a file of texts"),
        (["--texts", "none.txt"], "none.txt"),
        (["--texts", "none.txt", "--set", "per_device_train_batch_size=64k"], "batch_size: expected a whole number"),
        (["--texts", "none.txt", "--set", "per_device_train_batch_size=None"], "batch_size: expected a whole number"),
        (["--texts", "none.txt", "--set", "seed=abc"], "seed: expected a whole number"),
        (["--texts", "none.txt", "--steps", "0"], "argument --steps: expected an integer of at least 1, found 0"),
        (["--texts", "none.txt", "--sample", "0"], "argument --sample: expected an integer of at least 1, found 0"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, expected, tiny_teacher_folder, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["screen", str(tiny_teacher_folder), *arguments])
    assert exit_.value.code == 2
    assert expected in capsys.readouterr().err


def test_the_recipes_measure_runs_and_compare_the_predictions(letters, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "recipes" / "benchmarks")
    import screen_prediction
    import screen_runs

    arguments = {"use_cpu": True, "max_steps": 3}
    run = Run(
        replace(letters, training=replace(letters.training, held_out_rows=16, arguments=arguments)), tmp_path / "run"
    )
    run.embed()
    run.train()
    l2 = run.measure_alignment().l2
    rows, grid = tmp_path / "rows.json", ["--grid", "0,2:2,4", "0,4:2", "0:2,4", "0,1,3,5:2", "0,1,2,3,4,5:2"]
    command = [str(run.folder), *grid, "--output", str(tmp_path / "out"), "--runs", str(rows)]
    screen_runs.main(command)
    first, runs = rows.read_bytes(), measured_runs(rows)
    assert (runs[0].layers, runs[0].steps, runs[0].l2) == (3, 3, pytest.approx(l2, abs=1e-4))
    # A student of all six layers would be the teacher.
    assert sorted((found.layers, found.steps) for found in runs[1:]) == [(1, 2), (1, 4), (2, 2), (2, 2), (2, 4), (4, 2)]
    assert all(0 < found.l2 < 2 and found.retention is None for found in runs)
    monkeypatch.setattr(screen_runs, "train", None)
    screen_runs.main(command)
    assert rows.read_bytes() == first
    capsys.readouterr()
    screen_prediction.main(["--runs", str(rows)])
    printed = capsys.readouterr().out
    assert len(re.findall("layers? 0", printed)) == 7
    assert "the same run" in printed


def test_a_sample_that_is_too_small_is_named(letters):
    with pytest.raises(InputError, match=r"^--sample 40: expected at least 50 texts"):
        screen(letters, sample=40)
