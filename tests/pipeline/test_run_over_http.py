import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import PartialState
from api import KEY, WIDTH, serve
from hub_account import REPO
from letters import save_set

from leaf_st import distill, evaluate
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.over_sets import load_pair
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import MODELS, Size, read_starts
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.pipeline.recipe_file import override
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.publishing.report.headline import facts
from leaf_st.publishing.results import read_results
from leaf_st.publishing.store.pull import pull_store
from leaf_st.publishing.store.push import push_store
from leaf_st.recipe import TEACHER_OF_START, ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.asymmetric import load
from leaf_st.student.new import new_student
from leaf_st.teacher.api.teacher import ApiTeacher
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.teacher.workers import Partition
from leaf_st.texts.read import read_texts


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def server():
    with serve() as served:
        yield served


@pytest.fixture
def recipe(server, tmp_path, tiny_teacher_folder):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": f"a text, number {number}"}) + "\n" for number in range(60)))
    return Recipe(
        name="over-http",
        texts=TextsSpec(source=str(source)),
        teacher=server.spec(input_type={"query": "q"}),
        student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), closed_form_rows=8),
        training=TrainingSpec(arguments={"max_steps": 2, "use_cpu": True}),
    )


def _changed(recipe, **api):
    return replace(recipe, teacher=replace(recipe.teacher, api=replace(recipe.teacher.api, **api)))


def test_a_list_of_strings_becomes_a_student_of_an_api(server, tiny_teacher_folder):
    texts = [f"a text, number {number}" for number in range(60)]
    student = distill(texts, server.spec(), backbone=tiny_teacher_folder, layers=(0, 2), max_steps=2, use_cpu=True)
    assert student.encode_query(texts[:3]).shape == (3, WIDTH)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_pulled_store_of_texts_that_a_tokenizer_in_a_folder_cut_is_trained_on(hub, server, recipe, tmp_path):
    tokenizer = recipe.student.backbone
    recipe = replace(recipe, teacher=server.spec(max_length=64, tokenizer=tokenizer, long_texts="cut"))
    Run(recipe, tmp_path / "run").embed()
    push_store(tmp_path / "run", REPO)
    pulled = pull_store(REPO, tmp_path / "again" / "store")
    assert '"64 tokens of teacher"' in pulled.fingerprint.revision
    asked = sum(server.asked[f"a text, number {number}"] for number in range(60))
    again = Run(recipe, tmp_path / "again")
    again.embed()
    again.train()
    assert sum(server.asked[f"a text, number {number}"] for number in range(60)) == asked
    assert again.teacher.identity == open_teacher(recipe.teacher).identity


def test_a_text_that_is_too_long_is_named_before_a_text_is_paid_for(server, recipe, tmp_path):
    with Path(recipe.texts.source).open("a") as file:
        file.write(json.dumps({"text": "a b " * 50}) + "\n")
    teacher = replace(server.spec(max_length=64, tokenizer=recipe.student.backbone), rows_per_shard=16)
    refusing = replace(recipe, teacher=teacher, student=replace(recipe.student, max_length=128))
    asked = server.asked["a text, number 0"]
    message = r"has \d+ tokens: expected at most teacher\.max_length=64; shorten .*\.long_texts=cut in a new --output$"
    with pytest.raises(InputError, match=message):
        Run(refusing, tmp_path / "run").embed()
    assert server.asked["a text, number 0"] == asked
    assert not (tmp_path / "run" / "store").exists()
    store = Run(_changed(refusing, long_texts="cut"), tmp_path / "cut").embed()
    assert len(store) == 61


def test_general_texts_are_counted_too_and_only_before_the_first_shard(server, recipe, tmp_path, caplog):
    caplog.set_level("INFO")
    general = tmp_path / "general.txt"
    general.write_text("a general text\n" + "a b " * 50 + "\n")
    teacher = server.spec(max_length=64, tokenizer=recipe.student.backbone)
    student = replace(recipe.student, max_length=128)
    refusing = replace(recipe, teacher=teacher, student=student, general=TextsSpec(str(general), limit=9))
    with pytest.raises(InputError, match=r"has \d+ tokens: expected at most teacher\.max_length=64"):
        Run(refusing, tmp_path / "run").embed()
    assert not (tmp_path / "run" / "store").exists()
    general.write_text("a general text\nanother general text\n")
    for counted in (["texts.jsonl", "general.txt"], []):
        caplog.clear()
        assert len(Run(refusing, tmp_path / "run").embed()) == 60
        found = re.findall(r"counting the tokens of the texts of \S*?([^/\s]+) before the first text is", caplog.text)
        assert found == counted


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_process_counts_tokens(recipe, tmp_path, monkeypatch, is_first):
    counted = []
    monkeypatch.setattr(ApiTeacher, "require_accepted", lambda _, read: counted.append(len(list(read()))))
    monkeypatch.setattr(PartialState, "is_main_process", is_first)
    Run(recipe, tmp_path / "run").embed()
    assert counted == [60] * is_first


