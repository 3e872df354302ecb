"""Fill the generated blocks of README and docs: the command line's help, the recipe's fields, tables of results.

Command:  python docs/generate.py

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. NAME is ``cli``, ``recipe``, or
``MODEL/MEASUREMENT`` for the rows in ``model_cards/MODEL/results/``. tests/test_docs.py compares
the pages with what this script writes.
"""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

from leaf_st.cli.main import build_parser
from leaf_st.evaluation.measurements.registry import MEASUREMENTS
from leaf_st.pipeline.recipe_file import format_fields

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
        return format_fields()
    model, _, measurement = name.partition("/")
    found = next(each for each in MEASUREMENTS if each.name == measurement)
    rows = found.read(ROOT / "model_cards" / model / "results")
    return f"```text\n{found.table(rows)}\n```\n"


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
