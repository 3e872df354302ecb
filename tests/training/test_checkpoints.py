"""Checkpoints, and trainings that resume from them after a kill."""

import json
import os
import shutil
import signal

import killable
import pytest
import torch
from from_scratch import same_model, train, validation_losses
from safetensors.torch import load_file
from transformers import TrainerCallback

from leaf_st.errors import InputError
from leaf_st.sealed import file_checksum, read_sealed, write_sealed
from leaf_st.training.checkpoints import Stop, complete_checkpoints, last_complete_checkpoint


def test_best_and_last_checkpoints_are_kept(finished):
    steps = {int(path.name.removeprefix("checkpoint-")): path for path in (finished / "checkpoints").iterdir()}
    state = json.loads((steps[max(steps)] / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"] == max(steps)
    assert state["best_model_checkpoint"] in {str(path) for path in steps.values()}
    assert len(steps) == 2


def test_checkpoints_hold_safetensors_and_no_card(finished):
    for folder in (finished / "checkpoints").iterdir():
        names = {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"}
        # torch knows no other form for its own state; it is read with weights_only.
        assert names == {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"}


def test_the_model_is_the_best_checkpoint(finished):
    last = last_complete_checkpoint(finished / "checkpoints")
    best = json.loads((last / "trainer_state.json").read_text())["best_model_checkpoint"]
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        saved, expected = load_file(finished / "model" / name), load_file(f"{best}/{name}")
        assert all(torch.equal(weight, expected[key]) for key, weight in saved.items())


def test_a_training_killed_behind_its_last_step_takes_no_other(tmp_path, recipe, store, changed):
    in_mid_epoch = changed(recipe, max_steps=7, eval_steps=3, save_steps=3)
    train(in_mid_epoch, store, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "model")
    train(in_mid_epoch, store, tmp_path / "killed")
    assert same_model(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("best", ["checkpoint-3", "checkpoint-1"])  # the second is missing
def test_the_student_of_the_last_step_needs_no_best_checkpoint(tmp_path, recipe, store, changed, best):
    of_last_step = changed(recipe, max_steps=6, eval_steps=3, save_steps=3, load_best_model_at_end=False)
    train(of_last_step, store, tmp_path / "whole")
    killed = shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(killed / "model")
    _set_best(killed / "checkpoints" / "checkpoint-6", best)
    train(of_last_step, store, killed)
    assert same_model(killed, tmp_path / "whole")


def _set_best(checkpoint, name):
    """Write that the checkpoint ``name`` of this training had the lowest loss."""
    path = checkpoint / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "best_model_checkpoint": f"elsewhere/{name}"}))
    mark = read_sealed(checkpoint / "complete.json")
    mark["files"][path.name] = file_checksum(path)
    write_sealed(checkpoint / "complete.json", mark)


@pytest.mark.parametrize("after_step", [5, 30])  # of 50; an epoch has 25
def test_a_killed_training_goes_on_to_the_same_model(tmp_path, finished, recipe, store, after_step):
    process = killable.start(recipe, store, tmp_path)
    assert killable.end(process, tmp_path, after_step) == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    train(recipe, store, tmp_path)
    assert validation_losses(tmp_path) == validation_losses(finished)
    assert same_model(tmp_path, finished)


def test_a_training_killed_twice_that_decays_by_epoch(tmp_path, finished_by_epoch, by_epoch, store):
    for after_step in (10, 60):  # of 100
        process = killable.start(by_epoch, store, tmp_path)
        assert killable.end(process, tmp_path, after_step) == -signal.SIGKILL
    train(by_epoch, store, tmp_path)
    assert validation_losses(tmp_path) == validation_losses(finished_by_epoch)
    assert same_model(tmp_path, finished_by_epoch)


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path, finished, recipe, store):
    process = killable.start(recipe, store, tmp_path)
    assert killable.end(process, tmp_path, 10, signal.SIGINT) == 1
    assert last_complete_checkpoint(tmp_path / "checkpoints") is not None
    assert not (tmp_path / "model").exists()
    train(recipe, store, tmp_path)
    assert same_model(tmp_path, finished)


class _CtrlC(TrainerCallback):
    def __init__(self, step):
        self._step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self._step - 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("step", "place"),
    [(10, "passing/checkpoint-10"), (7, "checkpoint-7"), (12, "checkpoint-12")],
)
def test_ctrl_c_in_mid_epoch_validates_nothing(tmp_path, recipe, store, changed, step, place):
    """An epoch has 7 steps, and the training ends in the second one."""
    asked = changed(recipe, eval_strategy="epoch", save_strategy="epoch", per_device_train_batch_size=32, max_steps=12)
    train(asked, store, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(asked, store, tmp_path / "stopped", callbacks=[_CtrlC(step)])
    last = last_complete_checkpoint(tmp_path / "stopped" / "checkpoints")
    assert last.relative_to(tmp_path / "stopped" / "checkpoints").as_posix() == place
    train(asked, store, tmp_path / "stopped")
    assert validation_losses(tmp_path / "stopped") == validation_losses(tmp_path / "whole")
    assert same_model(tmp_path / "stopped", tmp_path / "whole")


def test_half_a_checkpoint_is_not_used(tmp_path, finished):
    shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    whole = last_complete_checkpoint(tmp_path / "checkpoints")
    half = tmp_path / "checkpoints" / "checkpoint-999"
    shutil.copytree(whole, half)
    (half / "complete.json").unlink()
    assert last_complete_checkpoint(tmp_path / "checkpoints") == whole
    assert not half.exists()


def _save_own(checkpoints, target):
    """Save entries of a user beside checkpoints; returns their paths."""
    own = {checkpoints / name for name in ("checkpoint-3-backup", "checkpoint-3 copy", "checkpoint-03", "checkpoint-x")}
    for path in own:
        path.mkdir(parents=True)
        (path / "complete.json").touch()
    archive, named, numbered = (checkpoints / f"checkpoint-{name}" for name in ("3.zip", "best", "999"))
    archive.touch()
    for link in (named, numbered):
        link.symlink_to(target, target_is_directory=True)
    return own | {archive, named, numbered}


def test_copies_links_and_archives_of_checkpoints_stay(tmp_path, finished, recipe, store, changed, monkeypatch):
    monkeypatch.setattr("leaf_st.training.checkpoints._SECONDS_AT_RISK", 0)  # removes one after each step
    checkpoints = tmp_path / "checkpoints"
    own = _save_own(checkpoints, finished) | _save_own(checkpoints / "passing", finished)
    short = changed(recipe, max_steps=6, eval_steps=3, save_steps=3, save_total_limit=1)
    train(short, store, tmp_path)
    steps = complete_checkpoints(checkpoints)
    assert max(steps) == 6
    assert last_complete_checkpoint(checkpoints) == steps[6]
    assert {*checkpoints.glob("checkpoint-*"), *checkpoints.glob("passing/checkpoint-*")} == {*own, *steps.values()}


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"])
def test_a_damaged_checkpoint_is_named_and_not_used(tmp_path, finished, caplog, name):
    checkpoints = shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    last = last_complete_checkpoint(checkpoints)
    _flip(last / name)
    found = last_complete_checkpoint(checkpoints)
    assert found != last
    assert not last.exists()
    assert f"{last / name} is damaged" in caplog.text


def test_a_checkpoint_needs_the_best_one(tmp_path, recipe, store, changed):
    train(changed(recipe, max_steps=6, eval_steps=3, save_steps=3), store, tmp_path)
    checkpoints = tmp_path / "checkpoints"
    last = last_complete_checkpoint(checkpoints)
    state = json.loads((last / "trainer_state.json").read_text())
    best = checkpoints / f"checkpoint-{state['best_global_step']}"
    _flip(best / "model.safetensors")
    found = last_complete_checkpoint(checkpoints)
    assert found is None or found.name < best.name
    assert not best.exists()


def test_a_copy_without_the_best_checkpoint_is_named_and_left_alone(tmp_path, finished):
    checkpoints = shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    last = last_complete_checkpoint(checkpoints)
    _set_best(last, "checkpoint-1")
    before = sorted(checkpoints.rglob("*"))
    missing = f"^{last}: expected {checkpoints}/checkpoint-1 too, .*, found none: restore it, or delete {checkpoints}"
    with pytest.raises(InputError, match=missing):
        last_complete_checkpoint(checkpoints)
    assert sorted(checkpoints.rglob("*")) == before
    shutil.copytree(last, checkpoints / "checkpoint-1")
    assert last_complete_checkpoint(checkpoints) == last


def test_the_oldest_checkpoint_is_the_one_of_the_lowest_step(tmp_path, recipe, store, changed, monkeypatch):
    later = iter(range(9))

    def touch(self, args, state, *_, **__):
        folder = tmp_path / "checkpoints" / f"checkpoint-{state.global_step}"
        os.utime(folder, (1e9 - next(later),) * 2)  # the clock runs backwards

    monkeypatch.setattr("leaf_st.training.checkpoints.SaveByTheClock.on_save", touch)
    train(changed(recipe, max_steps=12, eval_steps=3, save_steps=3, load_best_model_at_end=False), store, tmp_path)
    assert _steps(tmp_path / "checkpoints")[-1] == 12
    assert len(_steps(tmp_path / "checkpoints")) == 2


def test_no_checkpoint_in_a_new_run(tmp_path):
    assert last_complete_checkpoint(tmp_path / "checkpoints") is None


def _steps(folder):
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))


