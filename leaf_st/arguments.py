"""What the commands of the command line take."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st import __version__
from leaf_st.recipe_file import format_recipe_fields

if TYPE_CHECKING:
    from leaf_st.evaluation.modes import Mode

MODES: tuple["Mode", ...] = ("teacher", "standard", "asymmetric")
_EPILOG = "https://arxiv.org/abs/2509.12539 describes the method. Each stage goes on where it was stopped."
_MODEL = "student: run folder, model folder, name that `leaf-st models` lists, or hub id"
_TEACHER = "teacher: folder or hub id"
_RESULTS = "(default: results/ of its run, or results/NAME)"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; ``command`` of what it parses names the command."""
    parser = argparse.ArgumentParser(
        prog="leaf-st",
        description="Distil a text-embedding model into a small one that lives in its vector space.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    demo = commands.add_parser("demo", help="distil, measure and search, on this machine's own documentation")
    demo.add_argument("--output", type=Path, default=Path("leaf-demo"), metavar="DIR", help="where the model goes")
    for name, text in (
        ("run", "embed, train and evaluate"),
        ("embed", "embed the texts with the teacher"),
        ("train", "train the student on what was embedded"),
    ):
        _add_stage(commands.add_parser(name, help=text), name)
    _add_evaluate(commands.add_parser("evaluate", help="measure tasks, beside the teacher and together with it"))
    _add_measure(commands.add_parser("measure", help="measure what it costs and bears: bytes, index, error, time"))
    _add_export(commands.add_parser("export", help="write it as ONNX, beside itself, and compare and time that"))
    _add_search(commands.add_parser("search", help="search a file of documents, beside the teacher"))
    report = commands.add_parser("report", help="write a page of all results of a run, as one file")
    report.add_argument("run", type=Path, metavar="RUN", help="run folder; the page is RUN/report/report.html")
    verify = commands.add_parser("verify", help="check what somebody else meets in a model folder")
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="model folder, or run folder")
    verify.add_argument("--model", metavar="MODEL", help="what it must equal (default: the student of its run)")
    _add_card(commands.add_parser("card", help="print the model card of a run"))
    _add_push(commands.add_parser("push", help="check the model of a run and put it on the hub"))
    commands.add_parser("models", help="list the models that have a name here")
    pull = commands.add_parser("pull", help="put a model into a folder")
    pull.add_argument("model", metavar="MODEL", help="name that `leaf-st models` lists, or hub id")
    pull.add_argument(
        "--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main, or as listed)"
    )
    pull.add_argument("--output", type=Path, metavar="DIR", help="where it goes (default: its name)")
    return parser


def _add_stage(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "run":
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = format_recipe_fields(shutil.get_terminal_size().columns - 2)
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


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("--teacher", help=f"{_TEACHER} (default: for modes that need it, the one that it learned from)")
    parser.add_argument(
        "--tasks",
        nargs="+",
        required=True,
        metavar="NAME",
        help='benchmark or task of mteb, such as NanoBEIR, "MTEB(eng, v2)" or SciFact; BEIR folder; folder with train '
        "and test.parquet (text, label); parquet with sentence1, sentence2 and score or label, or with text, label",
    )
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        metavar="MODE",
        help=f"of {', '.join(MODES)} (default: all with --teacher, else standard)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"results folder of this model, where measurements are kept and go on {_RESULTS}",
    )


def _add_measure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="measurements", metavar="WHAT", required=True, dest="what")
    held_out = "distance to the teacher on the held-out texts of a run, as after its training"
    alignment = kinds.add_parser("alignment", help=held_out)
    alignment.add_argument("model", metavar="RUN", help="run folder")
    for what, text in (
        ("compression", "nDCG@10 of fewer dimensions, int8 and binary (paper Figures 5 and 6)"),
        ("index", "recall and nDCG@10 through an HNSW index of the teacher's documents"),
        ("margin", "error and nDCG@10 of the checkpoints of a run (paper Figures 7 and 11)"),
        ("samples", "ten nearest documents of five queries, side by side (paper Table 6)"),
        ("latency", "time of queries and documents, beside the teacher (paper Table 8 and Figure 12)"),
    ):
        kind = kinds.add_parser(what, help=text)
        if what == "latency":
            shape = (
                "leaf-ir and leaf-mt, where they are not here, and a folder with the config.json of a BERT alone are "
                "timed with random weights"
            )
            kind.add_argument("models", nargs="+", metavar="MODEL", help=f"{_MODEL}; {shape}")
            texts = "queries and documents to time: BEIR folder, or table with a column `kind` (default: documentation)"
            kind.add_argument("--texts", metavar="FILE", help=texts)
        else:
            name, whole = ("RUN", "run folder") if what == "margin" else ("MODEL", _MODEL)
            kind.add_argument("model", metavar=name, help=whole)
            default = "the first that is here of those" if what == "samples" else "those that are here"
            sets = f"BEIR folders to search; rows of others are replaced (default: {default} of the recipe)"
            kind.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help=sets)
        if what != "margin":
            kind.add_argument("--teacher", help=f"{_TEACHER} (default: the one that it learned from)")
        kind.add_argument("--output", type=Path, metavar="DIR", help=f"results folder {_RESULTS}")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"{_MODEL}; what is no folder is pulled into one of its name")
    texts = "queries and documents to compare and to time: BEIR folder, or table with a column `kind`"
    parser.add_argument("--texts", metavar="FILE", help=f"{texts} (default: those of the recipe, or documentation)")
    sets = "BEIR folders to search with int8 (default: those of the recipe that are here)"
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help=sets)
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"results folder {_RESULTS}")


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="what to search for")
    parser.add_argument("--model", required=True, help=_MODEL)
    parser.add_argument("--teacher", help=_TEACHER)
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="texts, one a row")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of a table (default: text)")


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with a trained model")
    parser.add_argument("--repo-id", required=True, metavar="ID", help="OWNER/NAME that the model will have on the hub")
    parser.add_argument("--asymmetric", action="store_true", help="of student and teacher together")
    parser.add_argument("--without-results", action="store_true", help="let the card have no results")


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; what is sent lies in its publish/")
    parser.add_argument("--repo-id", required=True, metavar="ID", help="OWNER/NAME on the hub, made if it is not there")
    parser.add_argument("--private", action="store_true", help="make it for its owners alone")
    branch = parser.add_mutually_exclusive_group()
    branch.add_argument("--create-pr", action="store_true", help="make a pull request, not a commit on main")
    branch.add_argument("--revision", metavar="BRANCH", help="branch in place of main, made if it is not there")
    parser.add_argument("--asymmetric", action="store_true", help="put the teacher in for documents")
    parser.add_argument("--dry-run", action="store_true", help="prepare and check, list the files, and send nothing")
    parser.add_argument("--replace", action="store_true", help="write over files there that somebody else wrote")
    parser.add_argument("--without-results", action="store_true", help="let the card have no results")
