"""Ray as the launcher: workers on one machine or on a cluster embed, and this process reads texts and writes shards.

The work item is the number of a shard with its texts. An idle worker gets the next one, so fast workers make more
shards than slow ones. A worker loads the teacher once. It returns the complete content of the shard's file, and this
process only writes the file. The workers therefore need no folder that all nodes share, texts are read and made unique
once, and the store has a single writer.

The workers are plain actors and not `map_batches` of Ray Data. Ray Data cuts rows into blocks as it likes, and its
checkpoint loads the ids of all finished rows into memory. Here, the files of a store state what is finished, and the
order, the retries and the budget of a paid service are decided at one place.

If a worker or its node is lost, a new worker takes its place, and its shard goes to the next idle worker.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.maker import Block, Made
from leaf_st.teacher.protocol import Service, Teacher
from leaf_st.teacher.ray_actor import Actor
from leaf_st.teacher.workers import Make, all_shards

# Of a Ray that is started here. At Ray's own niceness of 15, any other busy process leaves the workers without time.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
_ATTEMPTS = 3  # at a shard, or at loading the teacher without a success
_SHOWN = 400  # characters of Ray's own message

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayWorkers:
    """The engine of a Ray cluster, or of Ray on this machine. It makes all shards.

    Attributes:
        address: Address of the cluster; if None, the cluster that Ray finds (the environment variable RAY_ADDRESS, or a
            cluster on this machine), or else Ray is started on this machine. "local" always starts Ray.
        workers: Number of workers; if None, one for each GPU, or, without GPUs, one for each node.
        gpus: GPUs of a worker, such as 0.5 for two workers on one GPU; if None, 1 if the cluster has GPUs and the
            teacher is loaded by the workers, else 0.
        cpus: CPU cores of a worker; if None, 1, or, for models on CPUs, an equal part of the cores of a node.

    Raises:
        InputError: If Ray is not installed, or ``gpus`` is a number that Ray cannot divide.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    cpus: float | None = None

    def __post_init__(self) -> None:
        """Check what is known without a cluster."""
        if find_spec("ray") is None:
            raise InputError("--ray: expected Ray, which is not installed: pip install 'leaf-st[ray]'")
        for name, value in (("--gpus-per-worker", self.gpus), ("--cpus-per-worker", self.cpus)):
            if value is not None and not (0 <= value <= 1 or (value > 1 and float(value).is_integer())):
                raise InputError(
                    f"{name}: expected a part of one, such as 0.5, or a whole number, found {value:g}: name another "
                    "number"
                )

    @property
    def is_whole(self) -> bool:
        """True: the workers make all shards."""
        return True

    def embed(self, processes: PartialState, make: Make) -> bool:
        """Make all shards; see `leaf_st.teacher.workers.Engine`."""
        if processes.num_processes > 1:
            raise InputError(
                f"--ray: expected one process, found {processes.num_processes}: start the command without a launcher "
                "such as torchrun"
            )
        return make(all_shards, self.maker) is not None

    def maker(self, spec: TeacherSpec, teacher: Teacher, folder: Path) -> "RayMaker":
        """Return the maker of the store ``folder``.

        Args:
            spec: The teacher, for the workers. Its precision is not "auto", or nodes could differ in their precision.
            teacher: The same teacher, opened in this process.
            folder: The store.

        Raises:
            InputError: If the teacher is a table of given vectors.
        """
        if not spec.embeds_new_texts:
            raise InputError(
                f"--ray: expected a teacher that embeds, found given vectors ({spec.in_place_of_model}): leave out "
                "--ray"
            )
        return RayMaker(self, spec, teacher, folder)


@dataclass
class _Worker:
    """A worker as this process sees it.

    Attributes:
        actor: Handle of the `Actor`.
        node: Name of the node; unknown before the teacher is loaded.
    """

    actor: Any
    node: str = "a node"


@dataclass
class _Job:
    """A shard to make.

    Attributes:
        block: The block.
        made: What to call with the path.
        reserved: What was reserved of a budget.
        failures: Number of workers that were lost with this shard.
    """

    block: Block
    made: Made
    reserved: Sequence[int] = ()
    failures: int = 0


