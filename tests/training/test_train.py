import json
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from from_scratch import same_model, train, validation_losses
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.recipe import StudentSpec
from leaf_st.teacher.precompute import precompute
from leaf_st.training.arguments import training_arguments
from leaf_st.training.checkpoints import last_complete_checkpoint
from leaf_st.training.train import initial_student
from leaf_st.training.train import train as train_student
from leaf_st.training.trainer import LeafTrainer

HELD_OUT = 20
WITHOUT_VALIDATION = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def test_the_kernel_of_attention_does_not_change_the_loss(recipe, changed, store, tmp_path, monkeypatch):
    bf16 = changed(recipe, bf16=True)
    student = initial_student(bf16, store.fingerprint)
    losses = []
    for fused_above in (256, 0):
        monkeypatch.setattr("leaf_st.training.cpu._FUSED_ABOVE", fused_above)
        trainer = LeafTrainer(student, store, bf16.training, training_arguments(bf16, tmp_path, "cpu"))
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_student_whose_weights_are_not_finite_is_refused(recipe, store, tiny_teacher_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_teacher_folder, tmp_path / "backbone"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "word_embeddings" in name)
    weights[name][-1] = torch.nan
    save_file(weights, folder / "model.safetensors")
    broken = replace(recipe, student=replace(recipe.student, backbone=str(folder)))
    with pytest.raises(InputError, match="student: expected finite weights, found NaN or infinite values in"):
        initial_student(broken, store.fingerprint)


def test_a_kept_gradient_is_the_same_gradient(finished, recipe, store, tmp_path, monkeypatch):
    monkeypatch.setattr("leaf_st.training.cpu._MAPPED_FROM", 0)
    train(recipe, store, tmp_path)
    assert validation_losses(tmp_path) == pytest.approx(validation_losses(finished), rel=1e-4)


@pytest.fixture(scope="module")
def table(recipe):
    return replace(recipe, student=StudentSpec(static=True, closed_form_rows=100))


@pytest.fixture(scope="module")
def finished_table(tmp_path_factory, table, store):
    run = tmp_path_factory.mktemp("finished_table")
    train(table, store, run)
    return run


def test_a_table_learns(finished_table, table, store, tmp_path):
    losses = validation_losses(finished_table)
    assert min(losses) < 0.95 * losses[0]
    short = replace(table, student=StudentSpec(static=True, closed_form_rows=0))
    train(short, store, tmp_path)
    assert losses[0] < 0.95 * validation_losses(tmp_path)[0]  # than from a random table
    held_out = store.held_out(HELD_OUT)
    student = SentenceTransformer(str(finished_table / "model"), device="cpu")
    distances = np.linalg.norm(student.encode(store.prompted(held_out)) - store.embeddings(held_out), axis=1)
    assert min(losses) == pytest.approx(distances.mean(), abs=1e-4)


def test_a_table_in_bfloat16_is_trained_in_float32(finished_table, table, store, tmp_path, changed):
    train(changed(table, bf16=True), store, tmp_path)
    assert validation_losses(tmp_path) == validation_losses(finished_table)


def test_a_kept_gradient_of_a_table_is_the_same_gradient(finished_table, table, store, tmp_path, monkeypatch):
    monkeypatch.setattr("leaf_st.training.cpu._MAPPED_FROM", 0)
    train(table, store, tmp_path)
    assert validation_losses(tmp_path) == pytest.approx(validation_losses(finished_table), rel=1e-4)


def test_a_table_whose_training_was_stopped_resumes_without_the_teacher(
    finished_table, table, store, tmp_path, monkeypatch
):
    monkeypatch.setattr("from_scratch.open_teacher", lambda spec: pytest.fail("the teacher was opened"))
    shutil.copytree(finished_table, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "model")
    newest = last_complete_checkpoint(tmp_path / "again" / "checkpoints")
    shutil.rmtree(newest)
    train(table, store, tmp_path / "again")
    path = Path("model") / "0_StaticEmbedding" / "model.safetensors"
    assert (tmp_path / "again" / path).read_bytes() == (finished_table / path).read_bytes()


def test_training_lowers_the_validation_loss(finished):
    losses = validation_losses(finished)
    assert len(losses) >= 5
    assert min(losses) < 0.9 * losses[0]


def test_the_loss_reported_is_the_mean_distance_of_the_best_model(finished, store):
    held_out = store.held_out(HELD_OUT)
    assert len(held_out) == HELD_OUT  # of which the last batch is only half of one
    student = SentenceTransformer(str(finished / "model"), device="cpu")
    distances = np.linalg.norm(student.encode(store.prompted(held_out)) - store.embeddings(held_out), axis=1)
    assert min(validation_losses(finished)) == pytest.approx(distances.mean(), abs=1e-4)


