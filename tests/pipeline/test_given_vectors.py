"""Runs on vectors that exist already: the tiny teacher's, in a table."""

import array
import json
import re
import shutil
from dataclasses import replace

import datasets
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer
from stages import Stopped

import leaf_st
from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import document_text, load_beir
from leaf_st.pipeline.given_texts import keep_texts
from leaf_st.pipeline.plan import plan
from leaf_st.pipeline.plan_text import format_plan
from leaf_st.pipeline.recipe_file import override
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screen import screen
from leaf_st.publishing.card.card import card_text
from leaf_st.recipe import TEACHER_OF_START, ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.vectors.teacher import GivenVectors
from leaf_st.zoo import MINILM

QUICK = {"max_steps": 2, "use_cpu": True, "save_steps": 1, "eval_steps": 1}


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beir") / "tiny"
    folder.mkdir()
    corpus = [{"_id": f"d{row}", "text": f"a document, number {row}"} for row in range(20)]
    queries = [{"_id": f"q{row}", "text": f"number {row}"} for row in range(5)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{row}\td{row}\t1\n" for row in range(5))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory, tiny_teacher_folder, beir):
    """Sixty texts and the documents of the set, with the tiny teacher's vectors."""
    texts = [f"a text, number {row}" for row in range(60)] + [document_text(row) for row in load_beir(beir).corpus]
    vectors = open_teacher(TeacherSpec(model=str(tiny_teacher_folder))).encode_document(texts)
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    pq.write_table(pa.table({"text": texts, "embedding": list(vectors)}), path)
    return path


@pytest.fixture(scope="module")
def recipe(table, tiny_teacher_folder):
    return Recipe(
        name="given",
        texts=TextsSpec(source=str(table)),
        teacher=TeacherSpec(model="owner/api", vector_column="embedding"),
        student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), max_length=128, closed_form_rows=16),
        training=TrainingSpec(held_out_rows=16, arguments=QUICK),
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    """The folder of a trained run of the recipe; tests must not change the folder."""
    run = Run(recipe, tmp_path_factory.mktemp("trained") / "run")
    run.embed()
    run.train()
    return run.folder


@pytest.fixture
def folder(trained, tmp_path):
    """The folder of a trained run of the recipe, which the test may change."""
    return shutil.copytree(trained, tmp_path / "run")


def _recipe_file(tmp_path, text):
    path = tmp_path / "recipe.py"
    path.write_text(f"from leaf_st.recipe import *\nrecipe = {text}")
    return path


def _modes(folder):
    return {row["mode"]: row for row in json.loads((folder / "results" / "tasks.json").read_text())}


def test_the_command_trains_the_student_that_the_teacher_itself_would_train(
    table, tiny_teacher_folder, beir, tmp_path, monkeypatch
):
    path = _recipe_file(
        tmp_path,
        f"Recipe(name='tiny', texts=TextsSpec({str(table)!r}), teacher=TeacherSpec({str(tiny_teacher_folder)!r}),"
        f"student=StudentSpec(backbone={str(tiny_teacher_folder)!r}, layers=(0, 2), max_length=128,"
        f"closed_form_rows=16), training=TrainingSpec(held_out_rows=16, arguments={QUICK!r}),"
        f"evaluate_on={str(beir)!r})",
    )
    main(["run", str(path), "--output", str(tmp_path / "loaded")])
    given = [f"teacher.{change}" for change in ("model=owner/api", "vector_column=embedding")]
    # The teacher's folder is the backbone too, but its vectors come from the table: nothing embeds a text.
    with monkeypatch.context() as patch:
        patch.setattr("leaf_st.teacher.local.LocalTeacher.load", None)
        main(["run", str(path), "--output", str(tmp_path / "given"), *(f"--set={change}" for change in given)])
    students = [load(tmp_path / name) for name in ("loaded", "given")]
    for name, weight in students[0].state_dict().items():
        assert torch.equal(weight, students[1].state_dict()[name])
    loaded, measured = _modes(tmp_path / "loaded"), _modes(tmp_path / "given")
    assert set(loaded) == {"teacher", "standard", "asymmetric"}
    assert set(measured) == {"standard", "asymmetric"}  # the table has no queries
    for mode, row in measured.items():
        assert row["score"] == pytest.approx(loaded[mode]["score"], abs=1e-6)
        assert row["teacher"] == "owner/api"
    resolved = json.loads((tmp_path / "given" / "recipe.json").read_text())["resolved"]["teacher"]
    assert resolved["table"]["source"] == str(table)


