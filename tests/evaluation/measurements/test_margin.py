import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from letters import open_model, save_set, save_texts
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import checkpoints
from leaf_st.evaluation.measurements.checkpoints import measure_margin
from leaf_st.evaluation.measurements.margin import draw_margin, format_margin
from leaf_st.evaluation.measurements.trend import MarginRow, trend
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.rows import read_rows, write_rows
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.portable import save_portable
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run_folder import read_record, write_record
from leaf_st.teacher.store import EmbeddingStore

PROMPTS = {"query": "q: ", "document": ""}
SHORT = 6  # tokens read in training


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two sets of random letters."""
    folder = tmp_path_factory.mktemp("sets")
    return [save_set(folder / name, documents=20, queries=5, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_teacher_folder, sets):
    """A finished run with four checkpoints, and a fifth that is incomplete."""
    folder = tmp_path_factory.mktemp("margin")
    texts = save_texts(folder / "texts.jsonl", 60)
    arguments = {
        "max_steps": 12,
        "eval_steps": 3,
        "save_steps": 3,
        "save_total_limit": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
    }
    recipe = Recipe(
        name="tiny",
        texts=TextsSpec(source=str(texts)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder), prompts=PROMPTS, precision="float32", max_length=SHORT),
        student=StudentSpec(layers=(0, 2), closed_form_rows=0, max_length=40),
        training=TrainingSpec(max_length=SHORT, end_learning_rate=1e-3, arguments=arguments),
        evaluate_on=[str(sets[0]), "nowhere"],
    )
    run = Run(recipe, folder / "run")
    run.embed()
    run.train()
    (run.folder / "checkpoints" / "checkpoint-99").mkdir()
    return run.folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results folder of `measured`."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def measured(run, sets, results):
    """The rows on both sets, and how often the teacher encoded each text."""
    given = Counter()

    def open_counting(folder):
        teacher = open_teacher_of_run(folder)
        for name in ("encode_query", "encode_document"):
            setattr(teacher, name, _counting(getattr(teacher, name), given))
        return teacher

    open_teacher_of_run = checkpoints.open_teacher_of_run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "open_teacher_of_run", open_counting)
        return measure_margin(run, sets, results), given


def _counting(encode, given):
    def counted(texts, **options):
        given.update((encode.__name__, text) for text in texts)
        return encode(texts, **options)

    counted.__name__ = encode.__name__
    return counted


def test_there_is_a_row_for_each_checkpoint_set_and_mode(measured):
    rows, _ = measured
    found = [(row.checkpoint, row.step, row.set, row.mode) for row in rows]
    expected = [("teacher", None, name, "teacher") for name in ("one", "two")]
    for step in (3, 6, 9, 12):
        for name in ("one", "two"):
            expected += [(f"checkpoint-{step}", step, name, mode) for mode in ("standard", "asymmetric")]
    assert found == expected
    assert {row.l2 for row in rows[:2]} == {0.0}
    assert {row.held_out for row in rows} == {6}  # one in ten of 60


def test_the_error_equals_the_validation_loss(measured, run):
    store = EmbeddingStore(run / "store")
    held_out = store.held_out(6).tolist()
    history = json.loads((run / "results" / "training.json").read_text())
    validated = {row["step"]: row["eval_loss"] for row in history if "eval_loss" in row}
    for row in measured[0][2:]:
        student = SentenceTransformer(str(run / "checkpoints" / row.checkpoint), device="cpu")
        student.max_seq_length = SHORT
        ours, theirs = student.encode(store.prompted(held_out)), store.embeddings(held_out).astype(np.float32)
        assert row.l2 == pytest.approx(np.sqrt(((ours - theirs) ** 2).sum(axis=1)).mean(), abs=1e-5)
        assert row.l2 == pytest.approx(validated[row.step], abs=1e-4)
    assert len({row.l2 for row in measured[0]}) == 5


def test_the_scores_equal_those_of_the_final_student(measured, run, sets, tiny_teacher_folder):
    teacher = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model.max_seq_length == 40
    teacher.prompts = model.prompts = PROMPTS
    teacher.max_seq_length = SHORT  # teacher.max_length of the recipe
    state = json.loads((run / "checkpoints" / "checkpoint-12" / "trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"]).name
    for folder in sets:
        expected = evaluate_tasks(
            find_tasks([str(folder)]), teacher=open_model(teacher), student=model, modes=list(ROLES)
        )
        found = {row.mode: row.score for row in measured[0] if row.set == folder.name and row.checkpoint == best}
        found["teacher"] = next(row.score for row in measured[0] if row.set == folder.name and row.mode == "teacher")
        assert found == {row.mode: row.score for row in expected}
    assert len({row.score for row in measured[0]}) > 8


def test_the_teacher_embeds_each_text_once(measured, sets):
    _, given = measured
    assert len(given) == len(sets) * (20 + 5)
    assert set(given.values()) == {1}


def test_the_default_sets_are_the_recipe_s(run, measured, results, monkeypatch, caplog):
    caplog.set_level("INFO", "leaf_st")
    monkeypatch.setattr(checkpoints, "complete_checkpoints", lambda folder: dict(list(whole(folder).items())[:3]))
    rows = measure_margin(run, [], results)
    assert rows == [row for row in measured[0] if row.set == "one" and row.step != 12]
    lines = [row.getMessage() for row in caplog.records if row.name.startswith("leaf_st")]  # not of transformers
    assert [line.partition(":")[0] for line in lines] == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    assert lines[0].startswith(f"checkpoint-3: mean L2 {rows[1].l2:.4f}, nDCG@10 standard {rows[1].score:.2f}, asym")


whole = checkpoints.complete_checkpoints


def test_too_few_checkpoints_are_refused_with_a_remedy(run, sets, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "complete_checkpoints", lambda folder: dict(list(whole(folder).items())[:2]))
    with pytest.raises(InputError, match=r"at least 3 checkpoints .* found 2: .*--set save_total_limit=10.*save_st"):
        measure_margin(run, sets, tmp_path)


def test_a_teacher_that_was_moved_is_named(run, sets, tmp_path):
    copy, gone = Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "gone"
    record = read_record(copy)
    record["resolved"]["teacher"]["model"] = str(gone)
    write_record(copy, record)
    with pytest.raises(InputError, match=rf"^teacher {gone}, recorded in {copy}: expected the folder .*: move it back"):
        measure_margin(copy, sets, tmp_path / "results")


def test_a_folder_without_a_run_or_a_set_is_reported(run, tmp_path):
    with pytest.raises(InputError, match=r"recipe\.json: expected the record of a run, found none"):
        measure_margin(tmp_path, [], tmp_path)
    with pytest.raises(InputError, match=r"retrieval set .*: no such folder"):
        measure_margin(run, [tmp_path / "none"], tmp_path)


def test_a_run_is_found_by_its_model_folder(run, sets, measured, results):
    assert measure_margin(run / "model", sets, results) == measured[0]


def test_an_interrupted_measurement_of_checkpoints_resumes(run, sets, measured, tmp_path, monkeypatch):
    data, asked, evaluate_ = shutil.copytree(sets[0], tmp_path / "one"), [], checkpoints._evaluate

    def stop_at_the_third(*arguments):
        asked.append(arguments)
        if len(asked) in (3, 7):
            raise KeyboardInterrupt
        return evaluate_(*arguments)

    monkeypatch.setattr(checkpoints, "_evaluate", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):  # the teacher and one checkpoint were measured
        measure_margin(run, [data], tmp_path)
    rows = measure_margin(run, [data], tmp_path)
    assert rows == [row for row in measured[0] if row.set == "one"]
    assert len(asked) == 3 + 3
    assert measure_margin(run, [data], tmp_path) == rows
    assert len(asked) == 6
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\n")
    with pytest.raises(KeyboardInterrupt):  # other data have no finished parts
        measure_margin(run, [data], tmp_path)


def test_a_results_folder_of_another_student_is_not_changed(run, sets, measured, results, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    student = SentenceTransformer(str(run / "checkpoints" / "checkpoint-3"), device="cpu")
    save_portable(student, other / "model")
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    with pytest.raises(InputError, match=r"contains results of the student .*, not of .*: name another --output"):
        measure_margin(other, sets, results)
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before


def _states(folder, steps):
    """Write the checkpoints of a run with 60 steps and 10 steps per epoch."""
    for step in steps:
        checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "complete.json").write_text("{}")
        state = {"global_step": step, "max_steps": 60, "epoch": step / 10}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("decay", "cycles", "kept"),
    [
        ("epoch", 2, [20, 30, 50, 60]),  # footnote 6 of the paper
        ("epoch", 1, [20, 30, 40, 50, 60]),
        ("epoch", 6, [10, 20, 30, 40, 50, 60]),  # the rate is constant
        ("step", 2, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_checkpoints_at_the_start_rate_are_skipped(tmp_path, decay, cycles, kept, caplog):
    _states(tmp_path, range(10, 61, 10))
    recipe = Recipe("tiny", training=TrainingSpec(decay=decay, cycles=cycles))
    assert list(checkpoints._checkpoints(tmp_path, recipe)) == kept
    left_out = ", ".join(f"checkpoint-{step}" for step in range(10, 61, 10) if step not in kept)
    assert caplog.messages == ([f"left out, because they are at the start of a cycle: {left_out}"] if left_out else [])


def test_a_damaged_checkpoint_is_reported(tmp_path):
    _states(tmp_path, [10, 20, 30])
    (tmp_path / "checkpoints" / "checkpoint-20" / "trainer_state.json").write_text("{}")
    with pytest.raises(InputError, match="checkpoint-20 is damaged"):
        checkpoints._checkpoints(tmp_path, Recipe("tiny"))


def _rows(errors, scores, teacher=(50.0, 60.0)):
    """Return rows of two sets; the second scores 10 above the first, and asymmetric mode loses half as much."""
    rows = [MarginRow("teacher", None, 0.0, 4096, name, "teacher", of) for name, of in zip("ab", teacher, strict=True)]
    for step, (error, score) in enumerate(zip(errors, scores, strict=True), 1):
        for name, more in (("a", 0), ("b", 10)):
            point = MarginRow(f"checkpoint-{step}", step, error, 4096, name, "standard", score + more)
            rows += [point, replace(point, mode="asymmetric", score=(point.score + teacher[0] + more) / 2)]
    return rows


ERRORS, SCORES = [0.31, 0.42, 0.5, 0.66, 0.8], [49.5, 48.1, 48.4, 45.0, 41.3]


def test_the_trend_equals_numpy():
    found = trend(_rows(ERRORS, SCORES))
    means = np.array(SCORES) + 5
    slope, intercept = np.polyfit(ERRORS, means, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept))
    assert found.r == pytest.approx(np.corrcoef(ERRORS, means)[0, 1])
    assert found.teacher == 55
    assert slope * found.margin + intercept == pytest.approx(55)
    assert found.margin > 0
    halved = trend(_rows(ERRORS, SCORES), "asymmetric")
    assert halved.slope == pytest.approx(slope / 2)
    assert halved.margin == pytest.approx(found.margin)


def test_a_run_without_margin():
    assert trend(_rows(ERRORS, SCORES, teacher=(90.0, 90.0))).margin is None  # never reaches the teacher
    assert trend(_rows(ERRORS, SCORES[::-1])).margin is None  # the score rises with the error
    flat = trend(_rows(ERRORS, [40.0] * 5))
    assert (flat.slope, flat.r, flat.margin) == (pytest.approx(0), 0.0, None)
    with pytest.raises(InputError, match="expected checkpoints of different L2"):
        trend(_rows([0.5] * 5, SCORES))


def test_the_table():
    *lines, standard, asymmetric = format_margin(_rows(ERRORS[:2], SCORES[:2])).splitlines()
    assert lines == [
        "checkpoint    mean L2  nDCG@10, standard  nDCG@10, asymmetric",
        "checkpoint-1   0.3100              54.50                54.75",
        "checkpoint-2   0.4200              53.10                54.05",
        "teacher             0              55.00                55.00",
    ]
    assert (
        standard == "standard: nDCG@10 = 58.45 - 12.73 L2, r = -1.000; the line reaches the teacher's score at L2 0.271"
    )
    assert asymmetric.startswith("asymmetric: nDCG@10 = 56.72 - 6.36 L2")
    never = format_margin(_rows(ERRORS, SCORES, teacher=(90.0, 90.0)))
    assert never.splitlines()[-2].endswith("the line does not reach the teacher's score above L2 0")


def test_rows_are_equal_after_reading(tmp_path):
    rows = _rows(ERRORS, SCORES)
    write_rows(tmp_path / "margin.json", rows)
    assert read_rows(tmp_path / "margin.json", MarginRow) == rows


def test_the_figure():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_margin(axes, _rows(ERRORS, SCORES))
    points, line, teacher = axes.get_lines()
    assert list(points.get_xdata()) == ERRORS
    assert list(points.get_ydata()) == pytest.approx([score + 5 for score in SCORES])
    found = trend(_rows(ERRORS, SCORES))
    assert list(line.get_ydata()) == pytest.approx([found.intercept, found.intercept + 0.8 * found.slope])
    assert teacher.get_ydata()[0] == 55
    assert [patch.get_width() for patch in axes.patches] == [pytest.approx(found.margin)]
    assert axes.get_xlabel() == "mean L2, 4,096 held-out texts"
    assert axes.get_ylabel() == "nDCG@10 (%), mean of 2 sets"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "checkpoints, standard",
        f"trend, r = {found.r:.2f}",
        "teacher",
        f"robustness margin, L2 below {found.margin:.2f}",
    ]