def test_the_model_reads_as_many_tokens_as_before_training(tmp_path, recipe, store, changed):
    student = train(changed(recipe, max_length=12, max_steps=2, eval_steps=2, save_steps=2), store, tmp_path)
    saved = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert student.max_seq_length == saved.max_seq_length == store.header["fingerprint"]["max_length"]
    assert json.loads((tmp_path / "model" / "tokenizer.json").read_text())["truncation"] is None
    assert saved.prompts == {"query": "q: ", "document": ""}


def test_held_out_rows_are_never_trained_on(tmp_path, recipe, store):
    trainer = LeafTrainer(
        initial_student(recipe, store.fingerprint), store, recipe.training, training_arguments(recipe, tmp_path, "cpu")
    )
    held_out = set(store.held_out(HELD_OUT).tolist())
    batches = trainer.get_train_dataloader().batch_sampler
    assert {row for batch in batches for row in batch} == set(range(len(store))) - held_out
    assert not set(trainer.sample(10_000)) & held_out
    evaluated = [row for batch in trainer.get_eval_dataloader() for row in batch["label"].tolist()]
    expected = store.embeddings(sorted(held_out)).astype(np.float32).tolist()
    assert sorted(evaluated) == sorted(expected)


def test_running_a_finished_training_again_changes_nothing(tmp_path, finished, recipe, store):
    shutil.copytree(finished, tmp_path / "again")
    train(recipe, store, tmp_path / "again")
    assert same_model(tmp_path / "again", finished)
    assert validation_losses(tmp_path / "again") == validation_losses(finished)


@pytest.mark.parametrize("rate", ["fast", 0, None])
def test_a_learning_rate_that_is_none_is_named(recipe, tmp_path, changed, rate):
    with pytest.raises(InputError, match="learning_rate: expected a number above 0"):
        training_arguments(changed(recipe, learning_rate=rate), tmp_path, "cpu")


def test_the_rate_falls_by_epoch_to_the_end_rate(finished_by_epoch, by_epoch):
    last = last_complete_checkpoint(finished_by_epoch / "checkpoints")
    rates = torch.load(last / "scheduler.pt", weights_only=True)["_last_lr"]
    assert rates == pytest.approx([by_epoch.training.end_learning_rate] * len(rates))


def test_a_damaged_store_is_refused_before_any_work(tmp_path, recipe, store):
    folder = tmp_path / "store"
    shutil.copytree(store.folder, folder)
    damaged = sorted(folder.glob("shard-*"))[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=f"{damaged.name} is damaged"):
        train(recipe, type(store)(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_store_too_small_to_hold_anything_out(tmp_path, recipe, teacher, texts):
    store = precompute(texts[:9], teacher, tmp_path / "store")
    with pytest.raises(InputError, match=r"expected at least 10 texts, .* found 9"):
        train(recipe, store, tmp_path / "run")


def test_an_argument_that_is_none_is_named(recipe, tmp_path, changed):
    with pytest.raises(InputError, match="learning_rat"):
        training_arguments(changed(recipe, learning_rat=1.0), tmp_path, "cpu")


def test_training_in_a_thread_that_is_not_the_main_one(tmp_path, recipe, store, changed):
    short = changed(recipe, max_steps=1, eval_steps=1, save_steps=1)
    thread = threading.Thread(target=train, args=(short, store, tmp_path))
    thread.start()
    thread.join()
    assert (tmp_path / "model" / "modules.json").is_file()


def test_a_training_that_fails_gives_ctrl_c_back(tmp_path, recipe, store):
    trainer = LeafTrainer(
        initial_student(recipe, store.fingerprint), store, recipe.training, training_arguments(recipe, tmp_path, "cpu")
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises((OSError, ValueError)):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_random_projection_is_the_same_in_every_run(tmp_path, recipe, store, changed):
    short = changed(recipe, max_steps=1, eval_steps=1, save_steps=1)
    for name in ("one", "two"):
        train(short, store, tmp_path / name)
        torch.rand(1)
    assert same_model(tmp_path / "one", tmp_path / "two")


def test_a_table_starts_from_its_teacher(tmp_path, table, store):
    student = initial_student(table, store.fingerprint)
    with pytest.raises(InputError, match="expected the teacher of a static student, found None"):
        train_student(table, store, tmp_path, student)


def test_validation_sets_of_equal_size_are_told_apart(tmp_path, recipe, changed, store, teacher, texts):
    """The training rows, the held-out rows and the general rows have the same number."""
    small = precompute(texts[:40], teacher, tmp_path / "store")
    general = precompute(texts[40:44], teacher, tmp_path / "general")
    spec = changed(recipe, held_out_rows=4)
    student = initial_student(spec, small.fingerprint)
    arguments = training_arguments(spec, tmp_path, "cpu")
    trainer = LeafTrainer(student, small, spec.training, arguments, general)
    expected = {"domain": small.prompted(small.held_out(4).tolist()), "general": general.prompted(range(4))}
    for name, prompted in expected.items():
        loader = trainer.get_eval_dataloader(name)
        read = [
            ids[mask.bool()].tolist()
            for batch in loader
            for ids, mask in zip(batch["text_input_ids"], batch["text_attention_mask"], strict=True)
        ]
        tokens = student.tokenizer(prompted, truncation=True, max_length=student.max_seq_length)["input_ids"]
        assert sorted(read) == sorted(tokens)
        lengths = loader.batch_sampler._lengths
        assert [int(lengths[row : row + 1][0]) for row in range(4)] == list(map(len, tokens))


def test_a_learning_rate_of_no_parameter_is_refused_before_training(recipe, changed, store):
    expected = r"patterns of the student's parameters, such as model\.0\..*, found '3_Dense\.\*', which"
    with pytest.raises(InputError, match=rf"^learning_rate_mapping: expected {expected}"):
        initial_student(changed(recipe, learning_rate_mapping={"3_Dense.*": 1e-3}), store.fingerprint)


def test_a_part_of_the_student_can_have_its_own_learning_rate(recipe, changed, store, tmp_path):
    own = changed(recipe, learning_rate_mapping={"linear": 0.0625})
    student = initial_student(own, store.fingerprint)
    trainer = LeafTrainer(student, store, own.training, training_arguments(own, tmp_path, "cpu"))
    rates = {group["lr"] for group in trainer.create_optimizer().param_groups if group["params"]}
    assert rates == {0.0625, training_arguments(own, tmp_path, "cpu").learning_rate}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"learning_rate": 1e30, "logging_steps": 2}, r"loss nan at step 2: lower learning_rate \(1e\+30\)"),
        ({"learning_rate": 1e30}, r"eval_loss nan at step 5: lower learning_rate"),
        ({"adam_epsilon": 0.0, **WITHOUT_VALIDATION}, "NaN or infinite values in the weight .*embeddings.weight at"),
        ({"learning_rate": 1e30, **WITHOUT_VALIDATION}, "NaN or infinite values in a vector of the student at step 1"),
    ],
)
def test_a_training_that_diverges_leaves_no_student(tmp_path, recipe, store, changed, values, found):
    message = rf"^the training diverged: .* found {found}.*; then delete {tmp_path}/checkpoints and run the same"
    with pytest.raises(InputError, match=message):
        train(changed(recipe, **values), store, tmp_path)
    assert not (tmp_path / "model").exists()
    assert not [path for path in tmp_path.glob("checkpoints/*") if (path / "complete.json").exists()]


