"""The command line: ``leaf-st demo | run | embed | train | evaluate | search | models | pull``.

Heavy imports wait until a command needs them, so that ``--help`` and a typing error answer at once.
"""

import argparse
import errno
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st import __version__
from leaf_st.errors import InputError
from leaf_st.launch import is_one_of_several, start_all
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.recipe_file import load_recipe

if TYPE_CHECKING:
    from leaf_st.evaluation.modes import Mode
    from leaf_st.evaluation.results import Result
    from leaf_st.run import Run

MODES: tuple["Mode", ...] = ("teacher", "standard", "asymmetric")
_UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}
_EPILOG = "https://arxiv.org/abs/2509.12539 describes the method. Each stage goes on where it was stopped."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    if arguments is None and is_one_of_several():
        start_all(sys.argv[1:])
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # of several processes the first one shows its bars, which stand for all
    command: Callable[[argparse.Namespace], None] = options.command
    with ending_in_a_line("leaf-st", "embedding and training go on from here with the same command"):
        command(options)


@contextmanager
def ending_in_a_line(program: str, resumption: str) -> Iterator[None]:
    """End the process with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C.

    Args:
        program: Stands before what is wrong.
        resumption: What of it goes on, and how; said on Ctrl-C.
    """
    try:
        yield
    except InputError as error:
        _fail(program, str(error))
    except KeyboardInterrupt:
        print(f"\nstopped; {resumption}", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        reason = f"{error.strerror}: {error.filename or 'output'}; make room there or name another place, then go on"
        _fail(program, reason)


def _fail(program: str, message: str) -> None:
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"{program}: {line}", file=sys.stderr)
    sys.exit(2)


def _demo(options: argparse.Namespace) -> None:
    from leaf_st.demo import demo

    _quieten()
    demo(options.output)


def _run(options: argparse.Namespace) -> None:
    run = _open(options)
    if options.dry_run:
        from leaf_st.plan import format_plan, plan

        planned = plan(run.recipe, run.folder)
        if run.goes_on_alone():
            print(format_plan(planned))
        return
    if run.embed() is not None:
        run.train()
        if run.goes_on_alone():
            run.measure_alignment()
            _print_results(run.evaluate())


def _embed(options: argparse.Namespace) -> None:
    index, _, count = options.partition.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise InputError(f"--partition {options.partition}: expected I/N, such as 0/4")
    run = _open(options)
    store = run.embed((int(index), int(count)))
    if run.goes_on_alone():
        print(f"{len(store):,} rows in {store.folder}" if store else "other partitions are still to come")


def _train(options: argparse.Namespace) -> None:
    run = _open(options)
    run.train()
    if run.goes_on_alone():
        print(f"the student is in {run.folder / 'model'}")


def _evaluate(options: argparse.Namespace) -> None:
    from leaf_st.evaluation.beir import check_folders
    from leaf_st.evaluation.results import write_results
    from leaf_st.evaluation.retrieval import evaluate_retrieval
    from leaf_st.student.load import load_student, load_teacher

    _quieten()
    check_folders(options.data)
    student = load_student(options.model)
    teacher = load_teacher(TeacherSpec(model=options.teacher), student) if options.teacher else None
    modes: Sequence[Mode] = list(dict.fromkeys(options.modes or ())) or (MODES if teacher else ["standard"])
    rows: list[Result] = []
    if options.json and (options.json.is_dir() or not options.json.resolve().parent.is_dir()):
        raise InputError(f"--json {options.json}: expected a file in a folder that is there")
    for folder in options.data:
        rows += evaluate_retrieval(folder, teacher=teacher, student=student, modes=modes)
        if options.json:
            write_results(options.json, rows)
    _print_results(rows)


