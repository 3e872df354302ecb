"""The command line: the parser, and the call of a command.

Commands import heavy libraries only when they run, so that ``--help`` and usage errors appear immediately.
"""

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from leaf_st import __version__
from leaf_st.cli import measurements, publishing, screen, stages, store, sweep
from leaf_st.cli.arguments import ArgumentParser
from leaf_st.cli.console import messages_shown
from leaf_st.errors import InputError, exit_on_error
from leaf_st.hub.session import limit_waits
from leaf_st.hub.settings import check_numbers
from leaf_st.recipe.types import path_problem, utf_8_problem

_PROGRAM = "leaf-st"
_EPILOG = "The method: https://arxiv.org/abs/2509.12539. Repeat an interrupted command to resume it."
_SECONDS_WITHOUT_BAR = "3"  # a shorter wait needs no progress bar
# Number of new objects after which Python searches for garbage. With the default of Python 3.11, the search takes a
# tenth of the time of importing the libraries.
_NEW_OBJECTS = 10_000
_RESUME_HINT = "the same command resumes embedding, training, evaluation and publishing"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console may lack characters of the texts it shows
    gc.set_threshold(_NEW_OBJECTS)
    with exit_on_error(_PROGRAM, _RESUME_HINT):
        _require_current_folder()
        options = build_parser().parse_args(arguments)
        _require_docstrings()
        _require_temporary_folder()
        # A notebook sets its own backend for the commands of its shell too, and matplotlib refuses an unknown one.
        os.environ["MPLBACKEND"] = "svg"
        os.environ.pop("SOURCE_DATE_EPOCH", None)  # matplotlib reads this date, which no figure of leaf_st has
        _set_progress_bars()
        _require_readable_variables("torch", _variables("TORCH_LOGS"))
        _require_readable_variables("accelerate", _variables("ACCELERATE_LOG_LEVEL"))
        if not _has_home():  # mteb makes a folder for its cache when it is imported
            os.environ.setdefault("MTEB_CACHE", str(Path(tempfile.gettempdir(), "mteb")))
        _use_local_paths(options)
        check_numbers()
        limit_waits()
        with messages_shown(_PROGRAM):
            options.func(options)


def _has_home() -> bool:
    """Return whether files can be written to the home folder, or the folder can be made."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an account has a folder
        return False
    place = next(folder for folder in (home / ".cache", home, *home.absolute().parents) if os.path.exists(folder))
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _require_current_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:  # torch and transformers cannot be imported there
        raise InputError("the current folder does not exist any more: change to another folder") from None


def _require_docstrings() -> None:
    if sys.flags.optimize > 1:
        raise InputError(
            "PYTHONOPTIMIZE or python -OO: expected at most 1, because transformers reads its own docstrings, found "
            f"{sys.flags.optimize}: unset the variable, or leave out -OO"
        )


def _require_temporary_folder() -> None:
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise InputError(
            "temporary files: expected a folder that can be written, such as /tmp, found none: set TMPDIR to such a "
            "folder"
        ) from None


def _set_progress_bars() -> None:
    """Set the variables that tqdm reads when it is imported."""
    given = _variables("TQDM_")
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # the first process shows the progress of all processes
    os.environ.setdefault("TQDM_DELAY", _SECONDS_WITHOUT_BAR)
    _require_readable_variables("tqdm", given)


def _variables(prefix: str) -> list[str]:
    return sorted(name for name in os.environ if name.startswith(prefix))


def _require_readable_variables(library: str, names: Sequence[str]) -> None:
    """Check the variables ``names``, which ``library`` reads when it is imported."""
    if not names:
        return  # an import takes seconds
    try:
        import_module(library)
    except ValueError as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        found = [name for name in names if os.environ[name] and os.environ[name] in reason] or names
        raise InputError(
            f"{', '.join(found)}: expected a value that {library} can read ({reason}): correct or unset it"
        ) from None


def _use_local_paths(options: argparse.Namespace) -> None:
    """Refuse URLs and names that are not UTF-8, and put the home folder in place of ``~``.

    A shell leaves ``~`` in ``--output=~/FOLDER``. Results, which name the evaluation sets, are written in UTF-8.
    """
    for name, value in vars(options).items():
        values = value if isinstance(value, list) else [value]
        for item in values:
            problem = path_problem(item) if isinstance(item, Path) else None
            if isinstance(item, str):
                problem = utf_8_problem(item, "UTF-8", "rename the file, or correct the text")
            if problem:
                raise InputError(f"{name}: {problem}")
        local = [_at_home(item) for item in values]
        setattr(options, name, local if isinstance(value, list) else local[0])


def _at_home(value: object) -> object:
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))  # unlike Path.expanduser, keeps ~NAME if no such user exists
    if isinstance(value, str) and value.startswith("~/") and os.path.exists(found := os.path.expanduser(value)):
        return found  # a model or a set, which may also be a name on the hub
    return value


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the attribute ``func`` of the parsed arguments is the function of the command."""
    parser = ArgumentParser(
        prog=_PROGRAM,
        description="Distil a text-embedding model into a small model in the same vector space.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (stages, screen, sweep, measurements, publishing, store):
        group.add_commands(commands)
    return parser
