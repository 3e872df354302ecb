"""The number of torch's threads on a CPU that other processes use too.

The threads of one operation wait for the slowest of them. If another process has a share of one core, each operation
waits until the scheduler gives that core back, and a step on two cores can take several times as long. A step on the
cores that are left takes less time. `recipes/benchmarks/busy_neighbour.py` compares the two.
"""

import os
import time
from typing import Any, NamedTuple

import psutil
import torch
from transformers import TrainerCallback, TrainingArguments

_SECONDS = 2.0  # between two looks at the load: long for the 10 ms ticks of the system's clock, short for a training


class CpuTimes(NamedTuple):
    """Clocks at one moment, in seconds.

    Attributes:
        wall: A clock that only runs forward.
        busy: Time that the usable cores have worked for all processes.
        own: CPU time of this process.
    """

    wall: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> "CpuTimes":
        """Return the times of the cores that this process may use."""
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        # The fields "guest" are part of "user" and "nice". Interrupts and stolen time are no work of a process.
        cores = [times for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in usable]
        busy = sum(times.user + times.system + getattr(times, "nice", 0.0) for times in cores)
        return cls(time.monotonic(), busy, time.process_time())


def free_cores(before: CpuTimes, after: CpuTimes, cores: int) -> float:
    """Return how many of ``cores`` other processes left unused between two moments."""
    return cores - (after.busy - before.busy - (after.own - before.own)) / (after.wall - before.wall)


class ThreadsByLoad(TrainerCallback):
    """Uses as many of torch's threads as other processes leave cores for, between 1 and the number at the start.

    The number of threads changes the last bits of sums. If the environment sets OMP_NUM_THREADS, the number is the
    user's and stays. Several processes on a machine stay as they are too, because torchrun sets that variable.
    """

    def __init__(self) -> None:
        self._most = 1
        self._cores = 1
        self._before: CpuTimes | None = None

    def on_train_begin(self, args: TrainingArguments, *_: object, **__: Any) -> None:  # noqa: ANN401
        """Start to measure, if the training has several threads and may choose their number."""
        self._most = torch.get_num_threads()
        if args.device.type == "cpu" and self._most > 1 and "OMP_NUM_THREADS" not in os.environ:
            self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            self._before = CpuTimes.now()

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Set the number of threads by the load of the last seconds."""
        if self._before is None or time.monotonic() - self._before.wall < _SECONDS:
            return
        now = CpuTimes.now()
        threads = min(max(round(free_cores(self._before, now, self._cores)), 1), self._most)
        self._before = now
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    def on_train_end(self, *_: object, **__: object) -> None:
        """Set the number of threads to that at the start."""
        if self._before is not None:
            torch.set_num_threads(self._most)
            self._before = None
