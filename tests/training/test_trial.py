from dataclasses import replace

import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe, TextsSpec, TrainingSpec
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.training import trial
from leaf_st.training.trial import for_another_student, try_arguments

FINGERPRINT = Fingerprint("t", "r", {"query": "q: ", "document": ""}, 32, "mean", "float32", True, 8, "cosine")
RECIPE = Recipe(name="tiny", training=TrainingSpec(arguments={"use_cpu": True, "bf16": False, "report_to": "none"}))


def _with(**arguments):
    return replace(RECIPE, training=replace(RECIPE.training, arguments={**RECIPE.training.arguments, **arguments}))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"dataloader_persistent_workers": True},
            "ValueError: persistent_workers option needs num_workers > 0",
        ),
        (
            {"include_for_metrics": ["inputs", "loss"], "eval_on_start": True},
            "KeyError: 'input_ids'; change or remove include_for_metrics$",
        ),
        (
            {
                "gradient_accumulation_steps": 4,
                "accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 4}},
            },
            "ValueError: .*num_steps.*; change or remove accelerator_config, gradient_accumulation_steps$",
        ),
        ({"debug": "underflow_overflow"}, "NotImplementedError: .*; change or remove debug$"),
        ({"debug": "underflow_overflow", "seed": 1}, "NotImplementedError: .*; change or remove debug$"),
    ],
)
def test_arguments_that_only_training_refuses_are_named(arguments, reason, capfd):
    with pytest.raises(InputError, match=rf"^training arguments: .* a trial of one step failed with {reason}"):
        try_arguments(_with(**arguments), FINGERPRINT, "cpu")
    assert not any(capfd.readouterr())


@pytest.mark.parametrize("general", [None, TextsSpec(limit=64)])
def test_arguments_that_work_are_tried_silently(general, capfd, caplog):
    recipe = _with(
        adam_beta1=0.8,
        eval_delay=7,
        learning_rate_mapping={"no_such": 0.1},
        dataloader_drop_last=True,  # the trial has fewer texts than the batch
        per_device_train_batch_size=256,
    )
    try_arguments(replace(recipe, general=general), FINGERPRINT, "cpu")
    assert not any(capfd.readouterr())
    assert not caplog.messages


def test_a_tiny_student_gets_no_names_of_the_real_one():
    arguments = {"learning_rate_mapping": {"layer.11": 0.1}, "optim_target_modules": ["layer.11"], "max_steps": 3}
    of_every_student = {"learning_rate_mapping": {}, "optim_target_modules": "all-linear"}
    assert for_another_student(arguments) == {**arguments, **of_every_student}


def _trained(recipe, *_):
    """Fail as a training whose arguments b and c do not work together, and that refuses the usual seed 7."""
    arguments = recipe.training.arguments
    if {"b", "c"} <= arguments.keys():
        raise KeyError("b with c")
    if arguments.get("seed") == 7:
        raise KeyError("seed")
    if arguments.get("d") == 1:
        raise OSError("no space")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": 1, "b": 1, "c": 1}, "KeyError: 'b with c'; change or remove b, c$"),
        ({"a": 1, "seed": 7}, "KeyError: 'seed'; change or remove seed$"),
        ({"b": 1, "c": 1, "seed": 7}, "KeyError: 'seed'; change or remove seed$"),
        ({"b": 1, "c": 1, "d": 1}, "KeyError: 'b with c'; change or remove b, c$"),
    ],
)
def test_only_arguments_that_the_failure_needs_are_named(arguments, message, monkeypatch):
    monkeypatch.setattr(trial, "_train", _trained)
    with pytest.raises(InputError, match=message):
        try_arguments(_with(**arguments), FINGERPRINT, "cpu")


def test_a_failure_without_any_argument_names_none(monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(trial, "_train", fail)
    with pytest.raises(InputError, match=r"; correct what the error names: no argument causes it$"):
        try_arguments(_with(adam_beta1=0.8), FINGERPRINT, "cpu")


def test_a_variable_of_accelerate_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "none")
    with pytest.raises(InputError, match=r"no argument causes it: unset ACCELERATE_DYNAMO_BACKEND=none, "):
        try_arguments(_with(max_steps=3), FINGERPRINT, "cpu")


def test_a_rate_that_lets_a_loss_explode_is_named_and_not_what_led_to_the_trial():
    with pytest.raises(InputError, match=r"; change or remove learning_rate$"):
        try_arguments(_with(learning_rate=1e30, eval_on_start=True), FINGERPRINT, "cpu")


def test_usual_arguments_need_no_trial(monkeypatch):
    monkeypatch.setattr(trial, "_train", lambda *_: pytest.fail("a trial was made"))
    try_arguments(_with(learning_rate=0.1, max_steps=3), FINGERPRINT, "cpu")
