"""A command of leaf-st in a forked process with limits, for `fuzz.py`; the libraries are imported once."""

import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leaf_st.cli.main import main

CONTEXT = multiprocessing.get_context("forkserver")
# What the commands import; the processes inherit the modules.
PRELOAD = ["_forked", "leaf_st.pipeline.run", "leaf_st.training.train", "leaf_st.publishing.push", "mteb"]
_GUARD = 8 << 30  # bytes of private memory, which protects the machine; the check is the resident memory


@dataclass(frozen=True)
class Outcome:
    """The result of a command.

    Attributes:
        code: The exit code; negative for a signal, None if the time limit ended the process.
        stdout: What the command printed.
        stderr: What the command reported.
        megabytes: The largest resident memory of the process.
        seconds: The duration.
    """

    code: int | None
    stdout: str
    stderr: str
    megabytes: float
    seconds: float


def run(arguments: Sequence[str], folder: Path, logs: Path, seconds: float) -> Outcome:
    """Run ``leaf-st`` with ``arguments`` in ``folder``, at most ``seconds``.

    The output goes to files in ``logs``, and temporary files to ``tmp`` beside that folder.
    """
    for place in (logs, logs.with_name("tmp")):
        place.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    process = CONTEXT.Process(target=_call, args=(list(arguments), folder.resolve(), logs.resolve()))
    process.start()
    process.join(seconds)
    ended = process.exitcode is not None
    if not ended and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    memory = logs / "megabytes"
    return Outcome(
        code=process.exitcode if ended else None,
        # As bytes, because text mode would turn the carriage returns of progress bars into line ends.
        stdout=(logs / "stdout").read_bytes().decode(errors="replace"),
        stderr=(logs / "stderr").read_bytes().decode(errors="replace"),
        megabytes=float(memory.read_text()) if memory.is_file() else 0.0,
        seconds=time.perf_counter() - started,
    )


def _call(arguments: list[str], folder: Path, logs: Path) -> None:
    import torch

    os.setsid()
    for number, name in enumerate(("stdout", "stderr"), start=1):
        os.dup2(os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    tempfile.tempdir = str(logs.with_name("tmp"))
    resource.setrlimit(resource.RLIMIT_DATA, (_GUARD, _GUARD))
    torch.set_num_threads(1)
    try:
        main(arguments)
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        (logs / "megabytes").write_text(str(peak))