def test_checkpoints_by_the_clock_do_not_push_out_those_asked_for(tmp_path, recipe, store, changed, monkeypatch):
    monkeypatch.setattr("leaf_st.training.checkpoints._SECONDS_AT_RISK", 0)  # one after each step
    several = changed(recipe, max_steps=12, eval_steps=3, save_steps=3, save_total_limit=4)
    train(several, store, tmp_path)
    assert _steps(tmp_path / "checkpoints") == [3, 6, 9, 12]
    assert list(complete_checkpoints(tmp_path / "checkpoints")) == [3, 6, 9, 12]
    assert not _steps(tmp_path / "checkpoints" / "passing")


@pytest.mark.parametrize("limit", [0, -1, None])
def test_all_checkpoints_are_kept_without_a_limit(tmp_path, recipe, store, changed, limit):
    train(changed(recipe, max_steps=4, eval_steps=1, save_steps=1, save_total_limit=limit), store, tmp_path)
    assert _steps(tmp_path / "checkpoints") == [1, 2, 3, 4]


def test_a_training_goes_on_from_a_checkpoint_by_the_clock(tmp_path, recipe, store, changed, monkeypatch):
    short = changed(recipe, max_steps=12, eval_steps=6, save_steps=6)
    train(short, store, tmp_path / "whole")
    monkeypatch.setattr("leaf_st.training.checkpoints._SECONDS_AT_RISK", 0)
    monkeypatch.setattr(Stop, "on_step_end", _break_after(8))
    with pytest.raises(KeyboardInterrupt):
        train(short, store, tmp_path / "killed")
    assert _steps(tmp_path / "killed" / "checkpoints") == [6]
    assert last_complete_checkpoint(tmp_path / "killed" / "checkpoints").parts[-2:] == ("passing", "checkpoint-7")
    monkeypatch.undo()
    train(short, store, tmp_path / "killed")
    assert same_model(tmp_path / "killed", tmp_path / "whole")
    assert not _steps(tmp_path / "killed" / "checkpoints" / "passing")


def test_the_best_checkpoint_by_the_clock_stays(tmp_path, recipe, store, changed, monkeypatch):
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "checkpoint-1").mkdir(parents=True)  # of an earlier version, which validated more than it saved
    write_sealed(checkpoints / "checkpoint-1" / "complete.json", {"files": {"model.safetensors": ""}})  # damaged
    fewer = changed(recipe, max_steps=6, eval_steps=3, save_steps=6)
    monkeypatch.setattr("leaf_st.training.checkpoints._SECONDS_AT_RISK", 0)
    monkeypatch.setattr(Stop, "on_step_end", _break_after(6))
    with pytest.raises(KeyboardInterrupt):
        train(fewer, store, tmp_path)
    assert _steps(checkpoints) == [3]
    assert last_complete_checkpoint(checkpoints).parts[-2:] == ("passing", "checkpoint-5")
    monkeypatch.undo()
    train(fewer, store, tmp_path)
    assert _steps(checkpoints) == [3, 6]


def _break_after(step):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == step:
            raise KeyboardInterrupt

    return on_step_end
