"""One run by two processes of a real launcher, beside the same run by one process with twice the batch."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import together
import torch
from api import KEY, serve
from safetensors.torch import load_file

from leaf_st.cli.main import main
from leaf_st.errors import BudgetError, InputError
from leaf_st.models import precision
from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.pipeline.run import Run
from leaf_st.teacher.workers import Partition

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    "accelerate": ["accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0", "--multi_gpu"],
}
TEXTS = 1100  # two shards, one for each process
RECIPE = """
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source={source!r}),
    teacher=TeacherSpec(model={teacher!r}, precision="float32"),
    student=StudentSpec(layers=(0, 2), closed_form_rows=64),
    training=TrainingSpec(held_out_rows=51, arguments={{
        "max_steps": 12, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "save_steps": 4, "eval_steps": 4,
        "dataloader_drop_last": True, "bf16": False, "use_cpu": True,
    }}),
)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_teacher_folder):
    folder = tmp_path_factory.mktemp("recipe")
    texts = "".join(json.dumps({"text": f"text {number}, {'more ' * (number % 9)}"}) + "\n" for number in range(TEXTS))
    (folder / "texts.jsonl").write_text(texts)
    path = folder / "recipe.py"
    path.write_text(RECIPE.format(source=str(folder / "texts.jsonl"), teacher=str(tiny_teacher_folder)))
    return path


