"""Commands that measure a model: evaluate, measure, export, search."""

import argparse
import shutil
from pathlib import Path

from leaf_st.cli.arguments import MODEL, MODES, RESULTS, TEACHER, SubParsers
from leaf_st.cli.console import print_results, quieten
from leaf_st.cli.publishing import pull_model
from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec, TextsSpec


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    evaluate = commands.add_parser("evaluate", help="measure tasks, beside the teacher and together with it")
    _add_evaluate(evaluate)
    evaluate.set_defaults(func=_evaluate)
    measure = commands.add_parser("measure", help="measure what it costs and bears: bytes, index, error, time")
    _add_measure(measure)
    measure.set_defaults(func=_measure)
    export = commands.add_parser("export", help="write it as ONNX, beside itself, and compare and time that")
    _add_export(export)
    export.set_defaults(func=_export)
    search = commands.add_parser("search", help="search a file of documents, beside the teacher")
    _add_search(search)
    search.set_defaults(func=_search)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--teacher", help=f"{TEACHER} (default: for modes that need it, the one that it learned from)")
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
        help=f"results folder of this model, where measurements are kept and go on {RESULTS}",
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
            kind.add_argument("models", nargs="+", metavar="MODEL", help=f"{MODEL}; {shape}")
            texts = "queries and documents to time: BEIR folder, or table with a column `kind` (default: documentation)"
            kind.add_argument("--texts", metavar="FILE", help=texts)
        else:
            name, whole = ("RUN", "run folder") if what == "margin" else ("MODEL", MODEL)
            kind.add_argument("model", metavar=name, help=whole)
            default = "the first that is here of those" if what == "samples" else "those that are here"
            sets = f"BEIR folders to search; rows of others are replaced (default: {default} of the recipe)"
            kind.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help=sets)
        if what != "margin":
            kind.add_argument("--teacher", help=f"{TEACHER} (default: the one that it learned from)")
        kind.add_argument("--output", type=Path, metavar="DIR", help=f"results folder {RESULTS}")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}; what is no folder is pulled into one of its name")
    texts = "queries and documents to compare and to time: BEIR folder, or table with a column `kind`"
    parser.add_argument("--texts", metavar="FILE", help=f"{texts} (default: those of the recipe, or documentation)")
    sets = "BEIR folders to search with int8 (default: those of the recipe that are here)"
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help=sets)
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"results folder {RESULTS}")


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="what to search for")
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--teacher", help=TEACHER)
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="texts, one a row")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of a table (default: text)")


def _evaluate(options: argparse.Namespace) -> None:
    from leaf_st.evaluation.results import TASKS
    from leaf_st.pipeline.evaluate import evaluate

    quieten()
    folder = options.output or _results_folder(options.model)
    print_results(evaluate(options.model, options.tasks, teacher=options.teacher, modes=options.modes, output=folder))
    print(f"kept in {folder / TASKS}")


def _measure(options: argparse.Namespace) -> None:
    from leaf_st.cli import measure

    quieten()
    if options.what == "alignment":
        print(f"kept in {measure.measure_alignment(Path(options.model))}")
        return
    first = options.models[0] if options.what == "latency" else options.model
    folder = options.output or _results_folder(first)
    if options.what == "latency":
        table = measure.measure_latency(options.models, options.teacher, options.texts, folder)
    elif options.what == "margin":
        table = measure.measure_margin(Path(options.model), options.data, folder)
    elif options.what == "index":
        table = measure.measure_index(options.model, options.teacher, options.data, folder)
    elif options.what == "samples":
        table = measure.measure_samples(options.model, options.teacher, options.data, folder)
    else:
        table = measure.measure_compression(options.model, options.teacher, options.data, folder)
    print(f"{table}\nkept in {folder / options.what}.json")


def _export(options: argparse.Namespace) -> None:
    from leaf_st.cli import measure

    quieten()
    if not Path(options.model).is_dir():
        options.model = str(pull_model(options.model))
    folder = options.output or _results_folder(options.model)
    table, wrong = measure.export(options.model, options.texts, options.data, folder)
    print(f"{table}\nkept in {folder / 'export.json'}")
    if wrong:
        raise InputError(f"not written: {'; '.join(wrong)}")


def _results_folder(model: str) -> Path:
    """Return where the results of ``model`` go: into its run, if it is one or lies in one."""
    from leaf_st.models.find import run_of

    run = run_of(Path(model))
    return Path("results") / Path(model).resolve().name if run is None else run / "results"


def _search(options: argparse.Namespace) -> None:
    from collections import Counter

    from leaf_st.evaluation.search import format_hits, search
    from leaf_st.student.load import load_student, load_teacher
    from leaf_st.texts.read import flaw, read_texts

    quieten()
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