def test_a_new_run_must_name_a_model_of_the_width_and_an_earlier_run_goes_on(recipe, beir, tmp_path, monkeypatch):
    recipe = replace(recipe, teacher=replace(recipe.teacher, model=MINILM), evaluate_on=(str(beir),))
    with pytest.raises(InputError, match=r"^teacher\.model: expected the name of the model .* found .*MiniLM"):
        Run(recipe, tmp_path / "new").embed()
    assert not (tmp_path / "new" / "store").exists()
    with monkeypatch.context() as patch:  # as an earlier version did
        patch.setattr(GivenVectors, "require_known_width", lambda _: None)
        Run(recipe, tmp_path / "earlier").embed()
    run = Run(recipe, tmp_path / "earlier")
    run.embed()
    run.train()
    assert {row.mode for row in run.evaluate()} >= {"standard", "asymmetric"}


def load(run):
    return SentenceTransformer(str(run / "model"), device="cpu")


def test_modes_without_vectors_are_left_out_with_a_message(recipe, folder, beir, tmp_path, caplog):
    other = shutil.copytree(beir, tmp_path / "other")
    (other / "corpus.jsonl").write_text("".join(f'{{"_id": "d{row}", "text": "new {row}"}}\n' for row in range(20)))
    with caplog.at_level("INFO"):
        assert [row.mode for row in Run(replace(recipe, evaluate_on=(str(other),)), folder).evaluate()] == ["standard"]
    assert "has no vector of the document 'new 0': standard mode needs no vectors" in caplog.text


def test_evaluation_of_a_finished_run_names_the_possible_modes(folder, beir, capsys):
    evaluate = ["evaluate", str(folder), "--tasks", str(beir), "--modes"]
    main([*evaluate, "standard", "asymmetric"])
    assert "asymmetric" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*evaluate, "teacher"])
    assert "no vector of the query 'number 0': standard mode needs no vectors, asymmetric" in capsys.readouterr().err
    with pytest.raises(InputError, match="expected a model, found vectors in"):
        leaf_st.load(folder, asymmetric=True)


def test_agreement_is_measured_on_texts_with_vectors(folder, table, beir, tiny_teacher_folder, tmp_path, capsys):
    agreement = ["measure", "agreement", str(folder)]
    main(agreement)
    main([*agreement, "--texts", str(table)])
    assert "table.parquet  asymmetric       80         80" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*agreement, "--texts", str(beir)])
    refused = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"--texts .*tiny: expected .* has no vector of the query 'number 0': name texts of the t", refused)
    named = ["--teacher", str(tiny_teacher_folder), "--output", str(tmp_path / "other")]
    main([*agreement, "--texts", str(beir), *named])
    assert "asymmetric" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["compression", "index", "baseline", "samples"])
def test_measurements_need_the_vectors_of_the_queries(folder, beir, capsys, name):
    with pytest.raises(SystemExit):
        main(["measure", name, str(folder), "--data", str(beir)])
    refused = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"^leaf-st: .*no vector of the query .*teacher mode and `measure` commands the queries'", refused)


