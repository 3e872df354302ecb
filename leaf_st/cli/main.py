"""The command line: the parser, and how a command ends.

Heavy imports wait until a command needs them, so that ``--help`` and a typing error answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from leaf_st import __version__
from leaf_st.cli import measurements, publishing, stages
from leaf_st.errors import InputError, exit_on_error
from leaf_st.field_types import url_problem
from leaf_st.launch import is_one_of_several, start_all

_EPILOG = "https://arxiv.org/abs/2509.12539 describes the method. Each stage goes on where it was stopped."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C."""
    options = build_parser().parse_args(arguments)
    if arguments is None and is_one_of_several():
        start_all(sys.argv[1:])
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # of several processes the first one shows its bars, which stand for all
    with exit_on_error("leaf-st", "the same command resumes embedding, training, evaluation and publishing"):
        _require_local(options)
        options.func(options)


def _require_local(options: argparse.Namespace) -> None:
    for name, value in vars(options).items():
        if isinstance(value, Path) and (problem := url_problem(value)):
            raise InputError(f"{name}: {problem}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``func`` of what it parses carries out the command."""
    parser = argparse.ArgumentParser(
        prog="leaf-st",
        description="Distil a text-embedding model into a small one that lives in its vector space.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (stages, measurements, publishing):
        group.add_commands(commands)
    return parser
