"""Processes forked from one that has imported the libraries, which takes seconds."""

import gc
import multiprocessing
import os
import subprocess
import tempfile
from pathlib import Path

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["leaf_st.training.train", "leaf_st.pipeline.run", "leaf_st.texts.paper.fetch"])
# In the processes too, which import this module: see `no_search_for_garbage_in_the_libraries`.
gc.freeze()


def run(function, *arguments):
    """Call ``function`` in a process; return its exit code and output as `subprocess.run` does."""
    with tempfile.TemporaryDirectory() as folder:
        output = [Path(folder) / name for name in ("stdout", "stderr")]
        process = CONTEXT.Process(target=_call, args=(output, function, arguments))
        process.start()
        process.join()
        return subprocess.CompletedProcess(
            function.__name__, process.exitcode, *(path.read_text(encoding="utf-8") for path in output)
        )


def _call(output, function, arguments):
    for number, path in enumerate(output, start=1):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    torch.set_num_threads(1)  # as in the tests, or sums would differ in their last bits
    function(*arguments)
