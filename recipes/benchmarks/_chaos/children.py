"""Commands of leaf-st in process groups of their own, forked from a process that has imported the libraries.

The import of torch takes seconds, and a trial less than one, so that most of a campaign would be imports.
"""

import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "leaf_st.cli.main",
        "leaf_st.pipeline.run",
        "leaf_st.pipeline.export",
        "leaf_st.publishing.push",
        "onnxscript",
        "onnxruntime",
        "openai",
        "pytest",
    ]
)
_LIMIT = 120.0  # seconds; a command that takes longer hangs


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
        errors: What the command wrote to stderr.
    """

    code: int
    seconds: float
    errors: str

    @property
    def is_refused(self) -> bool:
        """Whether the command refused its input: exit code 2, and a line of leaf-st on stderr."""
        return self.code == 2 and "Traceback" not in self.errors and self.line.startswith("leaf-st: ")

    @property
    def line(self) -> str:
        """The last line of leaf-st on stderr, or else the last line."""
        lines = [line for line in self.errors.splitlines() if line.strip()] or [""]  # progress bars write \r
        return next((line for line in reversed(lines) if line.startswith("leaf-st: ")), lines[-1])


class Child:
    """A running command.

    Args:
        command: The command.
        folder: Folder for what the command prints.
    """

    def __init__(self, command: Command, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = folder / f"stderr-{random.getrandbits(32):08x}"
        self._alive, theirs = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_be, args=(command, theirs, self._errors))
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
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        errors = self._errors.read_text(encoding="utf-8", errors="replace") if self._errors.exists() else ""
        self._errors.unlink(missing_ok=True)
        return Ended(code, ended - self.started, errors)

    def kill(self) -> Ended:
        """Send SIGKILL to the process group."""
        pid = self._process.pid
        assert pid is not None
        with suppress(ProcessLookupError):  # the command ended in the meantime
            os.killpg(pid, signal.SIGKILL)
        ended = self.wait()
        assert ended is not None
        return ended


def call(command: Command, folder: Path) -> Ended:
    """Start ``command`` and wait for its end; a command that hangs is killed."""
    child = Child(command, folder)
    return child.wait() or child.kill()


def _be(command: Command, alive: Connection, errors: Path) -> None:
    os.setpgid(0, 0)
    for number, path in ((1, Path(os.devnull)), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
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
    running = {_fork(rank, command.arguments) for rank in range(command.processes)}
    first = 0
    while running:
        pid, status = os.wait()
        running.discard(pid)
        if (code := os.waitstatus_to_exitcode(status)) and not first:
            first = code
            for other in running:
                os.kill(other, signal.SIGTERM)
    return first


def _fork(rank: int, arguments: Sequence[str]) -> int:
    if pid := os.fork():
        return pid
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    code = 1
    try:
        _leaf_st(arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