@dataclass
class _Call:
    """A call that a worker carries out.

    Attributes:
        worker: The worker.
        job: The shard; None while the worker loads the teacher.
        reserved: What was reserved of a budget for the loading.
    """

    worker: _Worker
    job: _Job | None
    reserved: Sequence[int] = ()


@dataclass
class RayMaker:
    """Makes shards with the workers of ``engine``. Ray starts when the first shard is needed.

    Attributes:
        engine: Number and resources of the workers.
        spec: The teacher, for the workers.
        teacher: The same teacher, opened in this process.
        folder: The store.
    """

    engine: RayWorkers
    spec: TeacherSpec
    teacher: Teacher
    folder: Path
    _workers: int = 0
    _resources: dict[str, float] = field(default_factory=dict)
    _calls: dict[Any, _Call] = field(default_factory=dict)  # by Ray's reference to the result
    _idle: deque[_Worker] = field(default_factory=deque)
    _waiting: deque[_Job] = field(default_factory=deque)
    _failed_to_open: int = 0  # since a worker loaded the teacher
    _connected_here: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._make_all()
        finally:
            self._stop()

    def make(self, block: Block, made: Made) -> None:
        """Give ``block`` to a worker as soon as one is idle; see `leaf_st.teacher.maker.Maker`."""
        if not self._workers:
            self._start()
        job = _Job(block, made)
        job.reserved = self._reserve(block)
        self._waiting.append(job)
        self._give()
        while self._waiting:
            self._advance()
        if block.number == 0 and isinstance(self.teacher, Service):
            self._make_all()  # the first vectors are checked before a service is paid for more

    def _start(self) -> None:
        import ray

        if not ray.is_initialized():
            connect(self.engine.address)
            self._connected_here = True
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        self._workers, self._resources = _plan(self.engine, nodes, loaded=bool(self.spec.models))
        needed = " and ".join(f"{count:g} {name}" for name, count in self._resources.items())
        _logger.info("Ray: %d workers with %s each", self._workers, needed)
        if not any(all(node.get(name, 0) >= count for name, count in self._resources.items()) for node in nodes):
            _logger.warning("no node of the cluster has %s: the workers start when such a node joins", needed)
        for _ in range(self._workers):
            self._hire()

    def _stop(self) -> None:
        if not self._workers and not self._connected_here:
            return
        import ray

        for worker in (*self._idle, *(call.worker for call in self._calls.values())):
            ray.kill(worker.actor)
        if self._connected_here:
            ray.shutdown()

    def _hire(self) -> None:
        """Start a worker, which then loads the teacher."""
        import ray

        device = None if self._resources.get("GPU") else "cpu"
        options = {"num_cpus": self._resources["CPU"], "num_gpus": self._resources.get("GPU", 0)}
        remote = ray.remote(Actor).options(**options, scheduling_strategy="SPREAD")
        worker = _Worker(remote.remote(device, self._workers, Path.cwd()))
        reserved = self.teacher.reserve(()) if isinstance(self.teacher, Service) else ()
        opened = worker.actor.open.remote(self.spec, self.teacher.fingerprint)
        self._calls[opened] = _Call(worker, None, reserved)

    def _reserve(self, block: Block) -> Sequence[int]:
        """Reserve the budget of a block, which may be possible only after other blocks need less than was reserved."""
        if not isinstance(self.teacher, Service):
            return ()
        while True:
            try:
                return self.teacher.reserve(block.rows)
            except InputError:
                if not self._is_busy:
                    raise
                self._advance()

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting) or any(call.job for call in self._calls.values())

    def _make_all(self) -> None:
        while self._is_busy:
            self._advance()

    def _give(self) -> None:
        """Give waiting shards to idle workers."""
        while self._idle and self._waiting:
            worker, job = self._idle.popleft(), self._waiting.popleft()
            self._calls[worker.actor.make.remote(replace(job.block, leftovers=()))] = _Call(worker, job)

    def _advance(self) -> None:
        """Wait until a call ends, and give the worker another shard before the result is written."""
        import ray

        (ended,), _ = ray.wait(list(self._calls))
        call = self._calls.pop(ended)
        try:
            result = ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise InputError(f"{call.worker.node}: {error.cause}") from None
            self._replace(call, f"{type(error.cause).__name__}: {error.cause}")
        except ray.exceptions.RayError as error:
            self._replace(call, _reason(error))
        else:
            self._idle.append(call.worker)
            self._give()
            self._take(call, result)

    def _take(self, call: _Call, result: tuple[Any, ...]) -> None:
        """Take the result of a call: the shard of a job, or the node of a worker that has loaded the teacher."""
        *values, reports = result
        if isinstance(self.teacher, Service):
            self.teacher.settle(call.job.reserved if call.job else call.reserved, reports)
        if call.job is None:
            call.worker.node, self._failed_to_open = values[0], 0
            return
        name, content = values
        write_whole(self.folder / name, lambda temporary: _write(temporary, content), call.job.block.leftovers)
        call.job.made(self.folder / name)

    def _replace(self, call: _Call, reason: str) -> None:
        """Start another worker in place of one that failed, and let another worker make its shard.

        Raises:
            InputError: If this shard, or loading the teacher, has failed too often.
        """
        import ray

        ray.kill(call.worker.actor)  # after an error of a GPU, for example, a process stays unusable
        if isinstance(self.teacher, Service):
            self.teacher.settle(call.job.reserved if call.job else call.reserved, None)
        if call.job is None:
            self._failed_to_open += 1
            what, failures = "loading the teacher", self._failed_to_open
        else:
            call.job.failures += 1
            what, failures = f"shard {call.job.block.number}", call.job.failures
        if failures == _ATTEMPTS:
            raise InputError(
                f"{what}: expected success within {_ATTEMPTS} attempts, found {_ATTEMPTS} failures, the last one on "
                f"{call.worker.node}: {reason}; correct the cause, then run the same command to resume"
            )
        _logger.warning("%s failed on %s and is tried again by another worker: %s", what, call.worker.node, reason)
        self._hire()
        if call.job is not None:
            call.job.reserved = self._reserve(call.job.block)
            self._waiting.appendleft(call.job)


