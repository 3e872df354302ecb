"""The terminal of a command: what the library reports, and how a command ends."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

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


class _Console(logging.Handler):
    """Writes INFO records to stdout as plain lines, and warnings to stderr behind the name of the program."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record`` above the progress bars. The streams are looked up at each call: tests replace them."""
        from tqdm import tqdm

        warning = record.levelno >= logging.WARNING
        stream: TextIO = sys.stderr if warning else sys.stdout
        tqdm.write(f"{self._program}: {record.getMessage()}" if warning else record.getMessage(), file=stream)
        stream.flush()


@contextmanager
def messages_shown(program: str) -> Iterator[None]:
    """Show what the ``leaf_st`` loggers report; of several processes, only the first one shows INFO."""
    logger = logging.getLogger("leaf_st")
    level_before = logger.level
    handler = _Console(program)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level_before)
        logger.removeHandler(handler)


@contextmanager
def one_line_errors(program: str, resumption: str) -> Iterator[None]:
    """End the process with 2 and one line on stderr when the input cannot be used, and with 130 on Ctrl-C.

    A reader that closes the pipe, such as ``head``, ends the process silently.

    Args:
        program: The name in front of the line.
        resumption: The line for Ctrl-C: what the same command resumes.
    """
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        _fail(program, str(error))
    except KeyboardInterrupt:
        print(f"\nstopped; {resumption}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Python flushes stdout once more when it exits, and would report the closed pipe there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)  # as a process that SIGPIPE ended
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _fail(program, f"{error.strerror}: {error.filename or 'output'}; {_remedy(error)}")


def _remedy(error: OSError) -> str:
    name = error.filename
    if isinstance(name, str | Path) and Path(name).exists() and not os.access(name, os.R_OK):
        return "make the file readable, or name another file"
    return "make room there or name another folder, then run the same command again"


def _fail(program: str, message: str) -> None:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"{program}: {line}", file=sys.stderr)
    sys.exit(2)
