import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run import Run, smoke
from leaf_st.teacher.store import EmbeddingStore


@pytest.fixture
def recipe(tmp_path, tiny_teacher_folder):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": f"a text, number {number}"}) + "\n" for number in range(60)))
    return Recipe(
        name="tiny",
        texts=TextsSpec(source=str(source)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2), closed_form_rows=8),
        training=TrainingSpec(arguments={"max_steps": 2, "use_cpu": True}),
    )


def test_the_recipe_is_written_down_as_asked_and_as_resolved(recipe, tmp_path):
    Run(recipe, tmp_path / "run").embed()
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert Recipe.from_dict(record["recipe"]) == Recipe.from_dict(record["resolved"]) == recipe
    assert "sentence-transformers" in record["versions"]


def test_partitions_make_one_store(recipe, tmp_path):
    run = Run(recipe, tmp_path / "run")
    assert len(run.embed((0, 1))) == 60
    split = Run(replace(recipe, texts=replace(recipe.texts, limit=50)), tmp_path / "split")
    assert split.embed((1, 2)) is None
    assert len(Run(split.recipe, split.folder).embed((0, 2))) == 50


def test_training_needs_the_store(recipe, tmp_path):
    with pytest.raises(InputError, match="store is not there: run `leaf-st embed` first"):
        Run(recipe, tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


def test_input_that_is_not_there_leaves_no_run(recipe, tmp_path):
    for part, change in (("texts", {"source": "none.jsonl"}), ("teacher", {"model": str(tmp_path / "none")})):
        wrong = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
        with pytest.raises(InputError, match="none"):
            Run(wrong, tmp_path / "run").embed()
    assert len(Run(recipe, tmp_path / "run").embed()) == 60


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("student", {"layers": (0, 9)}, "layers [0, 9] cannot be kept"),
        ("training", {"arguments": {"learning_rate": 0}}, "learning_rate: expected more than 0"),
    ],
)
def test_what_only_training_needs_is_checked_before_the_embedding(recipe, tmp_path, part, change, message):
    wrong = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
    with pytest.raises(InputError, match=re.escape(message)):
        Run(wrong, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


def test_alignment_is_that_of_the_held_out_rows(recipe, tmp_path):
    run = Run(recipe, tmp_path / "run")
    store = run.embed()
    student = run.train()
    rows = store.held_out(6).tolist()  # one in ten of 60
    vectors = student.encode(store.prompted(rows))
    expected = np.linalg.norm(vectors - store.embeddings(rows).astype(np.float32), axis=1).mean()
    assert run.measure_alignment()["l2"] == pytest.approx(float(expected), abs=1e-4)
    assert json.loads((run.folder / "results" / "alignment.json").read_text())[0]["rows"] == 6


def test_another_recipe_is_refused_by_the_values_that_differ(recipe, tmp_path):
    Run(recipe, tmp_path / "run").embed()
    other = replace(recipe, training=replace(recipe.training, cycles=3))
    with pytest.raises(InputError, match=r"another recipe \(training\.cycles was 1, is 3\)"):
        Run(other, tmp_path / "run")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"recipe": {}}'])
def test_a_damaged_record_is_named(recipe, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(content)
    with pytest.raises(InputError, match=r"recipe\.json is (damaged|no record of a run)"):
        Run(recipe, tmp_path / "run")


def test_what_a_kill_left_is_no_foreign_folder(recipe, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".recipe.json.0a1b2c3d.tmp").write_text("{")
    Run(recipe, folder)


def test_a_time_budget_becomes_a_number_of_steps_once(recipe, tmp_path):
    arguments = {"per_device_train_batch_size": 4, "eval_steps": 0.5, "save_steps": 0.5, "use_cpu": True}
    training = TrainingSpec(budget_minutes=0.05, held_out_rows=4, arguments=arguments)
    timed = replace(recipe, training=training)
    run = Run(timed, tmp_path / "run")
    run.embed()
    run.train()
    again = Run(timed, tmp_path / "run")
    assert again.recipe.training.arguments["max_steps"] == run.recipe.training.arguments["max_steps"] >= 1
    record = json.loads((tmp_path / "run" / "model" / "recipe.json").read_text())
    assert Recipe.from_dict(record["recipe"]) == timed
    assert Recipe.from_dict(record["resolved"]) == again.recipe


def test_a_smoke_run_is_small_and_real(recipe, tmp_path):
    folder = tmp_path / "smoke"
    large = replace(recipe, student=StudentSpec(backbone="us/large", layers=(7, 11)), teacher=TeacherSpec("us/larger"))
    small = smoke(large, folder)
    assert small == smoke(large, folder)
    run = Run(small, folder)
    run.embed()
    student = run.train()
    assert len(EmbeddingStore(folder / "store")) == 60
    assert student[0].model.config.num_hidden_layers == 2
    assert SentenceTransformer(str(folder / "model")).encode("a").shape == (32,)


def test_a_smoke_run_leaves_a_foreign_folder_alone(recipe, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds something that is no run"):
        smoke(recipe, folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
