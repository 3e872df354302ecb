"""The terminal of a command: messages of the libraries, the table of results, and how a command ends."""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from leaf_st.errors import InputError

if TYPE_CHECKING:
    from leaf_st.evaluation.results import Result

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


def quieten() -> None:
    """Turn off progress bars and warnings of libraries that tell a user nothing; download bars stay."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    # mteb reports which tasks have a successor, and which tasks are new.
    warnings.filterwarnings("ignore", category=UserWarning, module="mteb")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    # scikit-learn reports a class without texts once per metric and sample of a small test set.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    # sentence-transformers and accelerate pass this argument to torch in each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    downloads_hidden = are_progress_bars_disabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # hides download bars as well
    if not downloads_hidden:
        enable_progress_bars()


def print_results(rows: Sequence["Result"]) -> None:
    """Print the table of ``rows``, or the command that measures some if there are none."""
    from leaf_st.evaluation.results import format_table

    if rows:
        print(format_table(rows))
    else:
        print("not evaluated: the recipe names no local set; try leaf-st evaluate MODEL --teacher TEACHER --tasks NAME")


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