def test_a_student_knows_its_api(server, recipe, tmp_path, capfd, caplog):
    run = Run(recipe, tmp_path / "run")
    run.embed()
    run.train()
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["commits"] == {"student": None}
    assert Recipe.from_dict(record["resolved"]) == replace(recipe, texts=replace(recipe.texts, exclude=()))
    assert record["teacher"]["teacher"] == "loopback"
    model = str(tmp_path / "run" / "model")
    for named in (None, "loopback"):
        teacher, student = load_pair(model, named)
        assert isinstance(teacher, ApiTeacher)
        assert teacher.fingerprint.to_dict() == record["teacher"]
        assert student.get_embedding_dimension() == WIDTH
    rows = evaluate(model, save_set(tmp_path / "letters", 12, 4), modes=["teacher", "standard", "asymmetric"])
    assert (rows[0].mode, rows[0].model) == ("teacher", "local/loopback")
    with pytest.raises(InputError, match="teacher loopback is an API and cannot be loaded as a model"):
        load(model, asymmetric=True)
    assert teacher_spec(model, "some/other").api is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in "".join([*capfd.readouterr(), caplog.text])


def test_empty_and_long_documents_are_measured_after_training(recipe, tmp_path):
    long, folder = "a long document " * 60, tmp_path / "set"
    folder.mkdir()
    corpus = [{"_id": f"d{number}", "text": text} for number, text in enumerate(["short", long, "", "another"])]
    rows = {"corpus": corpus, "queries": [{"_id": "q0", "text": long[:508]}]}
    for name, table in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    with serve(reads=127) as server:  # 508 characters
        run = Run(replace(recipe, teacher=server.spec()), tmp_path / "run")
        run.embed()
        run.train()
        results = run.folder / "results"
        for _ in range(2):  # the second call reads the scores of the first
            scores = evaluate(str(run.folder / "model"), folder, modes=list(ROLES), output=results)
            assert (scores[0].mode, scores[0].score) == ("teacher", pytest.approx(100))
            sizes = read_rows(results / MODELS, Size)
            assert [row.reads_starts for row in sizes] == [True, False]
    assert facts(read_results(run.folder))[-1] == read_starts(sizes)


def test_a_student_reads_a_text_that_is_no_query_as_the_api_does(server, recipe, tmp_path):
    assert new_student(recipe, open_teacher(recipe.teacher).fingerprint, "cpu").default_prompt_name is None
    typed = _changed(recipe, input_type={"query": "search_query", "document": "search_document"})
    student = new_student(typed, open_teacher(typed.teacher).fingerprint, "cpu")
    save_portable(student, tmp_path / "student")
    loaded = load_model(str(tmp_path / "student"))
    vector = loaded.encode("a")
    np.testing.assert_allclose(vector, loaded.encode("search_document: a", prompt=""), atol=1e-6)
    assert np.abs(vector - loaded.encode("a", prompt="")).max() > 1e-3


def test_the_teacher_of_a_start_can_be_an_api(server, recipe, tmp_path):
    run = Run(recipe, tmp_path / "run")
    run.embed()
    run.train()
    further = replace(
        recipe, teacher=TeacherSpec(model=TEACHER_OF_START), student=StudentSpec(start=str(tmp_path / "run" / "model"))
    )
    again = Run(further, tmp_path / "further")
    assert again.recipe.teacher.api == recipe.teacher.api
    again.embed()
    again.train()
    assert load_model(str(tmp_path / "further" / "model")).get_embedding_dimension() == WIDTH
    assert Run(further, tmp_path / "further").recipe.teacher.api == recipe.teacher.api
    given = replace(further, teacher=TeacherSpec(model=TEACHER_OF_START, vector_column="v"))
    of_table = Run(given, tmp_path / "given").recipe.teacher
    assert (of_table.name, of_table.api) == ("loopback", None)


