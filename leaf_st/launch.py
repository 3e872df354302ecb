"""What `accelerate launch` leaves undone: several processes on the CPU.

Of `accelerate launch --cpu --num_processes 2` (and without GPUs of the same without --cpu) accelerate 1.15 makes one
process, unless MPI starts the others. It leaves a place to meet at, and says nowhere but on its own command line how
many were asked for.
"""

import os
import sys
from collections.abc import Sequence

import psutil

_LEFT_BEHIND = {"ACCELERATE_USE_CPU", "MASTER_PORT"}


def is_one_of_several() -> bool:
    """Return whether several processes were asked for, of which this seems to be the only one."""
    return os.environ.keys() >= _LEFT_BEHIND and "RANK" not in os.environ


def start_all(arguments: Sequence[str]) -> None:
    """Become torch's launcher of as many processes as were asked for; return where that cannot be known.

    Args:
        arguments: Of the command line of leaf-st, for each of them.
    """
    count = _asked_for()
    if count is None:
        return
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)  # torch's launcher finds its own
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "leaf_st"]
    os.execv(sys.executable, [sys.executable, *launcher, *arguments])


def _asked_for() -> int | None:
    """Return the number on the command line of the launcher, if it is the one that is meant here."""
    from accelerate.commands.launch import launch_command_parser  # which imports torch

    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    start = next((place for place, word in enumerate(words) if word.endswith("launch")), len(words))
    if start == len(words):
        return None
    options, _ = launch_command_parser().parse_known_args(words[start + 1 :])
    alone = options.num_machines in (None, 1) and options.mpirun_hostfile is None
    return options.num_processes if alone else None
