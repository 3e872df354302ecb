"""How a command ends where it cannot go on: in one line."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from leaf_st.errors import InputError

_UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


@contextmanager
def ending_in_a_line(program: str, resumption: str) -> Iterator[None]:
    """End the process with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C.

    Args:
        program: Stands before what is wrong.
        resumption: What of it goes on, and how; said on Ctrl-C.
    """
    try:
        yield
    except InputError as error:
        _fail(program, str(error))
    except KeyboardInterrupt:
        print(f"\nstopped; {resumption}", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        reason = f"{error.strerror}: {error.filename or 'output'}; make room there or name another place, then go on"
        _fail(program, reason)


def _fail(program: str, message: str) -> None:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"{program}: {line}", file=sys.stderr)
    sys.exit(2)
