"""Errors that users see, and the exit codes of commands."""

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn

_CANNOT_WRITE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
}
# What a mount reports that has lost its server or device, or that lacks a function, as mounts of object stores do.
_MOUNT_FAILS = {
    errno.EIO,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.ENOSYS,
}
_FILE_IN_PYARROW_ERROR = re.compile(r"Failed to open local file '(?P<name>.+?)'")
_LONGEST = 2000  # characters of an error; a value of the input may have millions


class InputError(ValueError):
    """The user's input cannot be used: the message names what was expected, what was found, and the remedy."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to restore the error in another process; Python would call the class with the message alone."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[InputError], arguments: tuple[Any, ...], values: dict[str, Any]) -> InputError:
    error = kind.__new__(kind, *arguments)
    vars(error).update(values)
    return error


class FieldError(InputError):
    """A value of a recipe that cannot be used.

    Attributes:
        part: The part of the recipe, such as "texts"; empty for a field of the recipe itself.
        field: The field of the part; empty if the error concerns the part.
        problem: What was expected, what was found, and the remedy.
        value: The value, if the message names it after the field.
    """

    def __init__(self, part: str, field: str, problem: str, value: object = None) -> None:
        self.part, self.field, self.problem, self.value = part, field, problem, value
        super().__init__(self.named(".".join(filter(None, (part, field)))))

    def in_part(self, part: str) -> "FieldError":
        """Return the same error for another part of the same type."""
        return FieldError(part, self.field, self.problem, self.value)

    def named(self, name: str) -> str:
        """Return the message with ``name`` as the name of the field, for callers that set the field by another name."""
        return f"{name if self.value is None else f'{name} {self.value}'}: {self.problem}"


class ModelError(InputError):
    """A model that cannot be found.

    Attributes:
        problem: What was expected, what was found, and the remedy.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.problem = problem
        super().__init__(f"model {name}: {problem}")


class UnreachableError(ModelError):
    """A model that neither the hub's cache nor the hub could give, because the hub cannot be reached."""


class BudgetError(InputError):
    """The next texts would exceed the budget of a paid service."""


def require_kind(argument: str, value: object, kinds: type | UnionType, expected: str) -> None:
    """Check the type of an argument, which a deeper function would report with an attribute that it lacks.

    Args:
        argument: Name of the argument in errors.
        value: The argument.
        kinds: The accepted types.
        expected: The accepted types in words, and after a colon what to do.

    Raises:
        InputError: If ``value`` has another type.
    """
    if not isinstance(value, kinds):
        what, _, remedy = expected.partition(": ")
        raise InputError(f"{argument}: expected {what}, found a {type(value).__name__}: {remedy}")


def cannot_write(error: Exception) -> bool:
    """Return whether ``error`` is about a local file or folder that cannot be written."""
    if not isinstance(error, OSError):
        return False
    return error.errno in _CANNOT_WRITE or (error.errno in _MOUNT_FAILS and error.filename is not None)


@contextmanager
def file_named(path: Path) -> Iterator[None]:
    """Name ``path`` in an error of the system, because reading and writing, unlike opening, name no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def exit_on_error(program: str, resume_hint: str) -> Iterator[None]:
    """Print each user error as one line on stderr, and exit with a code for its type.

    Exit code 2: the input cannot be used (`InputError`), or a file cannot be read or written. Exit code 130: Ctrl-C.
    Exit code 141, without a message: the reader of stdout has closed the pipe. All other exceptions are bugs and keep
    their traceback. A command that starts with a closed stdout or stderr runs, and its output is lost.

    Args:
        program: Name at the start of the line.
        resume_hint: What can be resumed, and how. Printed on Ctrl-C.
    """
    _open_closed_streams()
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        _exit(program, str(error))
    except KeyboardInterrupt:
        print(f"\nstopped; {resume_hint}", file=sys.stderr)
        sys.exit(130)
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        if encoding == "utf-8" or _can_be_file_name(error.object):
            raise
        _exit(
            program,
            f"expected names of files in {encoding}, the encoding of the locale, found {error.object!r}: set "
            "PYTHONUTF8=1, or use another name",
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again on exit
        sys.exit(141)
    except OSError as error:
        if not cannot_write(error):
            raise
        reason, name = error.strerror, error.filename2 or error.filename or "output"
        unreadable = error.filename
        if not error.filename and (opened := _FILE_IN_PYARROW_ERROR.match(str(error.strerror))):
            reason, name = os.strerror(error.errno or 0), opened["name"]
            unreadable = name
        remedy = "free some space or choose another path, then run the same command again"
        if error.errno == errno.EFBIG:
            remedy = (
                "raise the limit for the size of files (ulimit -f), or choose a file system that holds larger files, "
                "then run the same command again"
            )
        elif error.errno in _MOUNT_FAILS:
            remedy = (
                "this file system fails or lacks a function: connect it again or choose a local folder, then run the "
                "same command again"
            )
        elif name == tempfile.gettempdir():
            remedy = "free some space there, or set TMPDIR to a larger folder, then run the same command again"
        elif error.errno == errno.EEXIST:
            remedy = "expected a folder or nothing there: move the file or link, then run the same command again"
        elif _is_unreadable(unreadable):
            remedy = "this file cannot be read: change its permissions or use another file"
        _exit(program, f"{reason}: {name}; {remedy}")


def _can_be_file_name(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _open_closed_streams() -> None:
    """Replace a stream that the caller has closed, which Python sets to None, by one that drops all output."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  (open until the process ends)


def _is_unreadable(name: object) -> bool:
    """Return whether ``name`` is an existing file or folder without permission to read."""
    # os.path.exists, because Path.exists raises for a name that is too long
    return isinstance(name, str) and os.path.exists(name) and not os.access(name, os.R_OK)


def _exit(program: str, message: str) -> NoReturn:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} [...] {line[-_LONGEST // 2 :]}"  # the remedy comes last
    # Control characters of the input would act on the terminal.
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
    if "tqdm" in sys.modules:
        # A progress bar that is still open would share its line with the message. tqdm.write would draw the bars again.
        bars = sys.modules["tqdm"].tqdm
        with bars.get_lock():  # threads may still open and close bars
            opened = tuple(bars._instances)
        for bar in opened:
            bar.clear()
    print(f"{program}: {line}", file=sys.stderr)
    sys.exit(2)
