"""Files and folders that appear whole or not at all, whatever kills the process (design contract 3)."""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it to disk, and rename it to ``path``.

    The temporary name is random, so that two writers, on one machine or two, never share one. A kill leaves the
    temporary file behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Say whether ``path`` is what a kill left of `write_whole` or `replace_folder`."""
    return path.name.startswith(".") and path.suffix in (".tmp", ".new", ".old")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401  (anything that JSON holds)
    """Write ``value`` to ``path`` as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda temporary: _write_text(temporary, text))


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` make a new folder beside ``folder``, then put it in its place.

    Between the two renames a kill can leave no ``folder``, never half a one.
    """
    fresh, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        fill(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # on a full disk its room is needed
        raise
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(folder.parent)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: on POSIX it is the folder that has to be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