def test_a_named_teacher_is_loaded_to_compose_a_model(trained, tiny_teacher_folder):
    model = leaf_st.load(trained, asymmetric=True, teacher=str(tiny_teacher_folder))
    plain = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    np.testing.assert_allclose(model.encode_document(["a text"]), plain.encode_document(["a text"]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"student": StudentSpec(layers=(0,))},
            r"student\.backbone: expected an encoder with teacher\.vector_column=embedding, found None: the teacher",
        ),
        (
            {"student": StudentSpec(static=True)},
            r"student\.static: expected false with teacher\.vector_column=embedding, found true",
        ),
        ({"texts": TextsSpec()}, "texts.source: expected a table with teacher.vector_column=embedding"),
        ({"texts": TextsSpec("t.parquet", sentences=True)}, "texts.sentences: .* sentences have no vectors"),
        ({"general": TextsSpec("g.txt", limit=9)}, "general: expected None with teacher.vector_column"),
        (
            {"teacher": TeacherSpec(vector_column="v", precision="bfloat16")},
            "teacher.precision: expected auto",
        ),
    ],
)
def test_what_needs_the_model_is_refused_with_the_recipe(recipe, changes, message):
    values = {name: getattr(recipe, name) for name in recipe.__dict__}
    with pytest.raises(InputError, match=message):
        Recipe(**{**values, **changes})


def test_vectors_come_from_one_place(recipe):
    api = ["teacher.api.url=http://127.0.0.1:1/v1", "teacher.api.model=m"]
    with pytest.raises(
        InputError, match=r"^teacher\.vector_column: expected None with teacher\.api, found 'embedding'"
    ):
        override(recipe, api)
    with pytest.raises(InputError, match=r"^[^\n]*remove one of the two[^\n]*$"):
        TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "m"), vector_column="embedding")
    only_api = override(recipe, [*api, "teacher.vector_column=None"])
    assert only_api.teacher.name == "m"
    assert override(only_api, ["teacher.api=None", "teacher.vector_column=embedding"]) == recipe


def test_the_record_of_a_recipe_is_read(recipe, table):
    full = TeacherSpec(model="owner/api", vector_column="embedding", table=TextsSpec(str(table)))
    recipe = Recipe(**{**{name: getattr(recipe, name) for name in recipe.__dict__}, "teacher": full})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_plan_needs_no_model_of_the_teacher(recipe, tmp_path):
    planned = plan(Run(recipe, tmp_path / "run").recipe, tmp_path / "run")
    assert planned.rows == 80
    assert "80 texts" in format_plan(planned)
    assert not (tmp_path / "run").exists()


def test_the_plan_leaves_out_the_texts_that_the_run_leaves_out(recipe, table, tmp_path):
    rows = pq.read_table(table).to_pydict()
    rows["embedding"][0] = None
    rows["embedding"][1] = [float("nan")] * len(rows["embedding"][2])
    rows["text"][3], rows["embedding"][3] = rows["text"][2], [-number for number in rows["embedding"][2]]
    pq.write_table(pa.table(rows), tmp_path / "table.parquet")
    changed = override(recipe, [f"texts.source={tmp_path / 'table.parquet'}"])
    planned = plan(Run(changed, tmp_path / "run").recipe, tmp_path / "run")
    assert planned.rows == 76 == len(Run(changed, tmp_path / "run").embed())
    assert planned.speed.text > 0


def test_the_plan_of_a_table_without_a_usable_vector_names_the_reasons(recipe, tmp_path, caplog):
    np.save(tmp_path / "vectors.npy", np.zeros((80, 8), dtype=np.float32))
    useless = override(recipe, [f"teacher.vector_column={tmp_path / 'vectors.npy'}"])
    caplog.set_level("INFO")
    with pytest.raises(InputError, match=r"expected at least 10 texts, .* found 0"):
        plan(Run(useless, tmp_path / "run").recipe, tmp_path / "run")
    assert "left out: 80 zero vector (first: 'a text, number 0')" in caplog.text


def test_a_student_of_the_model_can_be_trained_further_on_vectors_of_its_name(recipe, trained, tmp_path):
    values = {name: getattr(recipe, name) for name in recipe.__dict__}
    start = StudentSpec(start=str(trained))
    further = Run(Recipe(**{**values, "student": start}), tmp_path / "second")
    further.embed()
    further.train()
    of_start = TeacherSpec(model=TEACHER_OF_START, vector_column="embedding")
    resolved = Run(Recipe(**{**values, "student": start, "teacher": of_start}), tmp_path / "named").recipe.teacher
    assert (resolved.model, resolved.table.source) == ("owner/api", recipe.texts.source)
    other = TeacherSpec(model="owner/other", vector_column="embedding")
    with pytest.raises(InputError, match="learned from owner/api"):
        Run(Recipe(**{**values, "student": start, "teacher": other}), tmp_path / "third").embed()


