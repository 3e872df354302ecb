from copy import deepcopy
from itertools import islice

import pytest
import torch

from leaf_st.training.arguments import training_arguments
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.train import initial_student
from leaf_st.training.trainer import LeafTrainer

STEPS, BATCHES = 3, 4


@pytest.mark.parametrize("mapped_from", [0, 1 << 25])  # a gradient of the table that is kept, or made in each batch
def test_a_step_follows_the_mean_gradient_of_its_batches(recipe, changed, store, tmp_path, monkeypatch, mapped_from):
    monkeypatch.setattr("leaf_st.training.cpu._MAPPED_FROM", mapped_from)
    rates = {"learning_rate": 0.1, "end_learning_rate": 0.1}
    spec = changed(
        recipe,
        **rates,
        max_steps=STEPS,
        optim="sgd",  # Adam would turn rounding errors of gradients near 0 into steps
        max_grad_norm=0.0,  # clipping would hide the length of a gradient
        weight_decay=0.0,
        gradient_accumulation_steps=BATCHES,
        per_device_train_batch_size=4,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    student = initial_student(spec, store.fingerprint)
    expected = deepcopy(student)
    trainer = LeafTrainer(student, store, spec.training, training_arguments(spec, tmp_path, "cpu"))
    batches = islice(trainer.get_train_dataloader(), STEPS * BATCHES)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    loss = TeacherAlignedLoss(expected)
    for number, batch in enumerate(list(batches), 1):
        features = {name.removeprefix("text_"): value for name, value in batch.items() if name != "label"}
        (loss([features], batch["label"]) / BATCHES).backward()
        if number % BATCHES == 0:
            optimizer.step()
            optimizer.zero_grad()
    trainer.train()
    assert trainer.state.global_step == STEPS
    for (name, weight), other in zip(student.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(weight, other, atol=1e-6), name
