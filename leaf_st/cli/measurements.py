"""Commands that measure a model: a command per measurement of the registry, and search."""

import argparse
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaf_st.cli.arguments import SubParsers
from leaf_st.cli.console import quieten
from leaf_st.cli.documents import add_documents, read
from leaf_st.cli.publishing import pull_folder, pull_model
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.measurements.measurement import MODEL_HELP, Measurement


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    groups: dict[str, SubParsers] = {}
    for measurement in registry.MEASUREMENTS:
        if measurement.measure is None:
            continue
        *group, name = measurement.command
        parsers = _group(commands, groups, group[0]) if group else commands
        _add_measurement(parsers.add_parser(name, help=measurement.help), measurement)
    search = commands.add_parser(
        "search", help="search a file of documents, and compare with the teacher named by --teacher"
    )
    _add_search(search)
    search.set_defaults(func=_search)


def _group(commands: SubParsers, groups: dict[str, SubParsers], name: str) -> SubParsers:
    if name not in groups:
        parser = commands.add_parser(name, help="make one measurement of a model")
        groups[name] = parser.add_subparsers(title="measurements", metavar="NAME", required=True, dest="measurement")
    return groups[name]


def _add_measurement(parser: argparse.ArgumentParser, measurement: Measurement[Any]) -> None:
    for argument in measurement.arguments:
        parser.add_argument(argument.flag, **argument.options)
    where = "results folder of the model (default: results/ in the run folder, or results/NAME)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=where)
    parser.set_defaults(func=partial(_measure, measurement))


def _measure(measurement: Measurement[Any], options: argparse.Namespace) -> None:
    assert measurement.measure is not None  # otherwise it has no command
    quieten()
    if measurement.before_pull is not None and not os.path.isdir(options.model):
        measurement.before_pull(options.model)
        options.model = str(_pulled(options.model, measurement.command))
    first = options.model if isinstance(options.model, str) else options.model[0]
    if options.output is None:
        options.output = results_folder(first)
    _check_output(options.output, first)
    rows = measurement.measure(options)
    path = options.output / measurement.file
    assert path.exists(), f"the function `measure` of {measurement.name} has to write its rows to {path}"
    print(f"{measurement.table(rows)}\nsaved in {path}")


def _pulled(model: str, command: Sequence[str]) -> Path:
    """Pull ``model`` into a folder with its name, without graphs, which the command writes.

    Raises:
        InputError: If there is such a folder, for example of an earlier call.
    """
    from leaf_st.export.forms import GRAPH_FOLDER

    folder = pull_folder(model)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: expected no such folder, because {model} is pulled into it, found one: if the model is in it, "
            f"run `{' '.join(('leaf-st', *command, str(folder)))}`; otherwise rename the folder"
        )
    pulled = pull_model(model)
    shutil.rmtree(pulled / GRAPH_FOLDER, ignore_errors=True)  # those of another program would not be replaced
    return pulled


def results_folder(model: str) -> Path:
    """Return the results folder of ``model``: in its run if the model belongs to a run, else ``results/NAME``."""
    from leaf_st.run_folder import RESULTS, run_of

    run = run_of(Path(model))
    return Path(RESULTS) / Path(model).resolve().name if run is None else run / RESULTS


def _check_output(folder: Path, model: str) -> None:
    """Check that results can be written to ``folder``.

    Raises:
        InputError: If ``folder`` is a file, or inside the model folder of a run, whose files are published.
    """
    from leaf_st.run_folder import MODEL, run_of

    if folder.is_file():
        raise InputError(f"--output {folder}: expected a folder for the results, found a file: name another one")
    run = run_of(Path(model))
    if run is not None and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(run / MODEL)):
        raise InputError(
            f"--output {folder}: expected a folder outside of {run / MODEL}, whose files are published, found a folder "
            "inside: name another one"
        )


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="query to search for")
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--teacher", help="teacher: folder or hub id")
    add_documents(parser)


def _search(options: argparse.Namespace) -> None:
    from leaf_st.evaluation.search import format_hits, search
    from leaf_st.models.load import load_model
    from leaf_st.teacher.open import open_teacher, teacher_spec
    from leaf_st.texts.check import flaw

    quieten()
    if reason := flaw(options.query, "query"):
        raise InputError(f"the query {options.query!r} cannot be used: {reason}")
    documents = read(options)
    student = load_model(options.model)
    teacher = None
    if options.teacher:
        teacher = open_teacher(teacher_spec(options.model, options.teacher, student.prompts))
    hits = search(options.query, documents, student=student, teacher=teacher)
    print(format_hits(hits, shutil.get_terminal_size((150, 24)).columns))