def connect(address: str | None) -> None:
    """Connect to the cluster at ``address``, or start Ray here; see `RayWorkers.address`. Nothing is sent about usage.

    Raises:
        InputError: If there is no such cluster.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises plain exceptions, such as one if its own start takes more than 30 s
        named = "" if address is None else f" {address}"
        raise InputError(
            f"--ray{named}: expected a Ray cluster, found none that can be used ({_reason(error)}): start one with "
            "`ray start --head`, or name another address"
        ) from error


def _plan(engine: RayWorkers, nodes: Sequence[dict[str, float]], loaded: bool) -> tuple[int, dict[str, float]]:
    """Return the number of workers, and the resources of each.

    Args:
        engine: What the user asked for.
        nodes: The resources of each node of the cluster at present.
        loaded: Whether workers load a model, rather than ask a service.
    """
    gpus = engine.gpus
    if gpus is None:
        gpus = float(loaded and any(node.get("GPU", 0) >= 1 for node in nodes))
    cores = [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]
    workers = engine.workers
    if workers is None:
        on_gpus = sum(int(node.get("GPU", 0) / gpus) for node in nodes) if gpus else 0
        workers = max(1, on_gpus or len(cores))
    cpus = engine.cpus
    if cpus is None:
        part = min(cores, default=1.0) / math.ceil(workers / max(1, len(cores)))
        cpus = 1.0 if gpus or not loaded else math.floor(part) if part >= 1 else math.floor(part * 1e4) / 1e4
    return workers, {"CPU": cpus} | ({"GPU": gpus} if gpus else {})


def _reason(error: Exception) -> str:
    """Return the line of Ray's message that states the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "dead because" in line), lines[-1])[:_SHOWN]


def _write(path: Path, content: NDArray[np.uint8]) -> None:
    content.tofile(path)
