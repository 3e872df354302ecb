"""Runs that leave out the texts of their evaluation sets."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import together

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.pipeline.plan import plan
from leaf_st.pipeline.plan_text import format_plan
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.publishing.card.card import card_text
from leaf_st.publishing.report.report import write_report
from leaf_st.recipe import StudentSpec, TeacherSpec, TextsSpec
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.teacher.workers import Partition
from leaf_st.texts.exclude import EXCLUDED
from leaf_st.texts.sentence import one_sentence

SENTENCE = "What does a leaf do at night?"
# Each equals a text of the set: exactly, but for case and punctuation, with its title, as a query.
EQUAL = ["A tree has leaves.", "the SEA is salt", "Moon: the moon has no air!", "how salt is the sea"]
KEPT = [
    "A tree has leaves, and the sea is salt.",  # contains texts of the set
    "The moon",  # the title of a document is no text by itself
    f"A leaf takes in light by day. {SENTENCE} Nobody asked this question of a leaf.",
    *(f"a text, number {number}" for number in range(40)),
]


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def search_set(tmp_path):
    folder = tmp_path / "sets" / "nature"
    folder.mkdir(parents=True)
    corpus = [("", "A tree has leaves."), ("", "The sea is salt."), ("Moon", "The moon has no air."), ("", "another")]
    _write(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": a, "text": b} for n, (a, b) in enumerate(corpus)])
    queries = ["How salt is the sea?", SENTENCE]
    _write(folder / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)])
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\nq1\td0\t1\n")
    return folder


@pytest.fixture
def mixed(recipe, search_set, tmp_path):
    """A recipe whose texts contain those of its evaluation set, in between."""
    rows = [{"text": text} for text in (*KEPT[:2], *EQUAL[:2], *KEPT[2:20], *EQUAL[2:], *KEPT[20:])]
    texts = TextsSpec(source=str(_write(tmp_path / "mixed.jsonl", rows)))
    return replace(recipe, texts=texts, evaluate_on=(str(search_set),))


def _texts(store):
    return [row.text for row in store.texts(range(len(store)))]


def test_the_texts_of_the_evaluation_sets_are_left_out(mixed, search_set, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    store = Run(mixed, tmp_path / "run").embed()
    assert _texts(store) == KEPT
    assert store.skipped == {EXCLUDED: 4}
    assert any(message.endswith("; left out: 4 equal to a text of the evaluation sets") for message in caplog.messages)
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["recipe"]["texts"]["exclude"] is None
    assert record["resolved"]["texts"]["exclude"] == [str(search_set)]
    assert record["excluded"] == 4


def test_an_empty_list_keeps_all_texts(mixed, tmp_path):
    store = Run(replace(mixed, texts=replace(mixed.texts, exclude=[])), tmp_path / "run").embed()
    assert len(store) == len(KEPT) + len(EQUAL)
    assert store.skipped == {}
    assert "excluded" not in json.loads((tmp_path / "run" / "recipe.json").read_text())


def test_a_store_from_elsewhere_is_not_said_to_be_compared(mixed, tmp_path):
    Run(replace(mixed, texts=replace(mixed.texts, exclude=[])), tmp_path / "other").embed()
    shutil.copytree(tmp_path / "other" / "store", tmp_path / "run" / "store")
    Run(mixed, tmp_path / "run").train()
    for folder in ("run", "run/model"):
        assert "excluded" not in json.loads((tmp_path / folder / "recipe.json").read_text())


def test_sets_that_are_not_evaluated_can_be_named(mixed, search_set, tmp_path):
    named = replace(mixed, evaluate_on=(), texts=replace(mixed.texts, exclude=str(search_set)))
    assert _texts(Run(named, tmp_path / "run").embed()) == KEPT


def test_sentences_are_compared_too(mixed, search_set, tmp_path):
    ends = (f"A leaf takes in light by day. {SENTENCE} This was asked of leaf {number}." for number in range(100))
    document = next(text for text in ends if one_sentence(text) == SENTENCE)
    # A document of the set with sentences that are no texts of the set.
    equal = "The moon has no air. It has never had any of it."
    with (search_set / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": "e", "text": equal}) + "\n")
    spec = TextsSpec(
        source=str(_write(tmp_path / "documents.jsonl", [{"text": text} for text in (*KEPT[3:], document, equal)])),
        sentences=True,
    )
    store = Run(replace(mixed, texts=spec), tmp_path / "run").embed()
    assert _texts(store) == [*KEPT[3:], document]
    assert store.skipped == {EXCLUDED: 2}
    all_texts = Run(replace(mixed, texts=replace(spec, exclude=[])), tmp_path / "all").embed()
    assert _texts(all_texts) == [*KEPT[3:], document, SENTENCE, equal, one_sentence(equal)]


def test_a_resumed_run_leaves_out_the_same_texts(mixed, search_set, tmp_path):
    mixed = replace(mixed, teacher=replace(mixed.teacher, rows_per_shard=8))
    folder = tmp_path / "run"
    assert Run(mixed, folder).embed(Partition(0, 2)) is None
    other = replace(mixed, evaluate_on=())  # the store keeps its sets, whatever is evaluated now
    assert Run(other, folder).recipe.texts.exclude == (str(search_set),)
    assert _texts(Run(other, folder).embed(Partition(1, 2))) == KEPT
    shutil.rmtree(search_set)
    with pytest.raises(InputError, match=r"^texts\.exclude \(by default evaluate_on\): task .*nature: expected a file"):
        Run(mixed, folder).embed()


def test_a_trained_student_keeps_its_texts_without_its_store(mixed, tmp_path):
    before = Run(replace(mixed, evaluate_on=()), tmp_path / "run")
    before.embed()
    before.train()
    shutil.rmtree(tmp_path / "run" / "store")
    run = Run(mixed, tmp_path / "run")  # evaluates on a set with texts that the student was trained on
    assert run.recipe.texts.exclude == ()
    assert len(run.embed()) == len(KEPT) + len(EQUAL)


def test_another_list_is_refused_once_texts_are_embedded(mixed, tmp_path):
    Run(mixed, tmp_path / "run").embed()
    other = replace(mixed, texts=replace(mixed.texts, exclude=()))
    with pytest.raises(InputError, match=r"another recipe \(texts\.exclude was None, is \[\]\)"):
        Run(other, tmp_path / "run")


def _as_of_an_earlier_version(run):
    """Remove what a store and a record of an earlier version lack."""
    record = read_sealed(run / "recipe.json")
    for part in ("recipe", "resolved"):
        del record[part]["texts"]["exclude"]
    write_sealed(run / "recipe.json", record)
    header = read_sealed(run / "store" / "fingerprint.json")
    del header["held_out_by"]
    write_sealed(run / "store" / "fingerprint.json", header)


@pytest.mark.parametrize("has_record", [True, False])
def test_a_store_of_an_earlier_version_keeps_its_texts(mixed, search_set, tmp_path, caplog, has_record):
    caplog.set_level("INFO", "leaf_st")
    folder = tmp_path / "run"
    before = Run(replace(mixed, texts=replace(mixed.texts, exclude=())), folder).embed()
    shards = {path.name: path.stat().st_mtime_ns for path in before.folder.glob("shard-*")}
    record = read_sealed(folder / "recipe.json")
    record["recipe"]["texts"]["exclude"] = None
    write_sealed(folder / "recipe.json", record)
    _as_of_an_earlier_version(folder)
    if not has_record:
        (folder / "recipe.json").unlink()
    (folder / "store" / "manifest.json").unlink()  # stopped at the end
    run = Run(mixed, folder)
    store = run.embed()
    assert len(store) == len(KEPT) + len(EQUAL)
    assert {path.name: path.stat().st_mtime_ns for path in store.folder.glob("shard-*")} == shards
    assert f"the store of this run may contain texts of {search_set}, because it was made without these" in caplog.text
    run.train()


def test_given_vectors_stay_with_their_texts(mixed, tiny_teacher_folder, tmp_path):
    texts = [*EQUAL[:2], *KEPT, *EQUAL[2:]]
    vectors = open_teacher(TeacherSpec(model=str(tiny_teacher_folder))).encode_document(texts)
    pq.write_table(pa.table({"text": texts, "embedding": list(vectors)}), tmp_path / "table.parquet")
    np.save(tmp_path / "beside.npy", vectors)
    _write(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    for name, source, column in (("in", "table.parquet", "embedding"), ("beside", "texts.jsonl", "beside.npy")):
        given = replace(
            mixed,
            texts=TextsSpec(source=str(tmp_path / source)),
            teacher=TeacherSpec(model="owner/api", vector_column=column if name == "in" else str(tmp_path / column)),
            student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), closed_form_rows=8),
        )
        store = Run(given, tmp_path / name).embed()
        assert _texts(store) == KEPT
        expected = vectors[2 : 2 + len(KEPT)]
        assert np.abs(store.embeddings(range(len(KEPT))) - expected).max() < 1e-3


def test_an_ensemble_leaves_the_texts_out_of_its_fit_too(mixed, tiny_teacher_folder, tmp_path):
    member = {"model": str(tiny_teacher_folder)}
    teacher = TeacherSpec(ensemble=[member, member], dimensions=8)
    student = StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), closed_form_rows=8)
    store = Run(replace(mixed, teacher=teacher, student=student), tmp_path / "run").embed()
    clean = TextsSpec(source=str(_write(tmp_path / "clean.jsonl", [{"text": text} for text in KEPT])))
    other = Run(replace(mixed, teacher=teacher, student=student, texts=clean), tmp_path / "clean").embed()
    assert all(kept.startswith(text) for text, kept in zip(_texts(store), KEPT, strict=True))  # long texts are cut
    assert store.embeddings(range(len(KEPT))).tolist() == other.embeddings(range(len(KEPT))).tolist()


def _embed(recipe, folder):
    Run(recipe, folder).embed()


def test_two_processes_make_the_same_store(mixed, tmp_path):
    assert together.join(together.start(2, _embed, mixed, tmp_path / "two")) == [0, 0]
    one = Run(mixed, tmp_path / "one").embed()
    two = EmbeddingStore(tmp_path / "two" / "store")
    assert _texts(two) == _texts(one) == KEPT
    assert two.skipped == one.skipped


def test_a_set_that_cannot_be_read_is_named_before_the_embedding(mixed, search_set, tmp_path, capsys):
    (search_set / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq9\td1\t1\n")
    with pytest.raises(InputError, match=r"texts\.exclude \(by default evaluate_on\): .*qrels\.tsv: query-id 'q9'"):
        Run(mixed, tmp_path / "run").embed()
    unknown = replace(mixed, texts=replace(mixed.texts, exclude=["SciFcat"]))
    with pytest.raises(InputError, match=r"task SciFcat: expected a file, .*did you mean SciFact"):
        Run(unknown, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


def test_a_set_of_all_texts_leaves_none(mixed, search_set, tmp_path):
    same = replace(mixed, texts=TextsSpec(source=str(search_set)))
    with pytest.raises(
        InputError, match=re.escape("(rows left out: 6 equal to a text of the evaluation sets)")
    ) as found:
        Run(same, tmp_path / "run").embed()
    assert "texts.exclude=[] keeps the texts of the evaluation sets" in str(found.value)


def test_general_texts_name_no_sets(mixed):
    with pytest.raises(InputError, match=r"general\.exclude: expected None, found \['sets'\]"):
        replace(mixed, general=TextsSpec(source="general.txt", limit=5, exclude=["sets"]))


def test_the_plan_subtracts_the_texts(mixed, search_set, tmp_path):
    run = Run(mixed, tmp_path / "run")
    planned = plan(run.recipe, run.folder)
    assert planned.rows == len(KEPT)
    said = format_plan(planned)
    assert f"left out   4 rows that equal a text of {search_set}\n" in said
    assert f"at most {len(KEPT) - planned.held_out} texts" in said
    everything = replace(run.recipe, texts=replace(run.recipe.texts, exclude=()))
    assert "left out   " not in format_plan(plan(everything, run.folder))


def test_a_smoke_run_reads_no_set(mixed, tmp_path):
    named = replace(mixed, texts=replace(mixed.texts, exclude=["NanoBEIR"]))
    assert smoke(named, tmp_path / "run").texts.exclude == ()


def test_card_and_report_state_the_number(mixed, tmp_path):
    run = Run(mixed, tmp_path / "run")
    run.embed()
    run.train()
    Run(mixed, tmp_path / "run").embed()  # a repeated command keeps the number
    said = (
        "4 texts equal to a text of the evaluation sets nature (except for case, punctuation and spaces) were left out"
    )
    assert said in card_text(run.folder, "owner/tiny", without_results=True)
    assert "4 texts equal to a text of the evaluation sets" in write_report(run.folder).read_text()
    assert json.loads((run.folder / "model" / "recipe.json").read_text())["excluded"] == 4


def test_the_command_line_takes_a_list(mixed, search_set, tmp_path, capsys):
    path = tmp_path / "recipe.py"
    path.write_text(f"from leaf_st.recipe import *\nrecipe = Recipe.from_dict({mixed.to_dict()!r})\n")
    main(["embed", str(path), "--output", str(tmp_path / "all"), "--set", "texts.exclude=[]"])
    assert f"{len(KEPT) + len(EQUAL)} rows in" in capsys.readouterr().out
    main(["embed", str(path), "--output", str(tmp_path / "run"), "--set", f"texts.exclude={search_set}"])
    assert f"{len(KEPT)} rows in" in capsys.readouterr().out
