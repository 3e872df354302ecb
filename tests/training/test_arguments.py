import json
import os
from dataclasses import fields, replace

import forked
import pytest
from sentence_transformers import SentenceTransformerTrainingArguments

from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import load_recipe, override
from leaf_st.recipe import Recipe, StudentSpec, TextsSpec, TrainingSpec
from leaf_st.recipe.type_names import type_name
from leaf_st.recipe.values import fits, parse_value
from leaf_st.training.arguments import (
    REFUSED,
    argument_types,
    check_arguments,
    named_arguments,
    training_arguments,
    unused_gpus,
)

RECIPE = Recipe(name="tiny", training=TrainingSpec(arguments={"learning_rate": 2e-5}))


def _given(**arguments):
    return replace(RECIPE, training=TrainingSpec(arguments=arguments))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("bf16=false", False),
        ("bf16=True", True),
        ("bf16=False", False),
        ("dataloader_drop_last=false", False),
        ("load_best_model_at_end=false", False),
        ("torch_compile=false", False),
        ("tf32=null", None),
        ("save_steps=0.1", 0.1),
        ("save_steps=100", 100),
        ("learning_rate=2e-5", 2e-5),
        ("max_steps=1e3", 1000),
        ("report_to=none", "none"),
        ("run_name=2024", "2024"),
        ("run_name=true", "true"),
        ("run_name=a=b", "a=b"),
        ("eval_strategy=epoch", "epoch"),
        ('fsdp_config={"min_num_params": 1, "xla": false}', {"min_num_params": 1, "xla": False}),
        ("accelerator_config={'split_batches': True}", {"split_batches": True}),
        ("label_names=a,b", ["a", "b"]),
    ],
)
def test_a_setting_is_read_by_the_declared_type(setting, value):
    arguments = override(RECIPE, [setting]).training.arguments
    found = arguments[setting.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)
    assert arguments["learning_rate"]


def test_every_argument_has_a_type_that_is_understood():
    for item in fields(SentenceTransformerTrainingArguments):
        if item.init:
            hint = argument_types()[item.name]
            assert type_name(hint)
            parse_value("1", hint)
            assert not fits(object(), hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("push_to_hub", False),
        ("push_to_hub", True),
        ("push_to_hub_model_id", "us/model"),
        ("hub_model_id", "us/model"),
        ("hub_token", "x"),
        ("hub_strategy", "end"),
        ("trackio_space_id", "us/runs"),
        ("trackio_static_space_id", False),
    ],
)
def test_training_never_publishes(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"^{name}: a recipe cannot set this argument: .*`leaf-st push`"):
        training_arguments(_given(**{name: value}), tmp_path, "cpu")


@pytest.mark.parametrize("name", [name for name in REFUSED if "*" not in name])
def test_an_argument_that_would_have_no_effect_is_refused_with_the_remedy(tmp_path, name):
    assert name in argument_types()
    with pytest.raises(InputError, match=rf"^{name}: a recipe cannot set this argument: "):
        training_arguments(_given(**{name: 1}), tmp_path, "cpu")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("data_seed", "set seed"), ("auto_find_batch_size", "lower per_device_train_batch_size and raise gradient_acc")],
)
def test_the_remedy_for_an_argument_without_effect_is_an_argument_with_it(tmp_path, name, remedy):
    with pytest.raises(InputError, match=f": {remedy}.* instead$"):
        training_arguments(_given(**{name: 1}), tmp_path, "cpu")


def test_a_checkpoint_at_sigterm_is_refused_because_training_would_end_as_if_finished():
    with pytest.raises(InputError, match=r"^enable_jit_checkpoint: .*: a run saves a checkpoint every two minutes, "):
        check_arguments(override(RECIPE, ["enable_jit_checkpoint=true"]))


@pytest.mark.parametrize(
    ("setting", "default"),
    [("report_to", "none"), ("metric_for_best_model", "eval_loss"), ("greater_is_better", False)],
)
def test_none_is_the_default_of_an_argument_in_which_transformers_replaces_none(setting, default):
    recipe = override(RECIPE, [f"{setting}=None"])
    check_arguments(recipe)
    assert named_arguments(recipe, "cpu")[setting] == default


def test_none_stays_none_elsewhere():
    assert named_arguments(_given(save_total_limit=None), "cpu")["save_total_limit"] is None


def test_an_argument_of_a_loader_that_training_never_uses_has_no_effect(tmp_path):
    with pytest.raises(InputError, match=r"^dataloader_in_order: .*: it has no effect on a distillation; remove the"):
        training_arguments(_given(dataloader_in_order=False), tmp_path, "cpu")


