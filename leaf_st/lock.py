"""One process at a time in a folder. The system ends a lock with its process, so that no lock outlives a kill."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leaf_st.errors import InputError

if os.name == "posix":
    import fcntl

# What systems report where folders cannot be locked; NFS reports EBADF, because it needs a descriptor for writing.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}


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
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            f"{folder}: expected no other process, found one that writes to this folder: wait for its end, or name "
            "another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)
