"""The parser of all commands."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    SubParsers = object


def at_least_1(text: str) -> int:
    """Return ``text`` as an integer of at least 1, for ``type=`` of an argument."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, found {text}")
    return int(text)


class _Once(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("_given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, f"expected once, found twice: name all values after one {option_string}")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that reports a usage error as one line, which names the command and its help."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` without the usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; run `{self.prog} --help`\n")

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:  # noqa: ANN401
        """Add an argument; an option of several values is given once, because a second one would replace the first."""
        if kwargs.get("nargs") in ("+", "*") and args and args[0].startswith("-") and "action" not in kwargs:
            kwargs["action"] = _Once
        return super().add_argument(*args, **kwargs)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:  # noqa: ANN401
        """Return the value of an argument; refuse empty text, which an unset variable of the shell leaves."""
        # A command itself refuses the empty arguments that follow it. A flag such as --ray has the value "" by itself.
        if not arg_string and action.nargs != argparse.PARSER and action.const != "":
            raise argparse.ArgumentError(action, "expected a value, found empty text")
        return super()._get_value(action, arg_string)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Parse ``args``; an unknown argument is an error of the command that it follows, not of the program."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown
