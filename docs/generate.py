"""Fill the generated blocks of README and docs: the command line's help, the recipe's fields, tables of results.

Command:  python docs/generate.py

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. NAME is ``cli``, ``recipe``,
``argument_defaults``, ``refused_arguments``, or ``MODEL/MEASUREMENT`` for the rows in ``model_cards/MODEL/results/``.
tests/test_docs.py compares the pages with what this script writes.
"""

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from leaf_st.cli.main import build_parser
from leaf_st.evaluation.measurements.registry import MEASUREMENTS
from leaf_st.pipeline.recipe_file import shown_fields
from leaf_st.training.arguments import DEFAULTS, REFUSED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_COLUMNS = "100"  # width of the help texts


def filled(page: Path) -> str:
    """Return the text of ``page`` with its generated blocks filled."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_content(block[2])}{block[4]}", page.read_text(encoding="utf-8"))


def _content(name: str) -> str:
    if name == "cli":
        return _help()
    if name == "recipe":
        return _markdown(("key", "type", "default", "description"), shown_fields())
    if name == "argument_defaults":
        return _markdown(("argument", "default"), DEFAULTS.items())
    if name == "refused_arguments":
        remedies = dict.fromkeys(REFUSED.values())
        names = {remedy: ", ".join(name for name in REFUSED if REFUSED[name] == remedy) for remedy in remedies}
        return _markdown(("arguments", "remedy"), [(names[remedy], remedy) for remedy in remedies])
    model, _, measurement = name.partition("/")
    found = next(each for each in MEASUREMENTS if each.name == measurement)
    rows = found.read(ROOT / "model_cards" / model / "results")
    return f"```text\n{found.table(rows)}\n```\n"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table whose first column is code."""
    cells = [[f"`{first}`", *(str(value).replace("|", "\\|") for value in others)] for first, *others in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *cells])


def _help() -> str:
    os.environ["COLUMNS"] = _COLUMNS  # argparse reads the width of the terminal from here
    parser = build_parser()
    parts = [("leaf-st", parser), *_commands("leaf-st", parser)]
    return "\n".join(f"## {name}\n\n```text\n{part.format_help()}```\n" for name, part in parts)


def _commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from _commands(f"{name} {word}", command)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page), encoding="utf-8")
