import json
import logging
import os
import re
import shutil
import signal
from dataclasses import replace

import forked
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from families import save_family
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from stages import Stopped

from leaf_st.errors import InputError
from leaf_st.evaluation.sizes import write_sizes
from leaf_st.hub.downloads import _hashes_of
from leaf_st.lock import only_process, only_process_of_part
from leaf_st.models.find import earlier_content_hash
from leaf_st.models.identity import identify
from leaf_st.pipeline.run import Run
from leaf_st.recipe import TEACHER_OF_START, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.teacher.workers import Partition
from leaf_st.texts.read import read_texts
from leaf_st.training.train import initial_student
from leaf_st.training.trainer import LeafTrainer


def test_the_recipe_is_written_down_as_asked_and_as_resolved(recipe, untrained):
    record = json.loads((untrained / "recipe.json").read_text())
    assert Recipe.from_dict(record["recipe"]) == recipe
    precision = record["teacher"]["precision"]  # "auto" became one
    texts = replace(recipe.texts, exclude=())  # no set is evaluated
    resolved = replace(recipe, teacher=replace(recipe.teacher, precision=precision), texts=texts)
    assert Recipe.from_dict(record["resolved"]) == resolved
    assert record["arguments"]["weight_decay"] == 0.01
    assert record["commits"] == {"teacher": None}  # a folder
    assert "sentence-transformers" in record["versions"]


def test_partitions_make_one_store(recipe, tmp_path):
    run = Run(recipe, tmp_path / "run")
    assert len(run.embed(Partition(0, 1))) == 60
    fifty = replace(recipe, texts=replace(recipe.texts, limit=50))
    assert Run(fifty, tmp_path / "split").embed(Partition(1, 2)) is None
    assert len(Run(fifty, tmp_path / "split").embed(Partition(0, 2))) == 50


def test_the_recipe_may_set_the_rows_of_a_shard(recipe, tmp_path):
    assert "rows_per_shard" not in recipe.to_dict()["teacher"]  # as in records of earlier versions
    sized = replace(recipe, teacher=replace(recipe.teacher, rows_per_shard=16))
    assert Recipe.from_dict(json.loads(json.dumps(sized.to_dict()))) == sized
    store = Run(sized, tmp_path / "run").embed()
    assert [len(ids) for ids in store.ids()] == [16, 16, 16, 12]
    with pytest.raises(InputError, match=r"teacher\.rows_per_shard was 16, is None"):
        Run(recipe, tmp_path / "run")