@pytest.mark.parametrize("left", ["no", "fp16", "bf16", "fp8"])
def test_the_recipe_decides_on_the_precision_and_not_what_a_launcher_left(tmp_path, monkeypatch, left):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", left)
    for bf16, precision in ((False, "no"), (True, "bf16")):
        made = training_arguments(_given(bf16=bf16, use_cpu=True), tmp_path, "cpu")
        assert (made.fp16, made.bf16, made.mixed_precision) == (False, bf16, precision)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bf16": "false"}, "bf16: expected true or false, found 'false'"),
        ({"save_steps": "often"}, "save_steps: expected a number above 0, found 'often'"),
        ({"weight_decay": float("nan")}, "weight_decay: expected number, found nan"),
        ({"weight_decay": -1}, "weight_decay: expected a number of at least 0, found -1"),
        ({"max_grad_norm": -0.5}, r"max_grad_norm: expected a number of at least 0, found -0\.5"),
        ({"run_name": 5}, "run_name: expected text or None, found 5"),
        ({"greater_is_better": True}, "^greater_is_better: expected false, because the metric is a loss, found true"),
        ({"max_steps": 0}, "^max_steps: expected a whole number of at least 1, or -1 for all epochs, found 0"),
        ({"seed": 99999999999}, "^seed: expected a whole number of at most 4,294,967,295, found 99,999,999,999"),
        ({"fsdp": "full_shard"}, "^fsdp: expected several processes, found one: start torchrun"),
        ({"ddp_backend": "foo"}, "^ddp_backend: expected several processes, found one: start torchrun"),
        (
            {"dataloader_prefetch_factor": 0},
            "^dataloader_prefetch_factor: expected a whole number of at least 1, found 0",
        ),
        ({"eval_accumulation_steps": 0}, "^eval_accumulation_steps: expected a whole number of at least 1, found 0"),
        ({"max_steps": 1.5}, "max_steps: expected a whole number of at least -1, found 1.5"),
        ({"num_train_epochs": True}, "num_train_epochs: expected a number above 0, found True"),
        ({"learning_rat": 1.0}, "learning_rat: expected a keyword .*; did you mean learning_rate"),
        ({"batch_size": 8}, r"batch_size: expected a keyword .*; did you mean per_device_train_batch_size\?$"),
        (
            {"callbacks": []},
            "callbacks: expected a training argument, found an argument of the trainer",
        ),
        ({"report_to": "wandb"}, "report_to: expected an installed integration, found 'wandb'"),
        ({"report_to": ["none", "no_such"]}, "report_to: expected none, all, or some of .*found 'no_such'"),
        ({"optim": "adamw_8bit"}, "optim: expected an optimizer that works here, found 'adamw_8bit', .*bitsandbytes"),
        (
            {"optim": "galore_adamw", "optim_target_modules": "all-linear"},
            "optim: expected an optimizer that works here, found 'galore_adamw'",
        ),
        (
            {"optim": "galore_adamw"},
            "^optim_target_modules: .* the optimizer galore_adamw .* found none: set optim_target_modules=all-linear",
        ),
        (
            {"optim": "adamw_anyprecision", "adam_beta1": 0.8},
            "^optim: expected an optimizer that works here, found 'adamw_anyprecision', .*torchdistx",
        ),
        ({"optim": "lomo"}, "^optim: expected an optimizer that works here, found 'lomo'"),
        ({"optim": "no_such"}, "optim: expected a known value such as adamw_torch, .*found 'no_such'"),
        ({"optim": "adam"}, "optim: expected a known value such as adamw_torch, .*, found 'adam'"),
        (
            {"optim": "adamw_torch", "optim_args": "betas"},
            "^optim_args: expected settings that the optimizer adamw_torch",
        ),
        ({"adam_beta1": 2.0}, "^adam_beta1: expected settings .* failed with: Invalid beta parameter at index 0: 2"),
        ({"eval_steps": 5}, r"^save_steps: expected eval_steps \(5\), .* found 0.1: set save_steps and eval_steps to"),
        ({"eval_steps": 4, "save_steps": 6}, r"^save_steps: expected eval_steps \(4\), .* found 6"),
        ({"eval_steps": 4, "save_steps": 8}, r"^save_steps: expected eval_steps \(4\), .* found 8"),
        ({"eval_steps": -1}, "eval_steps: expected a number above 0, found -1"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number above 0, found 'fast'"),
        ({"learning_rate": ""}, "learning_rate: expected a number above 0, found empty text"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers: expected a whole number of at least 0, found -1"),
        ({"accelerator_config": "3"}, "accelerator_config: expected mapping, or the path of a JSON file, found '3'"),
        ({"gradient_checkpointing_kwargs": "{"}, "found text that is neither valid JSON nor a Python literal: {"),
        ({"ddp_find_unused_parameters": "x"}, "expected true or false, or None, found 'x'"),
        ({"deepspeed": "ds.json"}, "deepspeed: expected the package deepspeed, found none"),
        ({"fp16": True}, "fp16: expected a GPU, found the device cpu"),
        (
            {"torch_compile_backend": "no_such"},
            "^torch_compile_backend: expected one .* found 'no_such' .*: correct or",
        ),
        ({"torch_compile_mode": "no_such"}, "^torch_compile_mode: expected one that torch has, found 'no_such'"),
        ({"metric_for_best_model": "eval_ndcg"}, "metric_for_best_model: expected loss, found 'eval_ndcg'"),
        ({"eval_strategy": "often"}, "eval_strategy: expected one of no, steps, epoch, found 'often'"),
        ({"eval_strategy": "no"}, "^eval_strategy: expected steps, the save_strategy, .* found no: set both"),
        ({"eval_strategy": "epoch"}, "^eval_strategy: expected steps, the save_strategy, .* found epoch: set both"),
        ({"save_strategy": "no"}, "^save_strategy: expected steps, the eval_strategy, .* found no: set both"),
    ],
)
def test_what_cannot_work_is_named_before_any_work(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        training_arguments(_given(**arguments), tmp_path, "cpu")
    assert not list(tmp_path.iterdir())


def test_a_training_that_began_with_a_multiple_of_the_validated_steps_resumes(tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-8").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-8" / "complete.json").touch()
    for validated, saved in ((4, 8), (0.1, 0.3), (0.2, 0.6), (0.1, 0.7)):  # 0.3 / 0.1 is 2.9999999999999996
        steps = {"eval_steps": validated, "save_steps": saved}
        assert training_arguments(_given(**steps), tmp_path, "cpu").save_steps == saved
    with pytest.raises(InputError, match=r"^save_steps: expected eval_steps \(4\)"):
        training_arguments(_given(eval_steps=4, save_steps=6), tmp_path, "cpu")


def test_without_the_best_checkpoint_fewer_steps_may_be_saved_than_validated(tmp_path):
    arguments = {"eval_steps": 4, "save_steps": 8, "load_best_model_at_end": False}
    assert training_arguments(_given(**arguments), tmp_path, "cpu").save_steps == 8


@pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
def test_a_student_without_layers_has_nothing_to_compute_again(name):
    recipe = _given(**{name: True})
    check_arguments(recipe)
    with pytest.raises(InputError, match=rf"^{name}: .* found student\.static=true: remove"):
        check_arguments(replace(recipe, student=StudentSpec(static=True)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"optim_args": "foo=bar"},
            "optim_args: .* the optimizer adamw_torch_fused reads, found foo=bar, which has no",
        ),
        (
            {"optim": "adamw_torch", "optim_args": "momentum=0.9"},
            "optim_args: .* adamw_torch reads, found momentum=0.9",
        ),
        ({"optim": "sgd", "optim_args": "momentum=0.9, eps=1"}, "optim_args: .* sgd reads, found eps=1"),
        ({"optim": "sgd", "adam_beta1": 0.8}, "adam_beta1: .* sgd reads, found 0.8, which has no effect: remove the"),
        ({"optim": "adafactor", "adam_epsilon": 1e-6}, "adam_epsilon: .* adafactor reads, found 1e-06"),
        ({"optim_target_modules": ["dense"]}, r"optim_target_modules: .* adamw_torch_fused reads, found \['dense'\]"),
    ],
)
def test_a_setting_that_the_optimizer_does_not_read_is_refused(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        training_arguments(_given(**values), tmp_path, "cpu")


@pytest.mark.parametrize(
    "values",
    [
        {"optim": "adamw_torch", "adam_beta1": 0.9, "adam_beta2": 0.99, "adam_epsilon": 1e-8},  # two are the defaults
        {"optim": "sgd", "optim_args": "momentum=0,nesterov=false", "weight_decay": 0.1},
        {"optim": "rmsprop", "optim_args": "alpha=0.9,centered=true"},
        {"optim": "adagrad", "optim_args": "lr_decay=0.1"},
    ],
)
def test_settings_that_the_optimizer_reads_are_accepted(tmp_path, values):
    training_arguments(_given(**values), tmp_path, "cpu")


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "sgd", "adafactor", "rmsprop", "adagrad"])
def test_optimizers_of_torch_and_transformers_work(tmp_path, optim):
    assert training_arguments(_given(optim=optim), tmp_path, "cpu").optim == optim


