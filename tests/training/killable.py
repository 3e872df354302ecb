"""Trainings in processes of their own, to be killed; this module is what such a process imports."""

import multiprocessing
import os
import random
import signal
import socket
import time
from pathlib import Path

import torch

from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.train import train

# One clean process imports the libraries, which takes seconds, and is forked for each training.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["leaf_st.training.train"])


def start(recipe, store, run):
    process = _CONTEXT.Process(target=_train, args=(recipe, str(store.folder), str(run)))
    process.start()
    return process


def start_together(count, recipe, store, run):
    """Start ``count`` processes that train one student, with what a launcher tells them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(count):
        environment = {key: str(value) for key, value in {**told, "RANK": rank, "LOCAL_RANK": rank}.items()}
        processes.append(_CONTEXT.Process(target=_train, args=(recipe, str(store.folder), str(run), environment)))
        processes[-1].start()
    return processes


def join(processes):
    """Wait for all of them; return the exit codes."""
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def end(process, run, after_step, number=signal.SIGKILL):
    """Send a signal when a checkpoint of ``after_step`` or later is whole, or some time later; return the exit code."""
    while process.is_alive():
        if any(_step(path) >= after_step for path in run.glob("checkpoints/checkpoint-*/complete.json")):
            time.sleep(random.uniform(0, 0.1))  # a few steps, or half a checkpoint
            os.kill(process.pid, number)
            break
        time.sleep(0.002)
    process.join()
    return process.exitcode


def _step(path):
    return int(path.parent.name.removeprefix("checkpoint-"))


def _train(recipe, store, run, environment=None):
    os.environ.update(environment or {}, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)  # as in the tests, or sums would differ in their last bits
    train(recipe, EmbeddingStore(Path(store)), Path(run))
