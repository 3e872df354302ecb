"""The command that trains and compares a family of students: sweep."""

import argparse
import logging
from pathlib import Path

from leaf_st.cli.arguments import SubParsers
from leaf_st.cli.console import quieten
from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import load_recipe

_logger = logging.getLogger(__name__)


def add_commands(commands: SubParsers) -> None:
    """Add the command with its arguments and its function."""
    parser = commands.add_parser("sweep", help="train students of several sizes on one store and compare them")
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="Python file with a module-level `recipe`")
    parser.add_argument(
        "--students",
        nargs="+",
        required=True,
        metavar="NAME",
        help="layers such as 0,4,5; a number of layers such as 3 (layer 0 and the last ones; for 1, the last one); "
        "static; 0,5+15000 keeps 15,000 tokens",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the run folders, one per student (default: runs/NAME-sweep)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[],
        metavar="SET",
        help="sets to evaluate on, as in `leaf-st evaluate` (default: the sets of the recipe that exist)",
    )
    parser.add_argument("--max-mb", type=_positive, metavar="MB", help="choose the best student of at most MB on disk")
    parser.add_argument("--max-ms", type=_positive, metavar="MS", help="choose the best student of at most MS a query")
    parser.set_defaults(func=_sweep)


def _positive(text: str) -> float:
    try:
        if (value := float(text)) > 0:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")


def _sweep(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.recipe, options.set)
    for key in ("student.layers", "student.static"):
        if getattr(recipe.student, key.split(".")[1]) and any(setting.startswith(f"{key}=") for setting in options.set):
            _logger.warning("--set %s has no effect, because --students names the students", key)
    from leaf_st.pipeline.sweep import FIGURE, ROWS, sweep
    from leaf_st.pipeline.sweep_table import best, digits, format_sweep

    quieten()
    folder = options.output or Path("runs") / f"{recipe.name}-sweep"
    rows = sweep(recipe, options.students, folder, options.tasks)
    is_limited = options.max_mb is not None or options.max_ms is not None
    chosen = best(rows, options.max_mb, options.max_ms) if is_limited else None
    print(f"{format_sweep(rows, chosen)}\nsaved in {folder / ROWS} and {folder / FIGURE}")
    if chosen is not None:
        print(f"the chosen student is in {folder / chosen.name}")
    elif is_limited:
        smallest, fastest = min(row.megabytes for row in rows), min(row.milliseconds for row in rows)
        raise InputError(
            f"expected a student within the limits, found none: the smallest has {digits(smallest)} MB, the fastest "
            f"takes {digits(fastest)} ms a query: raise --max-mb or --max-ms, or add students"
        )
