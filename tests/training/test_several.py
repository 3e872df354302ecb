"""Training by several processes: the sampler's parts, and two processes beside one of twice the batch."""

import shutil
import signal

import killable
import numpy as np
import pytest
import together
import torch
from from_scratch import train, validation_losses
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from leaf_st.errors import InputError
from leaf_st.training.sampler import LengthGroupedBatchSampler


@st.composite
def _samplers(draw):
    """Return the sampler of one process, and those of several with as many rows a step together."""
    rows = draw(st.integers(1, 300))
    processes = draw(st.integers(1, 5))
    values = {
        "rows": np.random.default_rng(rows).integers(1, 50, size=rows).astype(np.uint16),
        "batch_size": draw(st.integers(1, 20)) * processes,
        "seed": draw(st.integers(0, 5)),
        "leave_out": np.array(sorted(draw(st.sets(st.integers(0, rows - 1), max_size=rows))), dtype=np.int64),
        "drop_last": draw(st.booleans()),
        "rows_per_chunk": draw(st.integers(1, 50)),
        "chunks_per_window": draw(st.integers(1, 8)),
    }
    samplers = [LengthGroupedBatchSampler(**values, part=(index, processes)) for index in range(processes)]
    one = LengthGroupedBatchSampler(**values)
    for sampler in (one, *samplers):
        sampler.set_epoch(values["seed"] % 3)
    return one, samplers


@settings(deadline=None)
@given(_samplers())
def test_the_parts_of_a_batch_are_the_batch_of_one_process(made):
    one, samplers = made
    batches, parts = list(one), [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(part) for part in parts]
    for number, batch in enumerate(batches):
        assert [row for part in parts for rows in part[number : number + 1] for row in rows] == batch
    assert max(map(len, parts)) == len(batches)


@settings(deadline=None)
@given(_samplers())
def test_parts_are_equally_many_and_large_where_the_last_batch_is_dropped(made):
    one, samplers = made
    if one.drop_last:
        sizes = {len(rows) for sampler in samplers for rows in sampler}
        assert sizes <= {one.batch_size // len(samplers)}
        assert {len(sampler) for sampler in samplers} == {len(one)}


@pytest.fixture(scope="module")
def doubled(recipe, changed):
    """The recipe of one process that has as many rows a step as two of the recipe's own."""
    return changed(recipe, per_device_train_batch_size=16, dataloader_drop_last=True)


def _start(recipe, store, run):
    return together.start(2, killable.train_on, recipe, str(store.folder), str(run))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe, store):
    run = tmp_path_factory.mktemp("two")
    assert together.join(_start(recipe, store, run)) == [0, 0]
    return run


def _weights(run):
    paths = sorted((run / "model").rglob("*.safetensors"))
    assert len(paths) == 2
    return {f"{path.parent.name} {key}": value for path in paths for key, value in load_file(path).items()}


def test_two_processes_train_what_one_does_with_twice_the_batch(finished, doubled, store, tmp_path):
    train(doubled, store, tmp_path)
    assert validation_losses(finished) == pytest.approx(validation_losses(tmp_path), rel=1e-4)
    ours, theirs = _weights(finished), _weights(tmp_path)
    for name, weight in theirs.items():
        if not name.endswith("key.bias"):  # softmax undoes it: its gradient is rounding, of which Adam makes steps
            torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-4)


def test_two_killed_processes_go_on_to_the_same_model(finished, recipe, store, tmp_path):
    processes = _start(recipe, store, tmp_path)
    assert killable.end(processes[0], tmp_path, 15) == -signal.SIGKILL  # in the second epoch
    processes[1].kill()  # as a launcher does
    together.join(processes)
    assert not (tmp_path / "model").exists()
    assert together.join(_start(recipe, store, tmp_path)) == [0, 0]
    assert validation_losses(tmp_path) == validation_losses(finished)
    assert all(torch.equal(weight, _weights(finished)[name]) for name, weight in _weights(tmp_path).items())


def test_one_process_does_not_go_on_where_two_were(finished, recipe, store, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.raises(
        InputError, match="expected 2 processes, as in the training that wrote it, found 1: start 2 processes"
    ):
        train(recipe, store, tmp_path / "run")


def test_a_step_that_the_texts_do_not_fill_is_named(recipe, changed, store, tmp_path):
    large = changed(recipe, per_device_train_batch_size=500, dataloader_drop_last=True)
    with pytest.raises(InputError, match="expected at least 500 texts to train on, for one step of 1 processes, found"):
        train(large, store, tmp_path)