def test_the_training_needs_the_store_and_no_table(recipe, table, tmp_path):
    there = override(recipe, [f"texts.source={shutil.copy(table, tmp_path)}"])
    Run(there, tmp_path / "run").embed()
    (tmp_path / table.name).unlink()
    Run(there, tmp_path / "run").train()
    assert load(tmp_path / "run").max_seq_length == 128


def test_a_data_set_with_vectors_is_distilled_in_one_call(table, tiny_teacher_folder, tmp_path):
    rows = datasets.Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "cache"))
    options = {"backbone": tiny_teacher_folder, "layers": (0, 2), "vector_column": "embedding", **QUICK}
    first = leaf_st.distill(rows, "owner/api", output=tmp_path / "run", **options)
    again = leaf_st.distill(list(rows), "owner/api", output=tmp_path / "run", **options)
    by_path = leaf_st.distill(table, "owner/api", output=tmp_path / "path", **options)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert torch.equal(weight, by_path.state_dict()[name])
    others = [{**row, "embedding": np.flip(row["embedding"])} for row in rows]
    with pytest.raises(InputError, match="at index 0, found 'a text, number 0' with another kind or vector"):
        leaf_st.distill(others, "owner/api", output=tmp_path / "run", **options)
    with pytest.raises(InputError, match="expected mappings with 'text' and 'embedding', found 'a text'"):
        leaf_st.distill(["a text"], "owner/api", output=tmp_path / "none", **options)
    with pytest.raises(InputError, match="expected a column 'vec', found text, embedding"):
        leaf_st.distill(rows, "owner/api", output=tmp_path / "none", **{**options, "vector_column": "vec"})


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, lambda content: memoryview(array.array("f", content))])
def test_binary_vectors_of_a_database_are_kept_whatever_their_type(tmp_path, form):
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    rows = [{"text": f"a text, number {row}", "v": form(vector.tobytes())} for row, vector in enumerate(vectors)]
    keep_texts([*rows, {"text": "without a vector", "v": form(b"")}], tmp_path / "given.parquet", "v")
    kept = pq.read_table(tmp_path / "given.parquet")["v"].to_pylist()
    assert kept == [*(vector.tobytes() for vector in vectors), b""]


@pytest.mark.parametrize("form", [list, tuple, np.asarray, polars.Series])
def test_numbers_of_vectors_are_kept_whatever_their_type(tmp_path, form):
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    rows = [{"text": f"a text, number {row}", "v": form(vector.tolist())} for row, vector in enumerate(vectors)]
    keep_texts(rows, tmp_path / "given.parquet", "v")
    kept = pq.read_table(tmp_path / "given.parquet")["v"].to_pylist()
    assert kept == [vector.tobytes() for vector in vectors]


def test_the_card_does_not_load_the_teacher(folder):
    card = card_text(folder, "owner/student", without_results=True)
    assert 'documents = np.load("documents.npy")' in card
    assert 'SentenceTransformer("owner/api")' not in card


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "NaN, infinite or too large numbers"), (1e30, "NaN, infinite or too large numbers"), (0, "zero vector")],
)
def test_a_table_without_a_usable_vector_is_refused_with_the_counts(recipe, tmp_path, value, reason):
    np.save(tmp_path / "vectors.npy", np.full((80, 8), value, dtype=np.float32))
    useless = override(recipe, [f"teacher.vector_column={tmp_path / 'vectors.npy'}"])
    counted = rf"left out: 80 .*{reason} \(first: 'a text, number 0'\): correct these rows, or "
    with pytest.raises(
        InputError, match=f"^store .*: expected texts, found none; {counted}name other texts or vectors$"
    ):
        Run(useless, tmp_path / "run").embed()
    with pytest.raises(InputError, match=f"^texts: expected at least 50 texts, found 0; {counted}add texts$"):
        screen(useless)


