"""Commands of leaf-st in process groups of their own, forked from a process that has imported the libraries.

The import of torch takes seconds, and a trial less than one, so that most of a campaign would be imports.
"""

import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
_COMMANDS = ["leaf_st.cli.main", "leaf_st.pipeline.run", "leaf_st.publishing.push", "openai", "pytest"]
_EXPORT = [
    "leaf_st.pipeline.export",
    "onnxscript.function_libs.torch_lib.ops",
    "onnxruntime.quantization",
    "torch.onnx._internal.exporter._torchlib.ops",
    "torch._inductor.codecache",
]
_LIMIT = 120.0  # seconds; a command that takes longer hangs
_STARTS = threading.Lock()  # multiprocessing polls the processes of all threads when one is started


def import_libraries(export: bool) -> None:
    """Choose what the processes import before the first trial; without ``export``, an export imports its own."""
    CONTEXT.set_forkserver_preload([*_COMMANDS, *(_EXPORT if export else ())])


@dataclass(frozen=True)
class Command:
    """A command of leaf-st.

    Attributes:
        arguments: Arguments of leaf-st.
        processes: Number of processes that work together, as ``torchrun --nproc-per-node`` would start them.
        environment: Environment variables.
        setup: Functions that prepare the process before the command.
    """

    arguments: Sequence[str]
    processes: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[Callable[[], None]] = ()


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: Exit code; -9 after SIGKILL.
        seconds: Time from the start of the command to its end.
        printed: What the command wrote to stdout and stderr.
    """

    code: int
    seconds: float
    printed: str

    @property
    def is_refused(self) -> bool:
        """Whether the command refused its input: exit code 2, and a line of leaf-st."""
        return self.code == 2 and "Traceback" not in self.printed and self.line.startswith("leaf-st: ")

    @property
    def line(self) -> str:
        """The last line that begins with the name of leaf-st, or else the last line."""
        plain = re.sub(r"\x1b\[\w", "", self.printed)  # progress bars move the cursor up, and write \r
        lines = [line for line in plain.splitlines() if line.strip()] or [""]
        return next((line for line in reversed(lines) if line.startswith("leaf-st: ")), lines[-1])


class Child:
    """A running command.

    Args:
        command: The command.
        folder: Folder for what the command prints.
    """

    def __init__(self, command: Command, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._printed = folder / f"printed-{random.getrandbits(32):08x}"
        self._alive, theirs = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_be, args=(command, theirs, self._printed))
        with _STARTS:
            self._process.start()
        theirs.close()
        try:
            self.started: float = self._alive.recv()
        except EOFError:
            self.started = time.monotonic()

    def wait(self, seconds: float = _LIMIT) -> Ended | None:
        """Wait until all processes of the command have ended; return None if they have not within ``seconds``."""
        # Each process of the group holds an end of the pipe, which is closed when the last one ends.
        if not self._alive.poll(max(0.0, self.started + seconds - time.monotonic())):
            return None
        ended = time.monotonic()
        with _STARTS:
            self._process.join()
        code = self._process.exitcode
        assert code is not None
        printed = self._printed.read_text(encoding="utf-8", errors="replace") if self._printed.exists() else ""
        self._printed.unlink(missing_ok=True)
        return Ended(code, ended - self.started, printed)

    def kill(self, one: bool = False) -> Ended:
        """Send SIGKILL to the process group, or to ``one`` of the processes that work together."""
        pid = self._process.pid
        assert pid is not None
        with suppress(ProcessLookupError, FileNotFoundError):  # the command ended in the meantime
            workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if one else []
            if workers:
                os.kill(int(workers[-1]), signal.SIGKILL)
            else:
                os.killpg(pid, signal.SIGKILL)
        ended = self.wait(time.monotonic() - self.started + _LIMIT)  # its own time may be over
        assert ended is not None
        return ended


def call(command: Command, folder: Path) -> Ended:
    """Start ``command`` and wait for its end; a command that hangs is killed."""
    child = Child(command, folder)
    return child.wait() or child.kill()


def in_process(run: Callable[[], None]) -> None:
    """Call ``run`` in a process of its own, so that this process needs not import the libraries."""
    process = CONTEXT.Process(target=run)
    with _STARTS:
        process.start()
        process.join()
    if process.exitcode:
        raise RuntimeError(f"{run} ended with exit code {process.exitcode}")


def _be(command: Command, alive: Connection, printed: Path) -> None:
    os.setpgid(0, 0)
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", TQDM_DISABLE="1", **command.environment)
    import torch

    torch.set_num_threads(1)  # sums of several threads differ in their last bits
    for prepare in command.setup:
        prepare()
    alive.send(time.monotonic())
    if command.processes == 1:
        _leaf_st(command.arguments)
    else:
        sys.exit(_launch(command))


def _leaf_st(arguments: Sequence[str]) -> None:
    from leaf_st.cli.main import main

    main(arguments)


def _launch(command: Command) -> int:
    """Fork the processes as a launcher does; if one fails, end the others and return its exit code."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    count = str(command.processes)
    os.environ.update(WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    running = {fork(partial(_work, rank, command.arguments)) for rank in range(command.processes)}
    first = 0
    while running:
        pid, status = os.wait()
        running.discard(pid)
        if (code := os.waitstatus_to_exitcode(status)) and not first:
            first = code
            for other in running:
                os.kill(other, signal.SIGTERM)
    if first < 0:
        os.kill(os.getpid(), -first)  # end as the process did
    return first


def _work(rank: int, arguments: Sequence[str]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    _leaf_st(arguments)


def fork(run: Callable[[], None]) -> int:
    """Call ``run`` in a fork of this process, which ends with its exit code; return the fork's process id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
