"""The commands of the campaign, each with the stage of the run that it starts from."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace

from _chaos.children import Command, fork
from _chaos.ground import Ground, disk_space

REPO = "us/tiny"


@dataclass(frozen=True)
class Job:
    """A command, and the stage that it starts from.

    Attributes:
        name: Name of the command: "embed", "train", "export" or "push".
        stage: The stage of the run before the command; empty for none.
        recipe: Name of the recipe.
        processes: Number of processes.
    """

    name: str
    stage: str = ""
    recipe: str = "local"
    processes: int = 1

    def command(self, ground: Ground, *more: Callable[[], None]) -> Command:
        """Return the command, which counts the texts that it embeds and saves time; ``more`` prepares its processes."""
        arguments = {
            "embed": ("embed", ground.recipe(self.recipe), "--output", str(ground.run)),
            "train": ("train", ground.recipe(self.recipe), "--output", str(ground.run)),
            "export": ground.export,
            "push": ("push", str(ground.run), "--repo-id", REPO, "--without-results"),
        }[self.name]
        setup: dict[str, Callable[[], None]] = {
            "embed": partial(count_embedded, counted_file(ground)),
            "export": time_one_batch,
            "push": fork_consumer,
        }
        first = (setup[self.name],) if self.name in setup else ()
        return ground.command(*arguments, processes=self.processes, setup=(*first, *more))

    def start(self, ground: Ground) -> None:
        """Reset the run to the stage before the command, the hub, and the counts of embedded texts."""
        ground.reset(self.stage)
        ground.api.asked.clear()
        counted_file(ground).unlink(missing_ok=True)


JOBS = {
    "embed-local": Job("embed"),
    "embed-http": Job("embed", recipe="http"),
    "embed-torchrun": Job("embed", processes=2),
    "embed-again": Job("embed", "embed"),
    "train": Job("train", "embed"),
    "train-two": Job("train", "embed", processes=2),
    "export": Job("export", "train"),
    "push": Job("push", "export"),
}


def counted_file(ground: Ground) -> Path:
    """Return the file to which processes write how many texts they embed."""
    return ground.folder / "embedded"


def count_embedded(file: Path) -> None:
    """Let this process write the size of each block to ``file`` before the block is embedded."""
    from leaf_st.teacher import maker
    from leaf_st.teacher.local import LocalTeacher

    embed_rows = maker.embed_rows

    def counted(teacher, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if isinstance(teacher, LocalTeacher):  # and not the random targets of a trial
            with file.open("a") as opened:
                opened.write(f"{len(rows)}\n")
        return embed_rows(teacher, rows)

    maker.embed_rows = counted


def time_one_batch() -> None:
    """Time the exported graphs on one batch without a warm-up: timing takes most of an export of a tiny model."""
    from leaf_st.evaluation import timing

    timing._WARM_UP_SECONDS = 0.0
    timing.measure_latency.__defaults__ = (timing.BATCH_SIZES, 1)


def fork_consumer() -> None:
    """Let the process that reads a model folder as a consumer be a fork of this process without leaf_st."""
    from leaf_st.publishing import consumer

    consumer.subprocess = SimpleNamespace(run=_run_forked)  # type: ignore[assignment]


def _run_forked(command: Sequence[str], **_: object) -> "subprocess.CompletedProcess[str]":
    script, *arguments = command[2:]
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        _, status = os.waitpid(fork(partial(_be_consumer, script, arguments, output.fileno(), errors.fileno())), 0)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            command, os.waitstatus_to_exitcode(status), stdout=output.read(), stderr=errors.read()
        )


def _be_consumer(script: str, arguments: Sequence[str], output: int, errors: int) -> None:
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for name in [name for name in sys.modules if name.partition(".")[0] == "leaf_st"]:
        del sys.modules[name]
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


@dataclass(frozen=True)
class Undisturbed:
    """What a command gives if nothing disturbs it.

    Attributes:
        job: The command.
        seconds: Its duration.
        files: Hash of each file of the run and of the hub's repository, by name.
        bytes: Space on the disk.
    """

    job: Job
    seconds: float
    files: dict[str, str]
    bytes: int


def undisturbed(ground: Ground, name: str) -> Undisturbed:
    """Run the command ``name``, once in a campaign, and return what it gives."""
    if name not in ground.undisturbed:
        job = JOBS[name]
        job.start(ground)
        seconds = ground.require(job.command(ground))
        ground.undisturbed[name] = Undisturbed(job, seconds, ground.snapshot(), disk_space(ground.run))
    found: Undisturbed = ground.undisturbed[name]
    return found
