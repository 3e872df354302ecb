"""Trainings in processes of their own, to be killed; this module is what such a process imports."""

import os
import random
import signal
import time
from pathlib import Path

import torch
from forked import CONTEXT
from from_scratch import train

from leaf_st.teacher.store import EmbeddingStore


def start(recipe, store, run):
    process = CONTEXT.Process(target=train_on, args=(recipe, str(store.folder), str(run)))
    process.start()
    return process


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


def train_on(recipe, store, run):
    torch.set_num_threads(1)  # as in the tests, or sums would differ in their last bits
    train(recipe, EmbeddingStore(Path(store)), Path(run), device="cpu")