@pytest.mark.parametrize("name", ["general_loss", "eval_domain_loss"])
def test_the_metric_can_be_one_of_two_validation_sets(name):
    recipe = replace(_given(metric_for_best_model=name), general=TextsSpec(limit=9))
    check_arguments(recipe)
    with pytest.raises(InputError, match="expected loss, found"):
        check_arguments(replace(recipe, general=None))


def test_fp16_replaces_the_default_of_bf16(monkeypatch):
    monkeypatch.setattr("leaf_st.training.arguments.bfloat16_is_fast", lambda _: True)
    assert named_arguments(RECIPE, "cuda")["bf16"] is True
    assert named_arguments(_given(fp16=True), "cuda")["bf16"] is False


def test_a_process_trains_on_one_gpu_and_names_the_launcher_for_all(tmp_path, monkeypatch):
    assert unused_gpus(training_arguments(RECIPE, tmp_path, "cpu")) is None
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    arguments = training_arguments(_given(bf16=False), tmp_path, "mps")  # as on a GPU, without use_cpu
    assert (arguments.n_gpu, arguments.train_batch_size, arguments.parallel_mode.value) == (1, 32, "not_parallel")
    assert unused_gpus(arguments).startswith("training uses one of 4 GPUs: to use all of them, start the command with")
    assert unused_gpus(training_arguments(RECIPE, tmp_path, "cpu")) is None