def test_a_table_of_one_vector_is_refused_before_training(recipe, tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", np.full((80, 8), 0.25, dtype=np.float32))
    same = override(recipe, [f"teacher.vector_column={tmp_path / 'vectors.npy'}"])
    refusal = "^teacher owner/api: expected vectors that differ, found the same vector for all 80 texts: check the "
    with pytest.raises(InputError, match=refusal):
        Run(same, tmp_path / "run").embed()
    with pytest.raises(InputError, match=refusal):
        screen(same)
    with monkeypatch.context() as patch:
        patch.setattr("leaf_st.teacher.maker.require_different", lambda *_, **__: None)
        Run(same, tmp_path / "earlier").embed()
    with pytest.raises(InputError, match=refusal):
        Run(same, tmp_path / "earlier").train()
    assert not (tmp_path / "earlier" / "checkpoints").exists()


def test_given_vectors_in_the_wrong_byte_order_are_named_without_advice_for_a_model(recipe, table, tmp_path):
    rows = pq.read_table(table)
    vectors = np.random.default_rng(0).normal(size=(len(rows), 4))
    swapped = [vector.astype(">f4").tobytes() for vector in vectors]
    pq.write_table(pa.table({"text": rows["text"], "embedding": swapped}), tmp_path / "table.parquet")
    with pytest.raises(InputError) as raised:
        Run(override(recipe, [f"texts.source={tmp_path / 'table.parquet'}"]), tmp_path / "run").embed()
    counts = re.search(
        r"found values too large for float16 for (\d+) of the (\d+) texts in rows 0 to (\d+) of the store, first "
        r"for row \d+, 'a text, number \d+'; left out: (\d+) vector with NaN, .*: correct the vectors, whose binary "
        r"or base64 form must be little-endian float32, or set teacher\.store_dtype='float32' if such large "
        r"numbers are meant$",
        str(raised.value),
    )
    assert counts, raised.value
    large, stored, last, skipped = map(int, counts.groups())
    assert stored + skipped == 80
    assert 0 < large <= stored == last + 1
    assert "precision" not in str(raised.value)


def test_vectors_of_another_table_are_named_and_the_right_table_is_read(recipe, table, tmp_path):
    rows = pq.read_table(table)
    np.save(tmp_path / "vectors.npy", np.array(rows["embedding"].to_pylist()[:70], dtype=np.float32))
    pq.write_table(rows.slice(0, 70), tmp_path / "right.parquet")
    wrong = override(recipe, [f"teacher.vector_column={tmp_path / 'vectors.npy'}"])
    with pytest.raises(InputError, match=r"expected 80 vectors, one for each row of .*: name the vectors of this t"):
        Run(wrong, tmp_path / "run").embed()
    right = override(wrong, [f"texts.source={tmp_path / 'right.parquet'}"])
    assert len(Run(right, tmp_path / "run").embed()) == 70


def test_a_table_that_replaces_another_before_the_embedding_gives_the_vectors(recipe, table, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Run(recipe, tmp_path / "run").embed(Stopped())
    rows = pq.read_table(table).to_pydict()
    vectors = {text: vector[::-1] for text, vector in zip(rows["text"], rows["embedding"], strict=True)}
    pq.write_table(pa.table({"text": list(vectors), "embedding": list(vectors.values())}), tmp_path / "other.parquet")
    run = Run(override(recipe, [f"texts.source={tmp_path / 'other.parquet'}"]), tmp_path / "run")
    store = run.embed()
    expected = [vectors[row.text] for row in store.texts(range(len(store)))]
    np.testing.assert_allclose(store.embeddings(range(len(store))), expected, atol=1e-3)
    named = replace(recipe.teacher, table=TextsSpec(str(table)))
    elsewhere = Run(replace(recipe, teacher=named), tmp_path / "named")
    with pytest.raises(KeyboardInterrupt):
        elsewhere.embed(Stopped())
    changed = replace(recipe, teacher=named, texts=TextsSpec(str(tmp_path / "other.parquet")))
    assert Run(changed, tmp_path / "named").recipe.teacher.table == named.table
