"""Commands that carry out a recipe: demo, run, embed, train."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.cli.common import SubParsers, print_results, quieten
from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import describe_fields, load_recipe

if TYPE_CHECKING:
    from leaf_st.pipeline.run import Run


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    demo = commands.add_parser("demo", help="distil, measure and search, on this machine's own documentation")
    demo.add_argument("--output", type=Path, default=Path("leaf-demo"), metavar="DIR", help="where the model goes")
    demo.set_defaults(func=_demo)
    for name, text, func in (
        ("run", "embed, train and evaluate", _run),
        ("embed", "embed the texts with the teacher", _embed),
        ("train", "train the student on what was embedded", _train),
    ):
        parser = commands.add_parser(name, help=text)
        _add_stage(parser, name)
        parser.set_defaults(func=func)


def _add_stage(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "run":
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = describe_fields(shutil.get_terminal_size().columns - 2)
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="Python file with a module-level `recipe`")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the recipe, such as student.layers=0,5 or learning_rate=2e-5; may come often",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="run folder (default: runs/NAME)")
    shorter = parser.add_mutually_exclusive_group()
    shorter.add_argument("--smoke", action="store_true", help="two steps with tiny models, to see that it runs")
    if name == "run":
        shorter.add_argument("--dry-run", action="store_true", help="say what it would take, and begin nothing")
    if name == "embed":
        parser.add_argument("--partition", default="0/1", metavar="I/N", help="do part I of N, counted from 0")


def _demo(options: argparse.Namespace) -> None:
    from leaf_st.pipeline.demo import demo

    quieten()
    demo(options.output)


def _run(options: argparse.Namespace) -> None:
    run = _open(options)
    if options.dry_run:
        from leaf_st.pipeline.plan import format_plan, plan

        planned = plan(run.recipe, run.folder)
        if run.leave_group():
            print(format_plan(planned))
        return
    if run.embed() is not None:
        run.train()
        if run.leave_group():
            run.measure_alignment()
            print_results(run.evaluate())


def _embed(options: argparse.Namespace) -> None:
    index, _, count = options.partition.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise InputError(f"--partition {options.partition}: expected I/N, such as 0/4")
    run = _open(options)
    store = run.embed((int(index), int(count)))
    if run.leave_group():
        print(f"{len(store):,} rows in {store.folder}" if store else "other partitions are still to come")


def _train(options: argparse.Namespace) -> None:
    run = _open(options)
    run.train()
    if run.leave_group():
        print(f"the student is in {run.folder / 'model'}")


def _open(options: argparse.Namespace) -> "Run":
    from leaf_st.pipeline.run import Run
    from leaf_st.pipeline.smoke import smoke

    recipe = load_recipe(options.recipe, options.set)
    quieten()
    folder = options.output or Path("runs") / (f"{recipe.name}-smoke" if options.smoke else recipe.name)
    return Run(smoke(recipe, folder) if options.smoke else recipe, folder)