@pytest.fixture(scope="module")
def single(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("single") / "run"
    main(["run", str(recipe), "--output", str(folder), "--set", "per_device_train_batch_size=16"])
    return folder


@pytest.fixture(scope="module", params=LAUNCHERS)
def launched(tmp_path_factory, recipe, request):
    folder = tmp_path_factory.mktemp("together") / "run"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", *LAUNCHERS[request.param]]
    command = [*launcher, "-m", "leaf_st", "run", str(recipe), "--output", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (folder.parent / "stdout").write_text(done.stdout)
    return folder


def test_each_embeds_its_part_of_the_same_store(launched, single):
    shards = sorted((single / "store").glob("shard-*"))
    assert len(shards) == 2
    assert [path.name for path in sorted((launched / "store").glob("shard-*"))] == [path.name for path in shards]
    for path in (*shards, single / "store" / "manifest.json"):
        assert (launched / "store" / path.name).read_bytes() == path.read_bytes()


def test_they_train_one_student_to_the_same_weights(launched, single):
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        ours, theirs = load_file(launched / "model" / name), load_file(single / "model" / name)
        assert ours.keys() == theirs.keys()
        for key, weight in theirs.items():
            if not key.endswith("key.bias"):  # softmax undoes it: its gradient is rounding, of which Adam makes steps
                torch.testing.assert_close(ours[key], weight, rtol=1e-3, atol=1e-4)


def test_measurements_cover_all_held_out_rows(launched, single):
    losses = [
        [row["eval_loss"] for row in json.loads((run / "results" / "training.json").read_text()) if "eval_loss" in row]
        for run in (launched, single)
    ]
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    found = json.loads((launched / "results" / "alignment.json").read_text())
    assert found[0]["rows"] == 51
    assert found[0]["l2"] == pytest.approx(min(losses[0]), rel=1e-3)


def test_the_first_process_alone_writes_and_prints(launched):
    printed = (launched.parent / "stdout").read_text()
    assert len(re.findall(f"{TEXTS:,} texts of", printed)) == 1
    assert len(re.findall("held-out texts: mean L2", printed)) == 1
    assert json.loads((launched / "recipe.json").read_text())["processes"] == 2
    assert not [path for path in launched.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("partition", [(3, 3), (0, 0), (-1, 2)])
def test_a_partition_must_exist(partition):
    with pytest.raises(InputError, match="expected a number from 0 to"):
        Partition(*partition)


@pytest.mark.parametrize(("partitions", "processes"), [(1, 1), (3, 1), (1, 4), (3, 2)])
def test_every_shard_belongs_to_one_process(partitions, processes):
    launch = [SimpleNamespace(process_index=process, num_processes=processes) for process in range(processes)]
    for number in range(50):
        owners = [Partition(part, partitions).owns(each, number) for part in range(partitions) for each in launch]
        assert owners.count(True) == 1


class _InTwoCalls:
    """An engine that makes the even shards, then the odd ones."""

    is_whole = True

    def embed(self, processes, make):
        return [make(lambda number, half=half: number % 2 == half) is not None for half in (0, 1)][-1]


def test_an_engine_of_another_kind(recipe, single, tmp_path):
    store = Run(load_recipe(recipe), tmp_path / "run").embed(_InTwoCalls())
    assert len(store) == TEXTS
    for path in (single / "store").glob("shard-*"):
        assert (store.folder / path.name).read_bytes() == path.read_bytes()


class _OfAnotherMachine:
    """An engine whose launch has another process, on a machine with a run folder of its own."""

    is_whole = True

    def embed(self, processes, make):
        return make(lambda number: number % 2 == 0) is not None


def test_shards_that_stay_on_another_machine_are_missed(recipe, tmp_path):
    with pytest.raises(InputError, match=r"store: expected the shards of all processes, .* do not see the same run"):
        Run(load_recipe(recipe), tmp_path / "run").embed(_OfAnotherMachine())


def _embed_in_halves(recipe, folder):
    run = Run(recipe, folder)
    assert run.embed(Partition(1, 2)) is None
    store = run.embed(Partition(0, 2))
    assert len(store) == TEXTS
    assert not store.damaged()


def _embed_and_train(recipe, folder):
    run = Run(recipe, folder)
    run.embed()
    run.train()


def test_a_partition_by_hand_is_done_by_all(recipe, tmp_path):
    assert together.join(together.start(2, _embed_in_halves, load_recipe(recipe), tmp_path / "run")) == [0, 0]


def test_all_train_as_many_steps_as_the_first_found_time_for(recipe, tmp_path):
    asked = load_recipe(recipe)
    arguments = {**asked.training.arguments, "eval_steps": 0.5, "save_steps": 0.5, "per_device_train_batch_size": 64}
    del arguments["max_steps"]
    timed = replace(asked, training=replace(asked.training, budget_minutes=0.01, arguments=arguments))
    assert together.join(together.start(2, _embed_and_train, timed, tmp_path / "run")) == [0, 0]
    steps = json.loads((tmp_path / "run" / "recipe.json").read_text())["resolved"]["training"]["arguments"]["max_steps"]
    assert steps >= 1
    assert (tmp_path / "run" / "checkpoints" / f"checkpoint-{steps}" / "complete.json").is_file()


def _embed_where_the_first_alone_computes_bfloat16(recipe, folder):
    precision.bfloat16_is_fast = lambda device: os.environ["RANK"] == "0"
    store = Run(recipe, folder).embed()
    assert store.fingerprint.precision == "bfloat16"


def test_processes_on_machines_of_two_kinds_use_the_precision_of_the_first(recipe, tmp_path):
    asked = load_recipe(recipe)
    mixed = replace(asked, teacher=replace(asked.teacher, precision="auto"))
    processes = together.start(2, _embed_where_the_first_alone_computes_bfloat16, mixed, tmp_path / "run")
    assert together.join(processes) == [0, 0]
    assert len(list((tmp_path / "run" / "store").glob("shard-*"))) == 2


def _embed_within_a_budget(recipe, folder, max_tokens):
    os.environ["OPENAI_API_KEY"] = KEY
    with pytest.raises(BudgetError, match="the budget of 900 tokens is reached"):
        Run(recipe, folder, max_tokens).embed()


def test_a_process_within_its_budget_finishes_its_shards(recipe, tmp_path, tiny_teacher_folder):
    texts = [f"{number} {'a ' * 60 if number // 10 % 2 == 0 else ''}" for number in range(80)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    asked = load_recipe(recipe)
    with serve(latency=0.2) as server:
        paid = replace(
            asked,
            texts=replace(asked.texts, source=str(tmp_path / "texts.txt")),
            teacher=replace(server.spec(), rows_per_shard=10),
            student=replace(asked.student, backbone=str(tiny_teacher_folder)),
            training=replace(asked.training, held_out_rows=8),
        )
        assert together.join(together.start(2, _embed_within_a_budget, paid, tmp_path / "run", 1800)) == [0, 0]
    numbers = sorted(int(path.name[6:14]) for path in (tmp_path / "run" / "store").glob("shard-*"))
    assert numbers == [0, 1, 3, 5, 7]  # the long texts in the even shards use up the budget of the first process
