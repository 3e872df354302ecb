import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from api import KEY, serve

from leaf_st.errors import InputError
from leaf_st.pipeline.plan import _loadable, plan
from leaf_st.pipeline.plan_text import format_plan
from leaf_st.pipeline.run import Run
from leaf_st.recipe import PAPER, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.workers import Partition
from leaf_st.texts.read import read_texts
from leaf_st.zoo import ARCHITECTURES, ARCTIC, MINILM_L6_H384, Architecture

TINY = Architecture(32, 2, 2, 64)


@pytest.fixture
def recipe(tmp_path, tiny_teacher_folder):
    source = tmp_path / "texts.jsonl"
    rows = [{"text": f"text {n} " + "of it " * (n % 9), "kind": "query" if n % 4 else "document"} for n in range(103)]
    source.write_text("\n".join(map(json.dumps, rows)))
    arguments = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "eval_steps": 7,
        "save_steps": 7,
        "use_cpu": True,
    }
    return Recipe(
        name="tiny",
        texts=TextsSpec(source=str(source)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2), closed_form_rows=0),
        training=TrainingSpec(held_out_rows=8, end_learning_rate=1e-4, cycles=2, decay="epoch", arguments=arguments),
    )


def _changed(recipe, **arguments):
    return replace(recipe, training=replace(recipe.training, arguments={**recipe.training.arguments, **arguments}))


