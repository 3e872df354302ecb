"""Commands that cannot write: the disk is full, or a folder is read-only; then the same command again."""

import ctypes
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

from _chaos.children import Ended, call
from _chaos.ground import Ground, files_of
from _chaos.jobs import Undisturbed, undisturbed
from _chaos.trial import Attempt, Outcome, Part, compared

_FULL = ("embed-local", "train", "embed-torchrun", "push", "train-two", "export")
_READ_ONLY = (
    ("embed-local", "."),
    ("train", "."),
    ("train", "store"),
    ("export", "."),
    ("export", "model"),
    ("push", "."),
)
_ENOUGH = 1 << 30
_PAGE = os.sysconf("SC_PAGESIZE")


def _full(ground: Ground) -> Attempt:
    return lambda number, rng: _fill(ground, undisturbed(ground, _FULL[number % len(_FULL)]), rng)


def _fill(ground: Ground, expected: Undisturbed, rng: Random) -> Outcome:
    """Run the command on a disk that has room for a part of its files, then again on a larger one."""
    job = expected.job
    if os.geteuid() != 0:
        job.start(ground)
        limit = rng.randrange(
            max(path.stat().st_size for path in files_of(ground.stage(job.stage or "embed")).values())
        )
        first = call(job.command(ground, partial(_limit_file_size, limit)), ground.logs)
        return _again(ground, expected, first, f"{job.name}: no file larger than {limit:,} bytes")
    with _small_disk(ground.disk):
        job.start(ground)
        used = _used(ground.disk)
        room = used + rng.randrange(max(_PAGE, expected.bytes - used))
        _resize(ground.disk, room)
        first = call(job.command(ground), ground.logs)
        _resize(ground.disk, _ENOUGH)
        return _again(ground, expected, first, f"{job.name}: disk of {room:,} bytes, needs {expected.bytes:,}")


def _again(ground: Ground, expected: Undisturbed, first: Ended, fault: str) -> Outcome:
    done = call(expected.job.command(ground), ground.logs)
    problems = [] if first.is_refused or first.code == 0 else [f"exit code {first.code}: {first.line}"]
    problems += [f"again: exit code {done.code}: {done.line}"] if done.code else []
    equal, left, difference = compared(ground, expected.files)
    problems += [difference] if difference else []
    hit, refused, wrong = first.code != 0, first.is_refused, "; ".join(problems)
    return Outcome(fault, hit=hit, refused=refused, equal=equal, temporaries=left, wrong=wrong)


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ENOUGH}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _resize(folder: Path, size: int) -> None:
    rounded = -(-size // _PAGE) * _PAGE
    subprocess.run(["mount", "-o", f"remount,size={rounded}", str(folder)], check=True)


def _used(folder: Path) -> int:
    return shutil.disk_usage(folder).used


def _limit_file_size(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _read_only(ground: Ground) -> Attempt:
    def attempt(number: int, _: Random) -> Outcome:
        name, folder = _READ_ONLY[number % len(_READ_ONLY)]
        return _close(ground, undisturbed(ground, name), folder)

    return attempt


def _close(ground: Ground, expected: Undisturbed, folder: str) -> Outcome:
    """Run the command without permission to write to ``folder`` and below, then again with permission."""
    expected.job.start(ground)
    ground.run.mkdir(exist_ok=True)
    closed = [ground.run / folder, *(path for path in (ground.run / folder).rglob("*") if path.is_dir())]
    for path in closed:
        path.chmod(0o555)
    first = call(expected.job.command(ground, _obey_permissions), ground.logs)
    for path in filter(Path.exists, closed):
        path.chmod(0o755)
    return _again(ground, expected, first, f"{expected.job.name}: {folder} is read-only")


def _obey_permissions() -> None:
    """Give up the capabilities by which root writes everywhere."""
    if os.geteuid() != 0:
        return
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


PARTS = {"disk-full": Part(40, _full), "read-only": Part(12, _read_only)}
