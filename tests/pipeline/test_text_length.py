import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from leaf_st.errors import InputError
from leaf_st.pipeline.run import Run
from leaf_st.recipe import StudentSpec, TextsSpec
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.store import CUT_AT, FINGERPRINT, read_header

LONG = [f"{number} and so on {'long ' * 20} {number}" for number in range(30)]  # more than 24 tokens
PROMPTS = {"query": "find: ", "document": "a text: "}


@pytest.fixture
def long(recipe, tmp_path):
    """A recipe whose student reads 24 tokens of texts of more tokens, which the teacher reads completely."""
    source = tmp_path / "long.jsonl"
    rows = [{"text": text, "kind": kind} for text in LONG for kind in ("document", "query")]
    # The complete texts differ, the texts that are read do not.
    rows += [{"text": f"{LONG[0]} {word}"} for word in ("and", "or")]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return replace(
        recipe,
        texts=TextsSpec(source=str(source)),
        teacher=replace(recipe.teacher, prompts=PROMPTS, store_dtype="float32", precision="float32"),
        student=replace(recipe.student, max_length=24),
    )


def _require_read(store, run, student, tokens):
    """Check that each stored text is what ``student`` reads in ``tokens``, and its target the vector of that text."""
    assert sorted(row.kind for row in store.texts(range(len(store)))) == ["document"] * 30 + ["query"] * 30
    read = student.tokenizer(store.prompted(range(len(store))))["input_ids"]
    assert {len(ids) for ids in read} == {tokens}
    for number, row in enumerate(store.texts(range(len(store)))):
        assert LONG[number // 2].startswith(row.text)
        complete = student.tokenizer(PROMPTS[row.kind] + LONG[number // 2], truncation=True, max_length=tokens)
        assert complete["input_ids"] == read[number]
    documents = [number for number, row in enumerate(store.texts(range(len(store)))) if row.kind == "document"]
    expected = run.teacher.encode_document([row.text for row in store.texts(documents)])
    np.testing.assert_allclose(store.embeddings(documents), expected, atol=1e-5)


def test_the_teacher_embeds_what_the_student_reads(long, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    run = Run(long, tmp_path / "run")
    store = run.embed()
    assert store.header[CUT_AT] == 24
    assert "texts are cut to the 24 tokens that the student reads in training" in caplog.messages
    assert not any("only the teacher's vectors" in message for message in caplog.messages)
    assert store.skipped == {"duplicate": 2}
    _require_read(store, run, run._student, 24)
    assert len(Run(long, tmp_path / "run").embed()) == 60  # resumes


def test_the_teacher_embeds_what_the_student_reads_in_training(long, tmp_path):
    shorter = replace(long, training=replace(long.training, max_length=16))
    run = Run(shorter, tmp_path / "run")
    store = run.embed()
    assert store.header[CUT_AT] == 16
    _require_read(store, run, run._student, 16)


def test_texts_of_the_general_domain_are_cut_too(long, tmp_path):
    general = tmp_path / "general.txt"
    general.write_text("".join(f"other {text}\n" for text in LONG))
    run = Run(replace(long, general=TextsSpec(source=str(general), limit=20)), tmp_path / "run")
    run.embed()
    store = run._open_general(run._open_store())
    assert store.header[CUT_AT] == 24
    assert {len(ids) for ids in run._student.tokenizer(store.prompted(range(20)))["input_ids"]} == {24}


def test_texts_stay_complete_if_both_models_read_the_same_tokens(long, tiny_teacher_folder, tmp_path):
    same = replace(long, teacher=replace(long.teacher, max_length=24))
    store = Run(same, tmp_path / "same").embed()
    assert store.header[CUT_AT] is None
    assert {row.text for row in store.texts(range(len(store)))} >= set(LONG)
    # Another tokenizer may have longer tokens, so that the teacher would read more than the student.
    backbone = shutil.copytree(tiny_teacher_folder, tmp_path / "backbone")
    tokenizer = json.loads((backbone / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (backbone / "tokenizer.json").write_text(json.dumps(tokenizer))
    other = replace(same, student=StudentSpec(backbone=str(backbone), max_length=24, closed_form_rows=8))
    assert Run(other, tmp_path / "other").embed().header[CUT_AT] == 24


def test_a_store_of_an_earlier_version_keeps_its_complete_texts(long, tmp_path, caplog):
    run = tmp_path / "run"
    Run(replace(long, student=replace(long.student, max_length=None)), run).embed()
    (run / "recipe.json").unlink()
    header = run / "store" / FINGERPRINT
    write_sealed(header, {key: value for key, value in read_sealed(header).items() if key != CUT_AT})
    shards = {path.name for path in (run / "store").glob("shard-*")}
    caplog.set_level("INFO", "leaf_st")
    assert len(Run(long, run).embed()) == 62
    assert {path.name for path in (run / "store").glob("shard-*")} == shards
    assert any(message.startswith("the student reads the first 24 tokens of a text") for message in caplog.messages)


def test_a_store_of_texts_of_another_length_is_refused(long, tmp_path):
    Run(long, tmp_path / "run").embed()
    (tmp_path / "run" / "recipe.json").unlink()
    shorter = replace(long, student=replace(long.student, max_length=20))
    with pytest.raises(InputError, match=r"expected cut_at_tokens 20, found 24: name another output folder"):
        Run(shorter, tmp_path / "run").embed()
    assert read_header(tmp_path / "run" / "store")[CUT_AT] == 24


def test_training_refuses_texts_that_are_cut_shorter_than_the_student_reads(long, tmp_path):
    Run(long, tmp_path / "run").embed()
    longer = replace(long, student=replace(long.student, max_length=48))
    expected = r"store: expected texts cut to at least 48 tokens, .* found texts cut to 24: .* training\.max_length=24$"
    with pytest.raises(InputError, match=expected):
        Run(longer, tmp_path / "run").train()
    assert not (tmp_path / "run" / "checkpoints").exists()
    student = Run(replace(longer, training=replace(longer.training, max_length=24)), tmp_path / "run").train()
    assert student.max_seq_length == 48
    for name, reads in (("shorter", replace(long.student, max_length=16)), ("static", StudentSpec(static=True))):
        shutil.copytree(tmp_path / "run" / "store", tmp_path / name / "store")
        Run(replace(long, student=reads), tmp_path / name).train()


def test_a_training_that_began_with_shorter_texts_resumes(long, tmp_path, monkeypatch):
    Run(long, tmp_path / "run").embed()
    longer = replace(long, student=replace(long.student, max_length=48))
    monkeypatch.setattr("leaf_st.pipeline.run.require_long_enough", lambda *_: None)  # as in an earlier version
    before = Run(longer, tmp_path / "run").train().encode("a text")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "run" / "model")
    np.testing.assert_array_equal(Run(longer, tmp_path / "run").train().encode("a text"), before)


def test_a_prompt_that_leaves_no_token_for_a_text_is_refused(long, tmp_path):
    prompts = {"query": "", "document": "a very long prompt " * 3}
    wrong = replace(long, teacher=replace(long.teacher, prompts=prompts))
    with pytest.raises(InputError, match=r"^student\.max_length and training\.max_length: .*of the prompt 'a very"):
        Run(wrong, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("tokens", [2, 4])
def test_a_teacher_that_reads_no_token_of_a_text_is_refused(long, tmp_path, tokens):
    wrong = replace(long, teacher=replace(long.teacher, max_length=tokens))
    with pytest.raises(InputError, match=rf"^teacher\.max_length: .* of the prompt 'find: ' .* found {tokens}: raise"):
        Run(wrong, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("reads", "cut_at"), [(24, None), (None, 24)])
def test_a_training_that_reads_less_than_the_targets_says_so(long, tmp_path, caplog, reads, cut_at):
    caplog.set_level("INFO", "leaf_st")
    run = tmp_path / "run"
    recipe = replace(long, teacher=replace(long.teacher, max_length=reads))
    assert Run(recipe, run).embed().header[CUT_AT] == cut_at
    assert "only the teacher's vectors" not in caplog.text
    shorter = replace(recipe, training=replace(recipe.training, max_length=16))
    expected = (
        "the student reads the first 16 tokens of a text, the teacher 24: the end of a longer text changes only the "
        "teacher's vectors"
    )
    if cut_at is None:
        Run(shorter, run).embed()
        assert caplog.messages.count(expected) == 1
        caplog.clear()
    Run(shorter, run).train()
    assert caplog.messages.count(expected) == 1