def test_limits_may_change_on_resume_and_settings_of_vectors_may_not(server, recipe, tmp_path):
    Run(recipe, tmp_path / "run").embed()
    limits = {"tokens_per_minute": 10**6, "requests_per_minute": 600, "max_items": 7, "price_per_million_tokens": 1.0}
    resumed = Run(_changed(recipe, **limits), tmp_path / "run")
    assert resumed.recipe.teacher.api.max_items == 7
    resumed.embed()
    resumed.train()
    with pytest.raises(InputError, match=r"another recipe \(teacher\.api\.model was 'loopback', is 'other'\)"):
        Run(_changed(recipe, model="other"), tmp_path / "run")


def test_training_needs_no_network(recipe, tmp_path, tiny_teacher_folder):
    with serve() as server:
        mine = replace(recipe, teacher=server.spec())
        Run(mine, tmp_path / "run").embed()
    run = Run(mine, tmp_path / "run")
    run.train()
    assert run.measure_alignment().rows == 6
    with pytest.raises(InputError, match=r"cannot be reached .*run/store, and `leaf-st train` trains on them without"):
        Run(mine, tmp_path / "run").embed()


def test_an_api_that_has_changed_costs_no_vectors(recipe, tmp_path):
    with serve() as server:
        mine = replace(recipe, teacher=server.spec())
        Run(mine, tmp_path / "run").embed()
        server.drift_after = 0
        run = Run(mine, tmp_path / "run")
        with pytest.raises(InputError, match=r"has changed: .*; all vectors are in .*store, and `leaf-st train`"):
            run.embed()
        run.train()
        (run.folder / "store" / "manifest.json").unlink()
        with pytest.raises(InputError, match=r"name the earlier one in teacher\.api\.model$"):
            run.embed()


def test_partitions_divide_the_budget_and_the_limits(server, recipe, tmp_path):
    limited = _changed(recipe, tokens_per_minute=600_000)
    rows = list(read_texts(recipe.texts, Counter()))
    run = Run(limited, tmp_path / "run", 4000)
    assert run.embed(Partition(1, 4)) is None
    whole = open_teacher(limited.teacher)
    assert run.teacher.seconds_at_limits(rows) == pytest.approx(4 * whole.seconds_at_limits(rows))
    with pytest.raises(InputError, match="the budget of 100 tokens is reached: 0 are used"):
        Run(recipe, tmp_path / "run", 400).embed(Partition(1, 4))


def test_a_smoke_run_asks_no_api(server, recipe, tmp_path):
    before = server.answers.copy()
    small = smoke(recipe, tmp_path / "smoke")
    assert small.teacher.api is None
    Run(small, tmp_path / "smoke").embed()
    assert server.answers == before


def test_settings_change_fields_of_the_api():
    recipe = Recipe("r", student=StudentSpec(backbone="b"))
    api = {"url": "https://example.org/v1", "model": "m"}
    first = ["teacher.api.url=https://example.org/v1/", "teacher.api.model=m"]
    assert override(recipe, first).teacher.api == ApiSpec(**api)
    assert override(recipe, [f"teacher.api={json.dumps(api)}"]).teacher.api == ApiSpec(**api)
    both = override(recipe, [f"teacher.api={json.dumps(api)}", "teacher.api.dimensions=8", "teacher.prompts={}"])
    assert both.teacher.api == ApiSpec(**api, dimensions=8)
    again = override(both, ['teacher.api.input_type={"query": "q"}', "teacher.api.dimensions=None"])
    assert again.teacher.api == ApiSpec(**api, input_type={"query": "q"})
    assert override(both, ["teacher.api=None"]).teacher == TeacherSpec()
    for setting, message in (
        ("teacher.api.model=m", r"^teacher\.api\.url: no value given"),
        ("teacher.api.url=example.org", r"^teacher\.api\.url: expected an address such as .*, found 'example\.org'"),
        ("teacher.api.dimension=8", r"no such key; did you mean teacher\.api\.dimensions"),
        ("teacher.api=8", r"^teacher\.api: expected mapping with the fields of teacher\.api or None, found 8"),
        ('teacher.api={"url": "https://a", "model": "m", "key": "k"}', r"^teacher\.api\.key: no such field"),
        ('teacher.api={"url": "https://a", "model": "m", "input_type": {"a": "b"}}', r"^teacher\.api\.input_type: "),
    ):
        with pytest.raises(InputError, match=message):
            override(recipe, [setting])
