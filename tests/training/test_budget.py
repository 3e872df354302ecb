from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from leaf_st.errors import InputError
from leaf_st.student.new import new_student
from leaf_st.training import budget
from leaf_st.training.budget import measure_pace, steps_for_budget, trial_texts
from leaf_st.training.trainer import LeafTrainer


@pytest.fixture
def within(recipe, teacher, texts, changed):
    def steps(minutes, **values):
        asked = changed(recipe, budget_minutes=minutes, **values)
        student = new_student(asked, teacher.fingerprint)
        before = {name: weight.clone() for name, weight in student.state_dict().items()}
        found = steps_for_budget(asked, teacher.fingerprint, texts[:110], student)
        assert all(torch.equal(weight, before[name]) for name, weight in student.state_dict().items())
        return found

    return steps


def test_more_minutes_hold_more_steps(within):
    short, long = within(0.2), within(20)
    assert 0 < short < long / 10


def test_validations_are_of_the_budget(within):
    assert within(1, eval_steps=1, save_steps=1) < within(1, eval_steps=1000, save_steps=1000)


def test_a_trial_reports_to_no_service(within, monkeypatch):
    class Service(TrainerCallback):
        def __init__(self):
            pytest.fail("the trial reported")

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Service)
    assert within(1, report_to="tensorboard") > 0


def test_large_batches_are_tried_more_than_once(recipe, changed):
    assert trial_texts(changed(recipe, per_device_train_batch_size=1024)) >= 8 * 1024
    assert trial_texts(changed(recipe, per_device_train_batch_size=4)) == trial_texts(recipe)


@pytest.mark.parametrize("accumulated", [1, 16])
def test_the_time_of_a_step_is_that_of_all_its_texts(accumulated, recipe, teacher, texts, changed, monkeypatch):
    """A clock that counts batches gives times that do not depend on the machine."""
    batches, train = Counter(), LeafTrainer.training_step

    def training_step(*given, **named):
        batches["trained"] += 1
        return train(*given, **named)

    monkeypatch.setattr(LeafTrainer, "training_step", training_step)
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: float(batches["trained"])))
    asked = changed(recipe, gradient_accumulation_steps=accumulated)
    student = new_student(asked, teacher.fingerprint)
    pace = measure_pace(asked, teacher.fingerprint, texts[:110], student)
    assert pace.step == pytest.approx(accumulated, rel=0.1)


def test_a_budget_in_which_nothing_fits(within):
    with pytest.raises(
        InputError, match=r"training\.budget_minutes: expected enough time for one step .*, found 1e-06 min"
    ):
        within(1e-6)


def test_too_few_texts_to_try_with(recipe, teacher, texts, changed):
    with pytest.raises(InputError, match="expected at least 10"):
        steps_for_budget(
            changed(recipe, budget_minutes=1), teacher.fingerprint, texts[:5], new_student(recipe, teacher.fingerprint)
        )


def test_a_trial_reads_as_many_tokens_as_the_training(recipe, teacher, texts, changed, monkeypatch):
    longest, train = [], LeafTrainer.training_step

    def training_step(trainer, model, inputs, *others):
        longest.append(inputs["text_input_ids"].shape[1])
        return train(trainer, model, inputs, *others)

    monkeypatch.setattr(LeafTrainer, "training_step", training_step)
    asked = changed(recipe, max_length=6)
    student = new_student(asked, teacher.fingerprint)
    before = student.max_seq_length
    measure_pace(asked, teacher.fingerprint, texts[:110], student)
    assert max(longest) == 6 < before == student.max_seq_length
