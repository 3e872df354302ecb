"""The number of threads follows the load of other processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from from_scratch import train
from transformers import TrainerCallback, TrainingArguments

from leaf_st.recipe import Recipe
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.threads import CpuTimes, ThreadsByLoad, free_cores

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")


@pytest.fixture
def several_threads() -> Iterator[int]:
    """Give torch as many threads as there are cores, at least two."""
    before, threads = torch.get_num_threads(), max(2, CORES)
    torch.set_num_threads(threads)
    yield threads
    torch.set_num_threads(before)


@pytest.fixture
def busy_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep two processes a core busy, and look at the load often, because other tests wait for the cores."""
    monkeypatch.setattr("leaf_st.training.threads._SECONDS", 0.5)
    loop = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(loop) for _ in range(2 * CORES)]
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("busy", "own", "free"),
    [
        pytest.param(0, 0, 4, id="nothing runs"),
        pytest.param(40, 40, 4, id="only this process"),
        pytest.param(40, 10, 1, id="others use three cores"),
        pytest.param(40, 0, 0, id="others use all"),
    ],
)
def test_free_cores_are_those_that_others_leave(busy: float, own: float, free: float) -> None:
    before = CpuTimes(wall=100, busy=1000, own=50)
    after = CpuTimes(wall=110, busy=1000 + busy, own=50 + own)
    assert free_cores(before, after, cores=4) == free


@pytest.mark.usefixtures("busy_cores")
def test_a_busy_machine_gets_one_thread_until_the_training_ends(
    arguments: TrainingArguments, several_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = ThreadsByLoad()
    threads.on_train_begin(arguments)
    end = time.monotonic() + 30
    while torch.get_num_threads() > 1 and time.monotonic() < end:
        time.sleep(0.1)
        threads.on_step_begin()
    assert torch.get_num_threads() == 1
    threads.on_train_end()
    assert torch.get_num_threads() == several_threads


class _FailWithOneThread(TrainerCallback):
    def on_step_end(self, *_: object, **__: object) -> None:
        torch.set_num_threads(1)
        raise ZeroDivisionError


def test_a_training_that_fails_gives_the_threads_back(
    recipe: Recipe, store: EmbeddingStore, tmp_path: Path, several_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(ZeroDivisionError):
        train(recipe, store, tmp_path, callbacks=[_FailWithOneThread()])
    assert torch.get_num_threads() == several_threads


@pytest.mark.usefixtures("busy_cores")
def test_a_number_that_the_user_set_stays(
    arguments: TrainingArguments, several_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(several_threads))
    threads = ThreadsByLoad()
    threads.on_train_begin(arguments)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        time.sleep(0.1)
        threads.on_step_begin()
    assert torch.get_num_threads() == several_threads