def _search(options: argparse.Namespace) -> None:
    from collections import Counter

    from leaf_st.evaluation.search import format_hits, search
    from leaf_st.student.load import load_student, load_teacher
    from leaf_st.texts.read import flaw, read_texts

    _quieten()
    if reason := flaw(options.query, "query"):
        raise InputError(f"the query {options.query!r} cannot be used: {reason}")
    spec = TextsSpec(source=str(options.documents), text_column=options.text_column, limit={"query": 0})
    try:
        documents = [row.text for row in read_texts(spec, Counter())]
    except InputError as error:
        named = str(error).replace("texts.source", "--documents").replace("texts.text_column", "--text-column")
        raise InputError(named) from error
    student = load_student(options.model)
    teacher = load_teacher(TeacherSpec(model=options.teacher), student) if options.teacher else None
    hits = search(options.query, documents, student=student, teacher=teacher)
    print(format_hits(hits, shutil.get_terminal_size((150, 24)).columns))


def _models(_: argparse.Namespace) -> None:
    from leaf_st.zoo import describe_zoo

    print(describe_zoo())


def _pull(options: argparse.Namespace) -> None:
    from leaf_st.student.load import pull

    _quieten()
    output = options.output or Path(options.model.rpartition("/")[2])
    pull(options.model, output)
    print(f'{options.model} is in {output}: SentenceTransformer("{output}")')
    if not any(output.rglob("README.md")):
        print("its card and licence were not to be had: look at them on the hub before you hand it on")


def _open(options: argparse.Namespace) -> "Run":
    from leaf_st.run import Run
    from leaf_st.smoke import smoke

    recipe = load_recipe(options.recipe, options.set)
    _quieten()
    folder = options.output or Path("runs") / (f"{recipe.name}-smoke" if options.smoke else recipe.name)
    return Run(smoke(recipe, folder) if options.smoke else recipe, folder)


def _quieten() -> None:
    """Turn off the bars and warnings of libraries that tell a user nothing; the bars of downloads stay."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    # sentence-transformers and accelerate say this to torch, for each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    without_bars = are_progress_bars_disabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # turns off those of downloads as well
    if not without_bars:
        enable_progress_bars()


def _print_results(rows: Sequence["Result"]) -> None:
    from leaf_st.evaluation.results import format_table

    if rows:
        print(format_table(rows))
    else:
        print("no retrieval set of the recipe is here: leaf-st evaluate MODEL --teacher TEACHER --data FOLDER")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leaf-st",
        description="Distil a text-embedding model into a small one that lives in its vector space.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands.add_parser("demo", help="distil, measure and search, on this machine's own documentation"))
    for name, command, text in (
        ("run", _run, "embed, train and evaluate"),
        ("embed", _embed, "embed the texts with the teacher"),
        ("train", _train, "train the student on what was embedded"),
    ):
        _add_stage(commands.add_parser(name, help=text), name, command)
    _add_evaluate(commands.add_parser("evaluate", help="measure retrieval, beside the teacher and together with it"))
    _add_search(commands.add_parser("search", help="search a file of documents, beside the teacher"))
    models = commands.add_parser("models", help="list the models that have a name here")
    models.set_defaults(command=_models)
    _add_pull(commands.add_parser("pull", help="put a model into a folder"))
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("leaf-demo"), metavar="DIR", help="where the model goes")
    parser.set_defaults(command=_demo)


def _add_stage(parser: argparse.ArgumentParser, name: str, command: Callable[[argparse.Namespace], None]) -> None:
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
    parser.set_defaults(command=command)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="student: folder or hub id")
    parser.add_argument("--teacher", help="teacher: folder or hub id")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="BEIR folders")
    parser.add_argument("--modes", nargs="+", choices=MODES, metavar="MODE", help=f"of {', '.join(MODES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, a row each")
    parser.set_defaults(command=_evaluate)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="what to search for")
    parser.add_argument("--model", required=True, help="student: folder or hub id")
    parser.add_argument("--teacher", help="teacher: folder or hub id")
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="texts, one a row")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of a table (default: text)")
    parser.set_defaults(command=_search)


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name that `leaf-st models` lists, or hub id")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where it goes (default: its name)")
    parser.set_defaults(command=_pull)
