"""One process at a time in a folder. The system ends a lock with its process, so that no lock outlives a kill."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from leaf_st.errors import InputError

if os.name == "posix":
    import fcntl

# What systems report where folders cannot be locked; NFS reports EBADF, because it needs a descriptor for writing.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
# What systems report where a user must not open the lock of another one, or a mount cannot be written in place.
_NO_FILE = {errno.EACCES, errno.EPERM, errno.EROFS, *_NO_LOCKS}


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Let no other process enter this block with the same ``folder`` until the block ends.

    The lock is on the folder itself and leaves no file. Windows and some network file systems lock no folders: there,
    every process enters.

    Raises:
        InputError: If another process is in the block.
        OSError: If the system could lock the folder, but fails.
    """
    if os.name != "posix" or not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    take = partial(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with _held(descriptor, take, str(folder), "wait for its end, or name another folder"):
        yield


@contextmanager
def only_process_of_part(lock: Path, folder: Path, index: int, count: int) -> Iterator[None]:
    """Let no other process enter this block with the same part of ``folder``, or with all parts, until the block ends.

    The lock is on a byte of the file ``lock``, or on all bytes if the part is the whole. The file stays. Network file
    systems lock files, and the machines of a cluster share such a folder. Every process enters on Windows, and if the
    file cannot be opened.

    Args:
        lock: The file, which is created if it does not exist.
        folder: The folder, for errors.
        index: Number of the part, from 0.
        count: Number of parts; 1 for the whole.

    Raises:
        InputError: If another process is in the block.
        OSError: If the disk is full, or the system could lock the file, but fails.
    """
    if os.name != "posix":
        yield
        return
    what, length = (f"{folder}, partition {index}/{count}", 1) if count > 1 else (str(folder), 0)  # 0 for all bytes
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        yield
        return
    # A network file system without leases keeps the lock of a machine that is gone.
    remedy = f"wait for its end, or delete {lock} if no such process runs on any machine"
    take = partial(fcntl.lockf, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, index)
    with _held(descriptor, take, what, remedy):
        yield


@contextmanager
def _held(descriptor: int, take: Callable[[], None], what: str, remedy: str) -> Iterator[None]:
    """Call ``take`` for a lock, and close the locked ``descriptor`` after the block, which ends the lock.

    Raises:
        InputError: If another process holds the lock.
        OSError: If the system could lock, but fails.
    """
    try:
        take()
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{what}: expected no other process, found one that writes to this folder: {remedy}") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)
