"""The documentation matches the code: README blocks run, docs/cli.md and the tables of docs/recipe.md are generated.

`python tests/test_docs.py` writes both pages.
"""

import argparse
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from leaf_st.arguments import build_parser
from leaf_st.cli import _COMMANDS
from leaf_st.recipe_file import shown_fields
from leaf_st.training.arguments import DEFAULTS, REFUSED

ROOT = Path(__file__).parents[1]
CLI_PAGE = ROOT / "docs" / "cli.md"
RECIPE_PAGE = ROOT / "docs" / "recipe.md"
SEVERAL = """\
On several GPUs, `accelerate launch -m leaf_st run RECIPE` embeds and trains with all of them, in one run folder that
each sees; `embed` and `train` likewise. A step has `per_device_train_batch_size` texts of each process: four of them
with a quarter of the batch train what one does with `dataloader_drop_last=True`. Training goes on with as many
processes as before, from the last checkpoint that the recipe asks for: those of the clock are for one process.
`accelerate launch --cpu --num_processes 2 -m leaf_st run RECIPE` starts two processes on the CPU.
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def cli_page() -> str:
    os.environ["COLUMNS"] = "100"
    parser = build_parser()
    parts = [("leaf-st", parser), *_commands("leaf-st", parser)]
    sections = [f"## {name}\n\n```text\n{part.format_help()}```\n" for name, part in parts]
    head = f"# The command line\n\nMade from `--help`: `python tests/test_docs.py`.\n\n{SEVERAL}\n"
    return head + "\n".join(sections)


def recipe_page() -> str:
    """Return docs/recipe.md with its tables generated again; the text between the tables stays."""
    refused = {remedy: [name for name in REFUSED if REFUSED[name] == remedy] for remedy in REFUSED.values()}
    page = RECIPE_PAGE.read_text(encoding="utf-8")
    for name, table in {
        "fields": _table(("key", "type", "default", "description"), shown_fields()),
        "defaults": _table(("argument", "default"), DEFAULTS.items()),
        "refused": _table(("arguments", "remedy"), [(", ".join(names), remedy) for remedy, names in refused.items()]),
    }.items():
        start, end = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        page = f"{before}{start}{table}{end}{rest.partition(end)[2]}"
    return page


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *([f"`{key}`", *map(_cell, others)] for key, *others in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from _commands(f"{name} {word}", command)


def test_cli_page_is_the_help(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert CLI_PAGE.read_text(encoding="utf-8") == cli_page(), "run python tests/test_docs.py"


def test_recipe_page_is_generated_from_the_types():
    page = RECIPE_PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- end of ") == 3
    assert page == recipe_page(), "run python tests/test_docs.py"


def test_readme_has_python():
    assert blocks("python")


@pytest.mark.parametrize("block", blocks("python"))
def test_readme_python_runs(block: str, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Tiny models under the names that the README uses: a folder of that name comes before the hub.
    for name in set(re.findall(r'(?:SentenceTransformer|build_student)\("([^"]+)"', block)):
        shutil.copytree(tiny_teacher_folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.split("#")[0].strip().startswith("leaf-st ")
    ],
)
def test_readme_commands_parse(line: str):
    options = build_parser().parse_args(shlex.split(line, comments=True)[1:])
    assert options.command in _COMMANDS
    recipe = getattr(options, "recipe", None)
    assert recipe is None or (ROOT / recipe).is_file()


if __name__ == "__main__":
    CLI_PAGE.write_text(cli_page(), encoding="utf-8")
    RECIPE_PAGE.write_text(recipe_page(), encoding="utf-8")