def _state(run):
    """Return what the trainer knew at the end."""
    states = (json.loads(path.read_text()) for path in run.folder.glob("checkpoints/*/trainer_state.json"))
    return max(states, key=lambda state: state["global_step"])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_train_epochs": 1.4, "dataloader_drop_last": True, "eval_steps": 0.3, "save_steps": 0.3},
        {"max_steps": 29, "eval_strategy": "epoch", "save_strategy": "epoch"},
    ],
)
def test_the_plan_is_what_the_run_does(recipe, tmp_path, arguments):
    recipe = _changed(recipe, **arguments)
    planned = plan(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = Run(recipe, tmp_path / "run")
    store = run.embed()
    run.train()
    state = _state(run)
    assert planned.steps == state["max_steps"]
    assert planned.rows == len(store) == 103
    assert planned.validations == sum("eval_loss" in row for row in state["log_history"])
    assert planned.validation_rows == len(store.held_out(8))
    shards = sum(path.stat().st_size for path in store.folder.glob("shard-*"))
    training = planned.steps * planned.speed.pace.step + planned.validations * 8 * planned.speed.pace.row
    assert planned.training_hours == pytest.approx(training / 3600)
    assert planned.embedding_hours == pytest.approx(103 * planned.speed.text / 3600)
    assert planned.vector_bytes + planned.text_bytes == pytest.approx(shards, rel=0.1)
    tokens = sum(path.stat().st_size for path in store.folder.glob("tokens-*.ids"))
    assert planned.token_bytes == pytest.approx(tokens + 2 * len(store), rel=0.05)


def test_every_cycle_has_the_rates_of_the_trainer(recipe, tmp_path):
    run = Run(_changed(recipe, num_train_epochs=5, logging_steps=1), tmp_path / "run")
    run.embed()
    run.train()
    rates = [row["learning_rate"] for row in _state(run)["log_history"] if "learning_rate" in row]
    done = 0
    cycles = plan(run.recipe, tmp_path / "planned").cycles
    assert len(cycles) == 2
    for cycle in cycles:
        assert cycle.first == pytest.approx(rates[done])
        done += cycle.steps
        assert cycle.last == pytest.approx(rates[done - 1])
    assert done == len(rates)


def test_general_texts_are_embedded_and_validated_on(recipe, tmp_path):
    (tmp_path / "general.txt").write_text("".join(f"general {number}\n" for number in range(40)))
    planned = plan(replace(recipe, general=TextsSpec(source=str(tmp_path / "general.txt"), limit=30)), tmp_path / "run")
    assert planned.rows == 103 + 30
    assert planned.validation_rows == 8 + 30
    assert planned.steps == 18
    assert planned.validations == 1 + 3  # the first of them before the first step


def test_a_budget_becomes_steps(recipe, tmp_path):
    epochs = _changed(recipe, max_steps=-1)  # -1 is no limit
    timed = replace(epochs, training=replace(epochs.training, budget_minutes=2, cycles=1))
    endless = _changed(timed, num_train_epochs=10_000)
    planned = plan(endless, tmp_path / "run")
    assert planned.recipe.training.arguments["max_steps"] == planned.steps
    assert 1 / 60 < planned.training_hours < 2.1 / 60
    assert plan(timed, tmp_path / "run").steps == plan(epochs, tmp_path / "run").steps


def test_a_run_that_began_with_a_multiple_of_the_validated_steps_is_planned(recipe, tmp_path):
    fewer = _changed(recipe, eval_steps=0.1, save_steps=0.3)
    timed = replace(fewer, training=replace(fewer.training, budget_minutes=2, cycles=1))
    with pytest.raises(InputError, match=r"^save_steps: expected eval_steps \(0\.1\)"):
        plan(timed, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)  # of an earlier version
    (checkpoint / "complete.json").touch()
    assert plan(timed, tmp_path / "run").steps == 18


@pytest.fixture
def out_of_reach(recipe, monkeypatch):
    """A recipe of the paper's texts and models, none of which is here; their shapes are tiny ones."""
    for name in (ARCTIC.hub_id, MINILM_L6_H384):
        monkeypatch.setitem(ARCHITECTURES, name, TINY)
    monkeypatch.setattr("leaf_st.pipeline.survey.SAMPLE", 100)
    return replace(
        recipe,
        texts=TextsSpec(source=PAPER),
        teacher=TeacherSpec(model=ARCTIC.hub_id, revision=ARCTIC.revision, prompts=ARCTIC.prompts, max_length=512),
        student=StudentSpec(backbone=MINILM_L6_H384, closed_form_rows=0),
    )


def test_without_the_hub_random_weights_are_timed(out_of_reach, tmp_path):
    planned = plan(out_of_reach, tmp_path / "run")
    assert list(planned.speed.random_weights) == [ARCTIC.hub_id, MINILM_L6_H384]
    assert planned.speed.dimension == 32
    assert planned.rows == 6_585_325
    written = format_plan(planned)
    for expected in (
        r"fineweb +document +3,000,000 +1,840\.2",
        r"msmarco +query +502,939 +33\.2",
        r"total +6,585,325 +1,096\.8",
        r"licences +not all open: cc-news: Common Crawl terms of use, msmarco: ",
        r"texts +less than 7\.2 GB, fetched",
        r"store +0\.4 GB of vectors \(32 x float16\), 7\.5 GB of texts and [\d.]+ GB of tokens; .* are free",
        r"embedding +[\d.,]+ hours: 6,585,325 texts, [\d,.]+ a second by Snowflake/",
        r"training +[\d.,]+ hours: 1,234,749 steps of 16 texts, [\d.]+ s each; 3\.0 epochs",
        r"  cycle 1  823,166 steps, learning rate from 1\.0e-03 to 1\.0e-04",
        r"  cycle 2  411,583 steps, learning rate from 1\.0e-03 to 1\.0e-04",
        r"measured with random weights: model Snowflake/.* HF_HUB_OFFLINE switches the hub off",
        r"measured with random weights: model nreimers/.* HF_HUB_OFFLINE switches the hub off",
    ):
        assert re.search(expected, written), f"{expected} is not in:\n{written}"


def test_a_student_to_go_on_from_that_is_out_of_reach(out_of_reach, monkeypatch, tmp_path):
    monkeypatch.setitem(ARCHITECTURES, "leaf-ir", TINY)
    loadable, unlearned = _loadable(replace(out_of_reach, student=StudentSpec(start="leaf-ir")), tmp_path)
    assert list(unlearned) == [ARCTIC.hub_id, "leaf-ir"]
    assert loadable.student.start is None
    teacher = open_teacher(loadable.teacher)
    assert new_student(loadable, teacher.fingerprint).encode("a").shape == (32,)


def test_what_the_run_would_refuse_is_refused(recipe, out_of_reach, tmp_path):
    unknown = replace(out_of_reach, teacher=TeacherSpec(model="us/teacher"))
    with pytest.raises(InputError, match="model us/teacher: not in the hub's cache"):
        plan(unknown, tmp_path / "run")
    with pytest.raises(InputError, match="learning_rate: expected a number above 0"):
        plan(_changed(recipe, learning_rate=0), tmp_path / "run")
    with pytest.raises(InputError, match=r"general\.source none\.txt: no such file"):
        plan(replace(recipe, general=TextsSpec(source="none.txt", limit=9)), tmp_path / "run")
    with pytest.raises(
        InputError,
        match=r"student\.layers: expected some of the layers 0 to 5 of the bert model in rising order, found 0,9",
    ):
        plan(replace(recipe, student=StudentSpec(layers=(0, 9))), tmp_path / "run")
    with pytest.raises(
        InputError, match="expected at least 10 texts, because one in 10 is held out for validation, found 9"
    ):
        plan(replace(recipe, texts=replace(recipe.texts, limit=9)), tmp_path / "run")
    full = _changed(recipe, per_device_train_batch_size=96, dataloader_drop_last=True)
    with pytest.raises(
        InputError, match="expected at least 96 texts to train on, for one step of 1 processes, found 95"
    ):
        plan(full, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_costs_only_what_is_missing(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    student = StudentSpec(backbone=recipe.teacher.model, layers=(0, 2), closed_form_rows=0)
    (tmp_path / "general.txt").write_text("".join(f"general {number}\n" for number in range(40)))
    general = TextsSpec(source=str(tmp_path / "general.txt"), limit=30)
    with serve() as server:
        priced = replace(server.spec(price_per_million_tokens=1000.0), rows_per_shard=20)
        begun = replace(recipe, teacher=priced, student=student, general=general)
        slow = replace(begun, teacher=replace(priced, api=replace(priced.api, tokens_per_minute=600)))
        assert Run(begun, tmp_path / "run").embed(Partition(1, 2)) is None  # the shards 1, 3 and 5
        for embedded in (43, 133):
            planned = plan(slow, tmp_path / "run")
            assert (planned.rows, planned.embedded) == (133, embedded)
            shards = [path.stat().st_size for path in (tmp_path / "run").glob("*/shard-*")]
            assert planned.embedded_bytes == sum(shards)
            tokens = planned.missing * planned.speed.service.tokens
            assert planned.embedding_hours == pytest.approx(tokens / 600 / 60)
            written = format_plan(planned)
            assert f"embedded   {embedded} of 133 texts already; " in written
            assert f"price      {tokens / 1000:,.2f} USD: about {tokens:,.0f} tokens" in written
            room = planned.vector_bytes + planned.text_bytes + planned.token_bytes - planned.embedded_bytes
            assert "which is too little" not in format_plan(replace(planned, free_bytes=room + 1))
            assert "which is too little" in format_plan(replace(planned, free_bytes=room))
            Run(begun, tmp_path / "run").embed()


def test_an_api_has_a_price_and_the_hours_of_its_limits(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    student = StudentSpec(backbone=recipe.teacher.model, layers=(0, 2), closed_form_rows=0)
    with serve() as server:
        spec = server.spec(price_per_million_tokens=1000.0, tokens_per_minute=600)
        over_http = replace(recipe, teacher=spec, student=student)
        planned = plan(over_http, tmp_path / "run")
        assert server.answers[200] == 1  # the probes only
        tokens = planned.rows * planned.speed.service.tokens
        sent = sum(-(-len(row.text) // 4) for row in read_texts(recipe.texts, Counter()))
        assert tokens == pytest.approx(sent, rel=0.01)
        assert planned.embedding_hours == pytest.approx(tokens / 600 / 60)
        written = format_plan(planned)
        assert f" a second by loopback at {server.url}, at the limits in teacher.api" in written
        assert f"price      {sent / 1000:,.2f} USD: about {sent:,} tokens, 1000 USD per million" in written
        unlimited = replace(over_http, teacher=server.spec())
        written = format_plan(plan(unlimited, tmp_path / "run"))
        assert f"loopback at {server.url}, measured" in written
        assert f"about {sent:,} tokens; teacher.api has no price_per_million_tokens" in written
    assert not (tmp_path / "run").exists()


def test_arguments_that_fail_in_a_trial_are_refused(recipe, tmp_path):
    with pytest.raises(InputError, match=r"a trial of one step failed with ValueError: .*dataloader_persistent"):
        plan(_changed(recipe, dataloader_persistent_workers=True), tmp_path / "run")