def test_a_validation_loss_that_is_nan_for_one_text_is_seen(recipe, store, tmp_path, monkeypatch):
    trainer = LeafTrainer(
        initial_student(recipe, store.fingerprint), store, recipe.training, training_arguments(recipe, tmp_path, "cpu")
    )
    losses = iter([float("nan")])  # of the first batch only
    prediction = trainer.prediction_step

    def first_is_nan(*arguments, **more):
        loss, *others = prediction(*arguments, **more)
        return loss * next(losses, 1), *others

    monkeypatch.setattr(trainer, "prediction_step", first_is_nan)
    with pytest.raises(InputError, match=r"the training diverged: .* found eval_loss nan at step 0"):
        trainer.evaluate()


def _no_memory_of_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory")


def _no_memory_of_a_cpu():
    torch.empty(1 << 60)


@pytest.mark.parametrize(
    ("allocate", "place"), [(_no_memory_of_a_gpu, "the GPU"), (_no_memory_of_a_cpu, "this machine")]
)
@pytest.mark.parametrize(
    ("in_training", "name", "remedy"),
    [
        (True, "per_device_train_batch_size", ".* set gradient_accumulation_steps=2, for"),
        (False, "per_device_eval_batch_size", "lower the value"),
    ],
)
def test_a_batch_that_does_not_fit_into_the_memory_is_named(
    allocate, place, in_training, name, remedy, recipe, store, tmp_path, monkeypatch
):
    compute = LeafTrainer.compute_loss

    def compute_loss(trainer, model, *others, **more):
        if model.training is in_training:
            allocate()
        return compute(trainer, model, *others, **more)

    monkeypatch.setattr(LeafTrainer, "compute_loss", compute_loss)
    message = rf"^{name}: .* into the memory of {place}, found one of 8 texts that does not: {remedy}"
    with pytest.raises(InputError, match=message):
        train(recipe, store, tmp_path)


def test_another_error_of_torch_is_no_lack_of_memory(recipe, store, tmp_path, monkeypatch):
    monkeypatch.setattr(LeafTrainer, "compute_loss", lambda *_, **__: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        train(recipe, store, tmp_path)


def test_workers_start_as_the_recipe_says(recipe, changed, store, tmp_path):
    spec = changed(recipe, dataloader_num_workers=1, dataloader_multiprocessing_context="spawn")
    student = initial_student(spec, store.fingerprint)
    trainer = LeafTrainer(student, store, spec.training, training_arguments(spec, tmp_path, "cpu"))
    for loader in (trainer.get_train_dataloader(), trainer.get_eval_dataloader()):
        assert loader.multiprocessing_context.get_start_method() == "spawn"
