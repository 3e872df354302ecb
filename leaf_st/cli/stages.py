"""Commands that carry out a recipe: demo, run, embed, train. A command's arguments are defined above its function."""

import argparse
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.cli.arguments import SubParsers, at_least_1
from leaf_st.cli.console import print_results, quieten
from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import describe_fields, load_recipe
from leaf_st.run_folder import MODEL

if TYPE_CHECKING:
    from leaf_st.pipeline.run import Run
    from leaf_st.teacher.workers import Engine


_NARROWEST = 40  # characters of a line of the help; the variable COLUMNS may state any number


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    _add_demo(commands.add_parser("demo", help="distil and evaluate a model on this machine's Python documentation"))
    _add_run(commands.add_parser("run", help="embed the texts, train the student, evaluate it"))
    _add_embed(commands.add_parser("embed", help="embed the texts with the teacher"))
    _add_train(commands.add_parser("train", help="train the student on the embedded texts"))


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("leaf-demo"), metavar="DIR", help="model folder (default: leaf-demo)"
    )
    parser.set_defaults(func=_demo)


def _demo(options: argparse.Namespace) -> None:
    from leaf_st.pipeline.demo import demo

    quieten()
    demo(options.output)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = describe_fields(max(shutil.get_terminal_size().columns - 2, _NARROWEST))
    shorter = _add_recipe(parser)
    shorter.add_argument("--dry-run", action="store_true", help="estimate time, disk and price, then exit")
    _add_budget(parser)
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> None:
    run = _open(options)
    if options.dry_run:
        from leaf_st.pipeline.plan import plan
        from leaf_st.pipeline.plan_text import format_plan

        if options.budget_usd is not None or options.max_tokens is not None:
            raise InputError("--dry-run: expected no budget, because a plan states the price: leave out the budget")
        if run.held_out_results() is not None:
            planned = (
                f"the student in {run.folder} is trained and measured: no text is embedded, and nothing is trained"
            )
        elif (run.folder / MODEL).is_dir() and not run.is_without_store:
            planned = f"the student in {run.folder} is trained: no training text is embedded, and nothing is trained"
        else:
            planned = format_plan(plan(run.recipe, run.folder))
        if run.leave_group():
            print(planned)
        return
    # A student whose store was deleted after it was measured needs no vectors, which an API would be paid for again.
    is_measured = run.held_out_results() is not None
    if is_measured or run.embed() is not None:
        run.train()
        if run.leave_group():
            if not is_measured:
                run.measure_alignment()
                run.measure_agreement()
            print_results(run.evaluate(), run.folder)


def _add_embed(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--partition",
        default="0/1",
        metavar="I/N",
        help="embed part I of N, counted from 0, with an Nth of the budget and of an API's limits",
    )
    engine.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="embed with the workers of a Ray cluster, or of Ray on this machine if no cluster is found",
    )
    parser.add_argument(
        "--workers", type=at_least_1, metavar="N", help="with --ray: workers (default: one per GPU or node)"
    )
    parser.add_argument(
        "--gpus-per-worker", type=float, metavar="X", help="with --ray: GPUs of each worker, such as 0.5"
    )
    parser.add_argument("--cpus-per-worker", type=float, metavar="X", help="with --ray: CPU cores of each worker")
    _add_budget(parser)
    parser.set_defaults(func=_embed)


def _embed(options: argparse.Namespace) -> None:
    engine = _engine(options)
    run = _open(options)
    store = run.embed(engine)
    if run.leave_group():
        print(f"{len(store):,} rows in {store.folder}" if store else "other partitions are not embedded yet")


def _engine(options: argparse.Namespace) -> "Engine":
    """Return the engine that the arguments name."""
    resources = {
        "--workers": options.workers,
        "--gpus-per-worker": options.gpus_per_worker,
        "--cpus-per-worker": options.cpus_per_worker,
    }
    if options.ray is not None:
        from leaf_st.teacher.ray_workers import RayWorkers

        return RayWorkers(options.ray or None, options.workers, options.gpus_per_worker, options.cpus_per_worker)
    if given := [name for name, value in resources.items() if value is not None]:
        raise InputError(f"{given[0]}: expected --ray, found no --ray: add --ray, or leave out {given[0]}")
    from leaf_st.teacher.workers import Partition

    index, _, count = options.partition.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise InputError(f"--partition {options.partition}: expected I/N, such as 0/4")
    return Partition(int(index), int(count))


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.set_defaults(func=_train)


def _train(options: argparse.Namespace) -> None:
    run = _open(options)
    run.train()
    if run.leave_group():
        print(f"the student is in {run.folder / MODEL}")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="stop before this command costs more than USD")
    parser.add_argument(
        "--max-tokens", type=at_least_1, metavar="N", help="stop before this command sends an API more than N tokens"
    )


def _add_recipe(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add what `_open` reads; returns the group of --smoke."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="Python file with a module-level `recipe`")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the recipe, such as student.layers=0,5 or learning_rate=2e-5; repeatable",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="run folder (default: runs/NAME)")
    shorter = parser.add_mutually_exclusive_group()
    shorter.add_argument("--smoke", action="store_true", help="test the recipe with tiny models in two steps")
    return shorter


def _open(options: argparse.Namespace) -> "Run":
    recipe = load_recipe(options.recipe, options.set)  # before the imports of torch, so that errors appear immediately
    from leaf_st.pipeline.run import Run
    from leaf_st.pipeline.smoke import smoke

    quieten()
    folder = options.output or Path("runs") / (f"{recipe.name}-smoke" if options.smoke else recipe.name)
    usd, tokens = getattr(options, "budget_usd", None), getattr(options, "max_tokens", None)
    if options.smoke:
        if usd is not None or tokens is not None:
            raise InputError("--smoke: expected no budget, because a smoke run costs nothing: leave out the budget")
        return Run(smoke(recipe, folder), folder)
    if usd is not None and not (math.isfinite(usd) and usd >= 0):
        raise InputError(f"--budget-usd: expected a finite amount of at least 0, found {usd:g}: correct the amount")
    if usd is None and tokens is None:
        return Run(recipe, folder)
    from leaf_st.pipeline.record import resolved_recipe
    from leaf_st.teacher.open import kind_of

    teacher = resolved_recipe(recipe, folder).teacher  # an API may be the teacher of student.start
    return Run(recipe, folder, kind_of(teacher).tokens_of_budget(teacher, usd, tokens))