def test_training_needs_the_store(recipe, tmp_path):
    with pytest.raises(InputError, match="store is missing: run `leaf-st embed` first"):
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
        ("student", {"layers": (0, 9)}, "student.layers: expected some of the layers 0 to 5"),
        ("training", {"arguments": {"learning_rate": 0}}, "learning_rate: expected a number above 0"),
        ("training", {"arguments": {"num_train_epochs": "abc"}}, "num_train_epochs: expected a number above 0"),
        ("training", {"arguments": {"max_steps": "abc"}}, "max_steps: expected a whole number"),
        ("training", {"arguments": {"per_device_train_batch_size": 0}}, "expected a whole number of at least 1"),
        ("training", {"arguments": {"warmup_ratio": 0.1}}, "set training.decay and training.cycles"),
        ("training", {"arguments": {"prompts": "q: "}}, "set teacher.prompts"),
        ("student", {"max_length": 500}, "reads at most 128 tokens, found 500"),
    ],
)
def test_what_only_training_needs_is_checked_before_the_embedding(recipe, tmp_path, part, change, message):
    wrong = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
    with pytest.raises(InputError, match=re.escape(message)):
        Run(wrong, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


def test_a_backbone_that_reads_less_than_the_teacher(recipe, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    backbone = save_family("roberta", tmp_path)  # 64 usable positions
    source = tmp_path / "long.jsonl"
    source.write_text("".join(json.dumps({"text": f"{number} and so on {'a ' * 200}"}) + "\n" for number in range(30)))
    recipe = replace(
        recipe,
        texts=replace(recipe.texts, source=str(source)),
        teacher=replace(recipe.teacher, max_length=128),
        student=StudentSpec(backbone=str(backbone), closed_form_rows=8),
    )
    for part, most in (("student", "reads at most 64 tokens"), ("training", "expected at most 64")):
        longer = replace(recipe, **{part: replace(getattr(recipe, part), max_length=65)})
        with pytest.raises(InputError, match=rf"^{part}\.max_length: .*{most}.*, found 65"):
            Run(longer, tmp_path / "run").embed()
        assert not (tmp_path / "run").exists()
    run = Run(recipe, tmp_path / "run")
    run.embed()
    assert "texts are cut to the 64 tokens that the student reads in training" in caplog.messages
    assert run.train().max_seq_length == 64


def test_a_set_that_does_not_exist_is_named_before_the_embedding(recipe, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    Run(replace(recipe, evaluate_on=(str(tmp_path / "set"),)), tmp_path / "run").embed()
    messages = [record.getMessage() for record in caplog.records]
    named = messages.index(f"evaluation set {tmp_path / 'set'} does not exist: it is left out of the evaluation")
    assert named < next(place for place, message in enumerate(messages) if message.startswith("60 texts of"))


def test_alignment_is_that_of_the_held_out_rows(recipe, finished):
    run = Run(recipe, finished)
    store = run.embed()
    student = run.train()
    rows = store.held_out(6).tolist()  # one in ten of 60
    vectors = student.encode(store.prompted(rows))
    expected = np.linalg.norm(vectors - store.embeddings(rows).astype(np.float32), axis=1).mean()
    assert run.measure_alignment().l2 == pytest.approx(float(expected), abs=1e-4)
    assert json.loads((run.folder / "results" / "alignment.json").read_text())[0]["rows"] == 6

    shard = next(store.folder.glob("shard-*"))
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1  # in the vectors
    shard.write_bytes(content)
    with pytest.raises(InputError, match=f"{shard.name} is damaged"):
        run.measure_alignment()


def test_another_recipe_is_refused_by_the_values_that_differ(recipe, untrained, first):
    texts = replace(recipe, texts=replace(recipe.texts, limit=50))
    with pytest.raises(InputError, match=r"another recipe \(texts\.limit was None, is 50\)"):
        Run(texts, untrained)
    other = replace(recipe, training=replace(recipe.training, cycles=3))
    with pytest.raises(InputError, match=r"another recipe \(training\.cycles was 1, is 3\)"):
        Run(other, first)


def test_a_run_that_has_no_checkpoint_may_have_another_training(recipe, embedded, monkeypatch):
    def compute_loss(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(LeafTrainer, "compute_loss", compute_loss)
        with pytest.raises(InputError, match=r"^per_device_train_batch_size: .*, found one of 32 texts that does not"):
            Run(recipe, embedded).train()
    assert (embedded / "checkpoints").is_dir()
    arguments = {**recipe.training.arguments, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2}
    smaller = replace(recipe, training=replace(recipe.training, arguments=arguments))
    Run(smaller, embedded).train()
    assert json.loads((embedded / "recipe.json").read_text())["arguments"]["per_device_train_batch_size"] == 16


def test_another_training_needs_no_other_vectors(recipe, finished):
    checkpoints, model = (finished / name for name in ("checkpoints", "model"))
    other = replace(recipe, training=replace(recipe.training, end_learning_rate=2e-5))
    for there in ("checkpoints, model and results", "model and results"):
        remedy = rf"is 2e-05\): name another --output, or move {there} of {finished} to another folder to train again "
        with pytest.raises(InputError, match=remedy):
            Run(other, finished)
        shutil.rmtree(checkpoints, ignore_errors=True)
    shutil.rmtree(model)
    Run(other, finished).train()
    assert model.is_dir()


def test_a_resumed_run_may_have_another_batch_size(recipe, embedded):
    before = EmbeddingStore(embedded / "store").embeddings(range(3))
    resumed = Run(replace(recipe, teacher=replace(recipe.teacher, batch_size=7)), embedded)
    assert resumed.teacher.batch_size == 7
    assert resumed.embed().embeddings(range(3)).tolist() == before.tolist()


def test_what_was_embedded_serves_another_training(recipe, embedded):
    other = Run(replace(recipe, training=replace(recipe.training, distance="mse")), embedded)
    assert other.recipe.training.distance == "mse"
    assert other.recipe.teacher.precision == other.teacher.fingerprint.precision
    other.train()
    record = json.loads((embedded / "recipe.json").read_text())
    assert record["resolved"]["training"]["distance"] == "mse"


@pytest.mark.parametrize("part", ["backbone", "start"])
def test_a_student_s_model_that_changed_is_refused_like_a_changed_teacher(recipe, going_on, tmp_path, part):
    source = going_on.student.start if part == "start" else recipe.teacher.model
    folder, run = shutil.copytree(source, tmp_path / "model"), tmp_path / "run"
    if part == "start":
        _forget_checksums(folder)
    student = StudentSpec(**{part: str(folder)}, closed_form_rows=8)
    recipe = replace(going_on if part == "start" else recipe, student=student, general=None)
    Run(recipe, run).embed()
    _change_weights(folder)  # nothing is trained yet
    Run(recipe, run).embed()
    before = Run(recipe, run).train().encode("a text")
    _change_weights(folder)
    for command in (Run.embed, Run.train):
        with pytest.raises(InputError, match=rf"made from another student\.{part}: .*: name another output folder"):
            command(Run(recipe, run))
    shutil.rmtree(run / "model")  # in the middle of the training
    with pytest.raises(InputError, match=rf"made from another student\.{part}"):
        Run(recipe, run).embed()
    record = json.loads((run / "recipe.json").read_text())
    del record["student_revision"], record["checksum"]  # as an earlier version wrote it
    (run / "recipe.json").write_text(json.dumps(record))
    Run(recipe, run).embed()
    np.testing.assert_array_equal(Run(recipe, run).train().encode("a text"), before)


def test_files_beside_a_student_s_backbone_are_not_a_part_of_it(recipe, tmp_path):
    folder, run = shutil.copytree(recipe.teacher.model, tmp_path / "model"), tmp_path / "run"
    recipe = replace(recipe, student=replace(recipe.student, backbone=str(folder)), general=None)
    Run(recipe, run).embed()
    Run(recipe, run).train()
    (folder / "eval").mkdir()
    (folder / "eval" / "results.json").write_text("{}")
    Run(recipe, run).train()
    record = json.loads((run / "recipe.json").read_text())
    record["student_revision"] = earlier_content_hash(folder)  # as an earlier version wrote it
    del record["checksum"]
    (run / "recipe.json").write_text(json.dumps(record))
    Run(recipe, run).train()


@pytest.fixture
def own_texts(recipe, tmp_path):
    """The recipe with texts that the test may change."""
    source = shutil.copy(recipe.texts.source, tmp_path / "own.jsonl")
    return replace(recipe, texts=replace(recipe.texts, source=str(source)))


def test_a_deleted_store_is_made_again_of_the_same_texts_only(own_texts, tmp_path):
    folder = tmp_path / "run"
    Run(own_texts, folder).embed()
    Run(own_texts, folder).train()
    shutil.rmtree(folder / "store")
    assert len(Run(own_texts, folder).embed()) == 60
    source = tmp_path / "own.jsonl"
    source.write_text(source.read_text().replace("number 7", "page 7"))
    with pytest.raises(InputError, match="holds texts other than the given ones"):
        Run(own_texts, folder).embed()
    shutil.rmtree(folder / "store")
    others = rf"^run {folder} was trained on other texts: expected texts with the hash (\w+), found (?!\1)\w+: name"
    with pytest.raises(InputError, match=others):
        Run(own_texts, folder).embed()
    assert not (folder / "store").exists()
    Run(own_texts, tmp_path / "other").embed()
    shutil.copytree(tmp_path / "other" / "store", folder / "store")
    with pytest.raises(InputError, match=others):
        Run(own_texts, folder).train()
    shutil.rmtree(folder / "model")  # in the middle of the training
    with pytest.raises(InputError, match=others):
        Run(own_texts, folder).train()
    record = json.loads((folder / "recipe.json").read_text())
    del record["texts_digest"], record["checksum"]  # as an earlier version wrote it
    (folder / "recipe.json").write_text(json.dumps(record))
    Run(own_texts, folder).train()


def test_the_texts_of_a_student_stay_without_their_store(recipe, finished):
    shutil.rmtree(finished / "store")
    for field, value in (("source", "other.jsonl"), ("exclude", ["SciFact"])):
        with pytest.raises(InputError, match=rf"another recipe \(texts\.{field} was "):
            Run(replace(recipe, texts=replace(recipe.texts, **{field: value})), finished)


def test_a_trained_student_is_given_back_without_its_store(recipe, finished):
    before = SentenceTransformer(str(finished / "model")).encode("a text")
    shutil.rmtree(finished / "store")
    np.testing.assert_array_equal(Run(recipe, finished).train().encode("a text"), before)


def test_a_run_that_began_with_an_argument_without_effect_resumes(recipe, finished):
    before, record = Run(recipe, finished).recipe, read_sealed(finished / "recipe.json")
    for part in ("recipe", "resolved"):
        record[part]["training"]["arguments"]["data_seed"] = 1  # which an earlier version accepted
    write_sealed(finished / "recipe.json", record)
    shutil.rmtree(finished / "model")
    same = replace(recipe, training=TrainingSpec(arguments={**recipe.training.arguments, "data_seed": 1}))
    for asked in (same, recipe):
        assert Run(asked, finished).recipe == before
    Run(recipe, finished).train()


def test_a_trained_student_keeps_its_name(recipe, finished, caplog):
    caplog.set_level("INFO", "leaf_st")
    renamed = replace(recipe, name="other")
    run = Run(renamed, finished)
    assert "the trained student keeps the name tiny, because its results have this name" in caplog.messages
    run.embed()
    record = json.loads((finished / "recipe.json").read_text())
    assert [record[key]["name"] for key in ("recipe", "resolved")] == ["tiny", "tiny"]
    assert Run(renamed, finished).recipe == run.recipe
    for part in ("model", "checkpoints"):
        shutil.rmtree(finished / part)
    assert Run(renamed, finished).recipe.name == "other"


def test_results_of_an_earlier_student_are_removed(recipe, finished, caplog):
    caplog.set_level("INFO", "leaf_st")
    run = Run(recipe, finished)
    run.measure_alignment()
    run.measure_agreement()
    files = [finished / "results" / f"{name}.json" for name in ("alignment", "agreement", "lost_queries")]
    shutil.rmtree(finished / "model")  # the training is resumed
    run.train()
    assert all(path.is_file() for path in files)
    for part in ("model", "checkpoints"):
        shutil.rmtree(finished / part)
    run.train()
    removed = "removed the results of an earlier student: alignment.json, agreement.json, lost_queries.json"
    assert caplog.messages.count(removed) == 1
    assert not any(path.exists() for path in files)


def test_results_that_name_an_earlier_student_are_named_before_the_training(recipe, finished):
    run = Run(recipe, finished)
    student = run.train()
    write_sizes(finished / "results", {"student": (identify(student), student)})
    for part in ("model", "checkpoints"):
        shutil.rmtree(finished / part)
    with pytest.raises(
        InputError, match=r"results: expected no results of a student before its training, found those "
    ):
        run.train()
    shutil.rmtree(finished / "results")
    run.train()


def _forget_checksums(folder):
    record = json.loads((folder / "recipe.json").read_text())
    del record["file_checksums"], record["checksum"]
    (folder / "recipe.json").write_text(json.dumps(record))


def _change_weights(folder):
    """Change the weights in ``folder`` without a change of the file's size and time."""
    path = folder / "model.safetensors"
    before = path.stat()
    save_file({name: weight * 1.01 for name, weight in load_file(path).items()}, path, {"format": "pt"})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    _hashes_of.cache_clear()  # of this process


def test_a_damaged_shard_is_named_before_the_budget_is_tried(recipe, embedded):
    timed = replace(recipe, training=replace(recipe.training, budget_minutes=1))
    shard = next((embedded / "store").glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"is damaged .*: run `leaf-st embed` again"):
        Run(timed, embedded).train()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"recipe": {}}'])
def test_a_damaged_record_is_named(recipe, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(content)
    with pytest.raises(InputError, match=r"recipe\.json( is damaged|: expected the record of a run)"):
        Run(recipe, tmp_path / "run")


def test_what_a_kill_left_is_no_foreign_folder(recipe, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".recipe.json.0a1b2c3d.tmp").write_text("{")
    Run(recipe, folder)


def test_a_time_budget_becomes_a_number_of_steps_once(recipe, tmp_path):
    arguments = {"per_device_train_batch_size": 4, "eval_steps": 0.5, "save_steps": 0.5, "use_cpu": True}
    training = TrainingSpec(budget_minutes=0.01, held_out_rows=4, arguments=arguments)
    timed = replace(recipe, training=training)
    run = Run(timed, tmp_path / "run")
    run.embed()
    run.train()
    again = Run(timed, tmp_path / "run")
    assert again.recipe.training.arguments["max_steps"] == run.recipe.training.arguments["max_steps"] >= 1
    record = json.loads((tmp_path / "run" / "model" / "recipe.json").read_text())
    assert Recipe.from_dict(record["recipe"]) == timed
    assert Recipe.from_dict(record["resolved"]) == again.recipe


def test_a_time_budget_is_kept_if_only_values_change_that_may(recipe, tmp_path):
    arguments = {"per_device_train_batch_size": 4, "eval_steps": 0.5, "save_steps": 0.5, "use_cpu": True}
    training = TrainingSpec(budget_minutes=0.01, held_out_rows=4, arguments=arguments)
    timed, folder = replace(recipe, training=training), tmp_path / "run"
    run = Run(timed, folder)
    run.embed()
    run.train()
    steps = run.recipe.training.arguments["max_steps"]
    teacher, absent = replace(timed.teacher, batch_size=7), (str(tmp_path / "none"),)
    again = Run(replace(timed, teacher=teacher, evaluate_on=absent), folder)
    again.embed()
    resolved = Recipe.from_dict(json.loads((folder / "recipe.json").read_text())["resolved"])
    assert resolved == again.recipe
    assert (resolved.evaluate_on, resolved.teacher.batch_size) == (absent, 7)
    assert resolved.training == run.recipe.training
    assert resolved.training.arguments["max_steps"] == steps
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints")
    student = replace(timed.student, layers=(0,))  # is faster
    assert Run(replace(timed, student=student), folder).recipe.training == timed.training
    longer = replace(training, budget_minutes=0.02)
    assert Run(replace(timed, training=longer), folder).recipe.training == longer


def test_epochs_end_a_training_before_its_time_budget(recipe, tmp_path, caplog):
    arguments = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "max_steps": -1, "use_cpu": True}
    timed = replace(recipe, training=TrainingSpec(budget_minutes=60, held_out_rows=4, arguments=arguments))
    run = Run(timed, tmp_path / "run")
    store = run.embed()
    with caplog.at_level(logging.INFO, "leaf_st"):
        run.train()
    steps = -(-(len(store) - 4) // 4)
    assert run.recipe.training.arguments["max_steps"] == steps
    assert f"num_train_epochs ends the training earlier, after {steps} steps" in caplog.text
    assert Run(timed, tmp_path / "run").recipe == run.recipe


def test_going_on_is_with_the_student_s_own_teacher(going_on, tiny_teacher_folder, tmp_path):
    run = Run(going_on, tmp_path / "run")
    run.embed()
    run.train()
    record = json.loads((run.folder / "recipe.json").read_text())
    assert record["recipe"]["teacher"]["model"] == TEACHER_OF_START
    assert record["resolved"]["teacher"]["model"] == str(tiny_teacher_folder)
    assert Run(going_on, run.folder).recipe == run.recipe


def test_the_record_names_what_the_student_learned_from_before(going_on, finished, tmp_path):
    start = shutil.copytree(finished / "model", tmp_path / "start")
    sources = {"msmarco": {"dataset": "mteb/msmarco", "commit": "0" * 40, "licence": "non-commercial"}}
    record = json.loads((start / "recipe.json").read_text())
    del record["checksum"]
    (start / "recipe.json").write_text(json.dumps({**record, "sources": sources}))
    Run(replace(going_on, student=StudentSpec(start=str(start))), tmp_path / "run").embed()
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["sources"] == sources


def test_a_start_with_a_record_learned_from_the_texts_in_the_record(going_on, finished, tmp_path):
    start = shutil.copytree(finished, tmp_path / "leaf-ir")
    Run(replace(going_on, student=StudentSpec(start=str(start))), tmp_path / "run").embed()
    assert "sources" not in json.loads((tmp_path / "run" / "recipe.json").read_text())


def test_general_texts_that_are_trained_on_are_left_out(going_on, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    run = Run(going_on, tmp_path / "run")
    run.embed()
    texts = [row.text for row in EmbeddingStore(run.folder / "general").texts(range(10))]
    assert texts == [f"a text, number {number}" for number in range(60, 70)]
    said = f"10 texts of {going_on.general.source} for validation on the general domain"
    assert f"{said}; left out: 10 also a training text" in caplog.messages
    run.train()
    run.measure_alignment()
    rows = json.loads((run.folder / "results" / "alignment.json").read_text())
    assert [(row["set"], row["rows"]) for row in rows] == [("held-out texts", 6), ("general texts", 10)]


def test_general_texts_that_equal_a_training_text_but_for_punctuation_are_left_out(going_on, tmp_path):
    source = tmp_path / "general.txt"
    source.write_text("A TEXT; number 3\n" + "".join(f"another text, number {number}\n" for number in range(10)))
    run = Run(replace(going_on, general=TextsSpec(source=str(source), limit=20)), tmp_path / "run")
    run.embed()
    texts = [row.text for row in EmbeddingStore(run.folder / "general").texts(range(10))]
    assert texts == [f"another text, number {number}" for number in range(10)]


def test_a_general_domain_of_nothing_else_is_refused(going_on, tmp_path):
    same = replace(going_on, general=replace(going_on.texts, limit=20))
    with pytest.raises(
        InputError, match=r"general\.source .*texts\.jsonl: expected texts outside the training texts, found none"
    ):
        Run(same, tmp_path / "run").embed()


def test_wrong_general_texts_are_named_before_the_embedding(going_on, tmp_path):
    wrong = replace(going_on, general=TextsSpec(source="none.txt", limit=20))
    with pytest.raises(InputError, match=r"general\.source none\.txt: no such file"):
        Run(wrong, tmp_path / "run").embed()
    assert not (tmp_path / "run").exists()


def test_general_texts_added_later_are_embedded_first(recipe, going_on, tmp_path):
    folder = tmp_path / "first"  # of the recipe without them, but trained
    with pytest.raises(InputError, match=r"another recipe \(general was None, is "):
        Run(replace(recipe, general=going_on.general), folder)
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "checkpoints")
    run = Run(replace(recipe, general=going_on.general), folder)
    with pytest.raises(InputError, match="general is missing: run `leaf-st embed` first"):
        run.train()
    run.embed()
    assert len(EmbeddingStore(folder / "general")) == 10
    with pytest.raises(InputError, match=r"another recipe \(general\.limit was 20, is 9\)"):
        Run(replace(recipe, general=replace(going_on.general, limit=9)), folder)


def test_another_start_is_another_teacher_perhaps(going_on, tmp_path):
    Run(going_on, tmp_path / "run").embed()
    other = replace(going_on, student=StudentSpec(start="leaf-ir"))
    with pytest.raises(InputError, match=r"another recipe \(student\.start was "):
        Run(other, tmp_path / "run")


def test_a_teacher_without_norm_1_gets_a_student_without_normalize(recipe, tiny_unnormalized_folder, tmp_path):
    run = Run(replace(recipe, teacher=TeacherSpec(model=str(tiny_unnormalized_folder))), tmp_path / "run")
    store = run.embed()
    run.train()
    modules = json.loads((run.folder / "model" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Dense"]
    lengths = np.linalg.norm(store.embeddings(range(len(store))).astype(np.float32), axis=1)
    assert np.abs(lengths - 1).min() > 0.1
    assert run.measure_alignment().l2 < lengths.mean()  # nearer than nothing at all


def test_a_source_may_be_left_out_or_replaced_until_something_is_embedded(recipe, tmp_path):
    paper = replace(recipe, texts=TextsSpec(source="paper"))
    without = replace(recipe, texts=TextsSpec(source="paper", leave_out="triviaqa"))
    (tmp_path / "run" / "texts").mkdir(parents=True)
    record = {"recipe": paper.to_dict(), "resolved": paper.to_dict()}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(record))
    assert Run(without, tmp_path / "run").recipe.texts.leave_out == ("triviaqa",)
    assert Run(recipe, tmp_path / "run").recipe.texts.source == recipe.texts.source
    for exclude in ([], ["SciFact"]):
        other = replace(paper, texts=replace(paper.texts, exclude=exclude))
        assert Run(other, tmp_path / "run").recipe.texts.exclude == tuple(exclude)
    with pytest.raises(InputError, match=r"texts\.per_source was None, is 9"):
        Run(replace(recipe, texts=TextsSpec(source="paper", per_source=9)), tmp_path / "run")
    (tmp_path / "run" / "store").mkdir()
    with pytest.raises(InputError, match=r"texts\.leave_out was \[\], is \['triviaqa'\]\): name another --output"):
        Run(without, tmp_path / "run")


def test_a_source_is_read_once(recipe, tmp_path, monkeypatch):
    reads = []

    def counted(spec, *others, **more):
        reads.append(spec.source)
        return read_texts(spec, *others, **more)

    monkeypatch.setattr("leaf_st.pipeline.run_texts.read_texts", counted)
    Run(recipe, tmp_path / "run").embed()
    assert reads == [recipe.texts.source]
    Run(recipe, tmp_path / "run").train()
    assert reads == [recipe.texts.source]


def test_the_student_is_built_once(recipe, tmp_path, monkeypatch):
    built = []

    def counted(*others):
        built.append(initial_student(*others))
        return built[-1]

    monkeypatch.setattr("leaf_st.pipeline.run.initial_student", counted)
    run = Run(recipe, tmp_path / "run")
    run.embed()
    assert run.train() is built[0]
    assert len(built) == 1


def test_embedding_and_training_apart_give_the_same_weights(recipe, first, embedded):
    Run(recipe, embedded).train()  # the first run was embedded and trained by one object
    for part in ("model.safetensors", "2_Dense/model.safetensors"):
        one, other = (folder / "model" / part for folder in (first, embedded))
        assert one.read_bytes() == other.read_bytes()


def test_the_teacher_is_released_before_the_training(recipe, tmp_path, monkeypatch):
    run = Run(recipe, tmp_path / "run")
    run.embed()
    held = []
    monkeypatch.setattr("leaf_st.pipeline.run.train", lambda *_, **__: held.append(run._teacher))
    run.train()
    assert held == [None]


def test_a_training_by_itself_loads_no_teacher(recipe, embedded, monkeypatch):
    monkeypatch.setattr("leaf_st.pipeline.run.open_teacher", lambda *_: pytest.fail("the teacher was loaded"))
    Run(recipe, embedded).train()
    assert (embedded / "model" / "modules.json").is_file()


def test_the_checksums_of_a_store_are_compared_once_in_a_process(recipe, tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(EmbeddingStore, "damaged", lambda store: compared.append(store.folder) or [])
    timed = replace(recipe, training=replace(recipe.training, budget_minutes=0.01, arguments={"use_cpu": True}))
    run = Run(timed, tmp_path / "run")
    run.embed()
    run.train()
    folder = tmp_path / "run" / "store"
    assert folder not in compared  # the embedding wrote or compared every shard
    shutil.rmtree(tmp_path / "run" / "model")
    Run(timed, tmp_path / "run").train()
    assert compared.count(folder) == 1


@pytest.mark.parametrize("part", ["teacher", "member", "backbone", "start"])
def test_a_run_inside_of_a_model_s_folder_is_refused(recipe, tiny_teacher_folder, tmp_path, part):
    model = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    named = TeacherSpec(model=str(model))
    change = {
        "teacher": {"teacher": named},
        "member": {
            "teacher": TeacherSpec(ensemble=[recipe.teacher, named]),
            "student": StudentSpec(backbone=str(tiny_teacher_folder)),
        },
        "backbone": {"student": StudentSpec(backbone=str(model))},
        "start": {"student": StudentSpec(start=str(model))},
    }[part]
    (tmp_path / "link").symlink_to(model)
    for folder in (model / "runs" / "tiny", tmp_path / "link" / "tiny"):
        message = rf"^output {folder}: expected a folder outside of the model folder {model}, .*: name another output"
        with pytest.raises(InputError, match=message):
            Run(replace(recipe, **change), folder)
        assert not folder.exists()
    Run(replace(recipe, **change), tmp_path / "models")


def test_a_run_may_be_inside_of_the_run_that_made_its_teacher(recipe, finished):
    Run(replace(recipe, teacher=TeacherSpec(model=str(finished))), finished / "second")
    with pytest.raises(InputError, match="expected a folder outside of the model folder"):
        Run(replace(recipe, teacher=TeacherSpec(model=str(finished))), finished / "model" / "second")


@pytest.fixture
def shared(recipe, tmp_path):
    """A recipe without prompts, of texts that occur as query and as document."""
    source = tmp_path / "shared.jsonl"
    rows = [
        {"text": f"a text, number {number % 40}", "kind": "query" if number < 40 else "document"}
        for number in range(80)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return replace(recipe, texts=TextsSpec(source=str(source)))


def test_a_text_of_both_kinds_is_embedded_once_if_the_prompts_are_the_same(shared, tmp_path):
    store = Run(shared, tmp_path / "run").embed()
    assert len(store) == 40
    assert {row.kind for row in store.texts(range(40))} == {"query"}
    prompts = TeacherSpec(model=shared.teacher.model, prompts={"query": "q: "})
    assert len(Run(replace(shared, teacher=prompts), tmp_path / "prompts").embed()) == 80


def test_a_store_of_an_earlier_version_is_resumed_with_its_own_rule(shared, tmp_path, monkeypatch):
    def read_as_before(*given, **named):
        return read_texts(*given, **{**named, "prompts": None})

    monkeypatch.setattr("leaf_st.pipeline.run_texts.read_texts", read_as_before)
    assert len(Run(shared, tmp_path / "run").embed()) == 80
    monkeypatch.undo()
    header = tmp_path / "run" / "store" / "fingerprint.json"
    known = json.loads(header.read_text())
    del known["unique_by"], known["checksum"]
    header.write_text(json.dumps(known))
    (tmp_path / "run" / "store" / "manifest.json").unlink()
    assert len(Run(shared, tmp_path / "run").embed()) == 80
    Run(shared, tmp_path / "run").train()


def test_student_and_teacher_read_a_text_of_a_task_with_the_same_prompt(recipe, tiny_teacher, tmp_path):
    tiny_teacher.prompts = {"query": "", "document": "", "passage": "p ", "STS": "similar: ", "Clustering": "group: "}
    tiny_teacher.save_pretrained(str(tmp_path / "teacher"))
    columns = {f"sentence{side}": [f"{'ab' * side} {number**side}" for number in range(12)] for side in (1, 2)}
    pq.write_table(pa.table({**columns, "score": [number % 5 for number in range(12)]}), tmp_path / "alike.parquet")
    teacher = TeacherSpec(model=str(tmp_path / "teacher"), precision="float32")
    run = Run(replace(recipe, teacher=teacher, evaluate_on=[str(tmp_path / "alike.parquet")]), tmp_path / "run")
    run.embed()
    run.train()
    student = SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu")
    assert student.prompts == {"query": "", "document": "", "STS": "similar: ", "Clustering": "group: "}
    scores = {row.mode: row.score for row in run.evaluate()}
    for mode, model in (("teacher", tiny_teacher), ("standard", student)):
        first, second = (model.encode(texts, prompt="similar: ") for texts in columns.values())
        expected = 100 * spearmanr((first * second).sum(axis=1), [number % 5 for number in range(12)])[0]
        assert scores[mode] == pytest.approx(expected, abs=1e-4)


def test_a_run_is_trained_by_one_process_at_a_time(recipe, embedded):
    run = Run(recipe, embedded)
    with only_process(run.folder), pytest.raises(InputError, match="found one that writes to this folder"):
        run.train()
    assert not (run.folder / "model").exists()


def _hold_store(folder, ready):
    with only_process_of_part(folder / ".store.lock", folder / "store", 0, 1):
        ready.send(True)
        signal.pause()


def test_texts_are_embedded_by_one_launch_at_a_time(recipe, tmp_path):
    (tmp_path / "run").mkdir()
    ours, theirs = forked.CONTEXT.Pipe()
    process = forked.CONTEXT.Process(target=_hold_store, args=(tmp_path / "run", theirs), daemon=True)
    process.start()
    ours.recv()
    for partition, part in ((Partition(), ""), (Partition(1, 2), ", partition 1/2")):
        with pytest.raises(InputError, match=f"run/store{part}: expected no other process, found one that writes"):
            Run(recipe, tmp_path / "run").embed(partition)
    assert not (tmp_path / "run" / "store").exists()
    process.kill()
    process.join()
    (tmp_path / "run" / "recipe.json").unlink()  # the lock is no foreign file
    assert len(Run(recipe, tmp_path / "run").embed()) == 60


def _on_a_machine(monkeypatch, computes_bfloat16):
    monkeypatch.setattr("leaf_st.models.precision.bfloat16_is_fast", lambda device: computes_bfloat16)


def test_machines_of_two_kinds_embed_in_the_precision_of_the_first(recipe, tmp_path, monkeypatch, caplog):
    halves = replace(recipe, teacher=replace(recipe.teacher, rows_per_shard=30))
    runs = []
    for computes_bfloat16, precision in ((True, "bfloat16"), (False, "float32"), (False, "float32")):
        _on_a_machine(monkeypatch, computes_bfloat16)
        runs.append(Run(halves, tmp_path / "run"))
        assert runs[-1].teacher.fingerprint.precision == precision  # each has started before a record is written
    assert runs[0].embed(Partition(0, 2)) is None
    assert runs[1].embed(Partition(1, 2)).fingerprint.precision == "bfloat16"
    assert "the teacher is loaded again in bfloat16, the precision of this run" in caplog.text
    assert len(runs[2].embed()) == 60
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["resolved"]["teacher"]["precision"] == record["teacher"]["precision"] == "bfloat16"


def test_the_record_decides_the_precision_before_there_are_vectors(recipe, tmp_path, monkeypatch):
    _on_a_machine(monkeypatch, True)
    late = Run(recipe, tmp_path / "run")
    assert late.teacher.fingerprint.precision == "bfloat16"
    _on_a_machine(monkeypatch, False)
    with pytest.raises(KeyboardInterrupt):
        Run(recipe, tmp_path / "run").embed(Stopped())
    assert late.embed().fingerprint.precision == "float32"


def test_the_store_decides_the_precision_where_the_record_names_another(recipe, tmp_path, monkeypatch):
    _on_a_machine(monkeypatch, True)
    folder = tmp_path / "run"
    Run(recipe, folder).embed()
    (folder / "store" / "manifest.json").unlink()
    record = read_sealed(folder / "recipe.json")
    record["resolved"]["teacher"]["precision"] = "float32"  # as a machine of another kind has written
    write_sealed(folder / "recipe.json", record)
    _on_a_machine(monkeypatch, False)
    assert Run(recipe, folder).embed().fingerprint.precision == "bfloat16"
    Run(recipe, folder).train()
    shutil.copytree(folder / "store", tmp_path / "other" / "store")
    asked = replace(recipe, teacher=replace(recipe.teacher, precision="float32"))
    with pytest.raises(InputError, match="expected precision float32, found bfloat16; run the same command again if"):
        Run(asked, tmp_path / "other").embed()


def test_a_trained_student_keeps_the_values_of_its_training(recipe, finished, tmp_path, monkeypatch):
    path, of_training = finished / "recipe.json", ("arguments", "processes", "commits", "versions")
    before = read_sealed(path)
    monkeypatch.setattr("leaf_st.pipeline.record.version", lambda name: "99.0")  # another machine
    monkeypatch.setattr("leaf_st.pipeline.record.named_arguments", lambda *_: {"bf16": True})
    later = replace(recipe, evaluate_on=(str(tmp_path / "set"),))
    Run(later, finished).embed()
    record = read_sealed(path)
    assert record["resolved"]["evaluate_on"] == [str(tmp_path / "set")]
    assert [record[key] for key in of_training] == [before[key] for key in of_training]
    write_sealed(path, {**record, "processes": 9, "versions": {}})  # as an earlier version may have written
    Run(later, finished).embed()
    assert [read_sealed(path)[key] for key in of_training] == [before[key] for key in of_training]
    for part in ("model", "checkpoints"):
        shutil.rmtree(finished / part)
    Run(later, finished).embed()
    assert read_sealed(path)["arguments"] == {"bf16": True}


def test_a_run_says_which_layers_the_student_keeps(recipe, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    run = Run(replace(recipe, student=StudentSpec(layers=3, closed_form_rows=8)), tmp_path / "run")
    run.embed()
    run.train()
    assert caplog.messages.count("the student keeps 1 of the backbone's layers: 3") == 1