def test_arguments_of_a_recipe_file_are_checked_as_well(tmp_path):
    path = tmp_path / "recipe.py"
    given = json.dumps({"push_to_hub": 1})
    path.write_text(
        f"from leaf_st.recipe import Recipe, TrainingSpec\n"
        f"recipe = Recipe(name='tiny', training=TrainingSpec(arguments={given}))\n"
    )
    with pytest.raises(InputError, match="push_to_hub: a recipe cannot set"):
        load_recipe(path)


@pytest.mark.parametrize("value", ["none,all", "all,none"])
def test_a_report_to_nothing_or_to_all_stands_alone(value):
    with pytest.raises(InputError, match=r"report_to: expected (none|all) alone, found .*,"):
        check_arguments(override(RECIPE, [f"report_to={value}"]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            '{"*": 0.1}',
            r"learning_rate_mapping: expected regular expressions, .*, found '\*' \(nothing to repeat .*: correct",
        ),
        ('{"linear": -1.0}', r"learning_rate_mapping: expected a number of at least 0 for 'linear', found -1"),
        ('{"linear": "high"}', r"learning_rate_mapping: expected .* found \{'linear': 'high'\}: change the value"),
    ],
)
def test_learning_rates_by_pattern_are_numbers_of_at_least_0(value, expected):
    with pytest.raises(InputError, match=expected):
        check_arguments(override(RECIPE, [f"learning_rate_mapping={value}"]))


def test_a_learning_rate_of_0_keeps_a_part_of_the_student():
    check_arguments(override(RECIPE, ['learning_rate_mapping={"linear": 0}']))


@pytest.mark.parametrize(
    ("settings", "end"), [(["learning_rate=5e-6"], "1e-05"), (["training.end_learning_rate=0.1"], "0.1")]
)
def test_the_learning_rate_does_not_rise(settings, end):
    expected = rf"training\.end_learning_rate: expected at most learning_rate \(.*\), .* found {end}: set training"
    with pytest.raises(InputError, match=expected):
        check_arguments(override(RECIPE, settings))


def test_a_constant_learning_rate_is_accepted():
    check_arguments(override(RECIPE, ["learning_rate=1e-5", "training.end_learning_rate=1e-5"]))


def _compile_without_a_compiler(folder):
    os.environ |= {"PATH": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder)}
    for name in ("CC", "CXX"):
        os.environ.pop(name, None)
    with pytest.raises(
        InputError, match=r"^torch_compile: does not work on this machine \(.*compiler.*\): set torch_compile"
    ):
        training_arguments(_given(torch_compile=True), folder, "cpu")


def test_a_missing_compiler_is_named_before_any_work(tmp_path):
    done = forked.run(_compile_without_a_compiler, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_nested_value_is_not_shared_with_the_recipe():
    recipe = override(RECIPE, ['accelerator_config={"gradient_accumulation_kwargs": {"num_steps": 4}}'])
    named_arguments(recipe, "cpu")["accelerator_config"]["gradient_accumulation_kwargs"]["num_steps"] = 1
    assert recipe.training.arguments["accelerator_config"] == {"gradient_accumulation_kwargs": {"num_steps": 4}}
