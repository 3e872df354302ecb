"""Files and folders that appear complete or not at all, even if the process is killed."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from glob import escape
from pathlib import Path
from typing import Any

from leaf_st.errors import InputError, cannot_write, file_named

_OF_FILE_MANAGERS = (".DS_Store", "Thumbs.db")  # Finder and Windows Explorer write them into folders that they show
# Errors of file systems that sync no folders, such as shared folders of virtual machines, and of a folder that may be
# written but not read. The file is in place then.
_CANNOT_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EPERM)


def write_whole(path: Path, write: Callable[[Path], None], leftovers: Iterable[Path] | None = None) -> None:
    """Call ``write`` with a temporary path in the folder of ``path``, sync the file to disk, and rename it to ``path``.

    The temporary name is random, so two writers never share a file, even on different machines. If the process is
    killed, the temporary file remains until the next call with the same ``path``.

    Args:
        path: The file.
        write: Writes the content to a path.
        leftovers: Temporary files of killed processes, to remove afterwards; by default those of ``path``, for which
            the folder is listed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with file_named(path):
            write(temporary)
            with temporary.open("r+b") as handle:  # Windows syncs only files that are open for writing
                os.fsync(handle.fileno())
            temporary.replace(path)
    except FileNotFoundError:
        # Another writer of `path` took the file for one that a kill left. Its content has then replaced ours.
        if temporary.exists() or not path.exists():
            raise
    finally:
        temporary.unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{escape(path.name)}.{'?' * 8}.tmp") if leftovers is None else leftovers:
        leftover.unlink(missing_ok=True)
    _sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Return whether ``path`` has a temporary name of `write_whole` or `replace_folder`, or is a file manager's own."""
    return path.name in _OF_FILE_MANAGERS or (path.name.startswith(".") and path.suffix in (".tmp", ".new", ".old"))


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Write ``value`` to ``path`` as indented JSON, completely or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda temporary: _write_text(temporary, text))


def read_json(path: Path) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the JSON value in ``path``.

    Raises:
        OSError: If the file cannot be read, or ``path`` is no file.
        ValueError: If the file contains anything else, or a value that is nested too deeply.
    """
    require_file(path)
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(str(error)) from error


def json_or(path: Path, otherwise: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the JSON value in ``path`` if its type is that of ``otherwise``; else, or on a failure, ``otherwise``."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise


def require_file(path: Path) -> None:
    """Check that ``path`` is not a folder, and not a pipe or device, whose reader might wait for ever.

    Raises:
        OSError: If ``path`` is anything other than a file. A missing file is not an error here.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Call ``fill`` with the path of a new folder, then replace ``folder`` with the new folder.

    A kill between the two renames leaves no ``folder``, never an incomplete one. If ``folder`` is a link to a folder,
    the new folder replaces that folder, and the link stays.

    Raises:
        InputError: If the system has no folders there, or cannot rename ``folder``.
        OSError: If the place cannot be written for another reason.
    """
    folder = folder.resolve() if folder.is_symlink() else folder
    fresh, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        fill(fresh)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)  # frees the space if the disk is full
        if isinstance(error, FileNotFoundError) and error.filename == str(fresh) and folder.parent.is_dir():
            raise InputError(f"{folder} cannot be made ({error.strerror}): name another folder") from error
        raise
    if folder.exists():
        _move_away(folder, old, fresh)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(folder.parent)


def _move_away(folder: Path, old: Path, fresh: Path) -> None:
    """Rename ``folder`` to ``old``; if the system refuses, remove ``fresh``.

    Raises:
        InputError: If the system never renames ``folder``.
    """
    try:
        folder.replace(old)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno not in (errno.EBUSY, errno.EXDEV):  # of a mount, and of a lower layer of overlayfs
            raise
        raise InputError(
            f"{folder}: expected a folder that can be replaced, found a mount or a folder of a container image: name "
            "another folder, such as one inside it; a folder of the image can also be deleted"
        ) from error


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable: on POSIX, the folder must be synced, where the file system can do it."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            error.filename = str(folder)  # unlike opening, a sync names no file
            raise


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, if they do not exist.

    Raises:
        InputError: If the system has no folders there, as in /proc.
        OSError: If the place cannot be written for another reason, see `leaf_st.errors.cannot_write`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if cannot_write(error) and error.errno != errno.EEXIST:
            raise
        raise InputError(
            f"{error.filename or folder} cannot be made ({error.strerror}): name another folder"
        ) from error
