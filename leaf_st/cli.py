"""The command line: what each command does; `leaf_st.arguments` says what it takes.

Heavy imports wait until a command needs them, so that ``--help`` and a typing error answer at once.
"""

import argparse
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.arguments import MODES, build_parser
from leaf_st.errors import InputError, exit_on_error
from leaf_st.field_types import url_problem
from leaf_st.launch import is_one_of_several, start_all
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.recipe_file import load_recipe

if TYPE_CHECKING:
    from leaf_st.evaluation.modes import Mode
    from leaf_st.evaluation.results import Result
    from leaf_st.run import Run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr when the input cannot be used, with 130 on Ctrl-C."""
    options = build_parser().parse_args(arguments)
    if arguments is None and is_one_of_several():
        start_all(sys.argv[1:])
    if os.environ.get("RANK", "0") != "0":
        os.environ["TQDM_DISABLE"] = "1"  # of several processes the first one shows its bars, which stand for all
    with exit_on_error("leaf-st", "the same command resumes embedding, training, evaluation and publishing"):
        _require_local(options)
        _COMMANDS[options.command](options)


def _require_local(options: argparse.Namespace) -> None:
    for name, value in vars(options).items():
        if isinstance(value, Path) and (problem := url_problem(value)):
            raise InputError(f"{name}: {problem}")


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
    from leaf_st.evaluation.results import TASKS
    from leaf_st.evaluation.runner import evaluate
    from leaf_st.evaluation.tasks import find_tasks
    from leaf_st.student.load import load_student, load_teacher, teacher_of

    _quieten()
    tasks = find_tasks(options.tasks)
    student = load_student(options.model)
    modes: Sequence[Mode] = list(dict.fromkeys(options.modes or ())) or (MODES if options.teacher else ["standard"])
    teacher = None
    if options.teacher or set(modes) != {"standard"}:
        spec = TeacherSpec(model=options.teacher) if options.teacher else teacher_of(options.model)
        teacher = load_teacher(spec, student)
    folder = options.output or _results_folder(options.model)
    rows = evaluate(tasks, teacher=teacher, student=student, modes=modes, folder=folder)
    _print_results(rows)
    print(f"kept in {folder / TASKS}")


def _measure(options: argparse.Namespace) -> None:
    from leaf_st import measure

    _quieten()
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
    from leaf_st import measure

    _quieten()
    if not Path(options.model).is_dir():
        _pull(argparse.Namespace(model=options.model, output=None, revision=None))
        options.model = options.model.rpartition("/")[2]
    folder = options.output or _results_folder(options.model)
    table, wrong = measure.export(options.model, options.texts, options.data, folder)
    print(f"{table}\nkept in {folder / 'export.json'}")
    if wrong:
        raise InputError(f"not written: {'; '.join(wrong)}")


def _report(options: argparse.Namespace) -> None:
    from leaf_st.publishing.report import write_report

    print(f"the report is {write_report(options.run)}")


def _card(options: argparse.Namespace) -> None:
    from leaf_st.publishing.card import card_text

    _quieten()
    made = card_text(
        options.run, options.repo_id, asymmetric=options.asymmetric, without_results=options.without_results
    )
    print(made, end="")


def _results_folder(model: str) -> Path:
    """Return where the results of ``model`` go: into its run, if it is one or lies in one."""
    from leaf_st.teacher.resolve import run_of

    run = run_of(Path(model))
    return Path("results") / Path(model).resolve().name if run is None else run / "results"


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


def _verify(options: argparse.Namespace) -> None:
    from leaf_st.publishing.verify import PUBLISH, verify_by_name

    _quieten()
    folder, checks = verify_by_name(options.folder, options.model)
    print(*(str(check) for check in checks), sep="\n")
    if any(check.state == "failed" for check in checks):
        anew = ": `leaf-st push` makes it anew" if folder.name == PUBLISH else ""
        print(f"leaf-st: {folder} is not fit to be published{anew}", file=sys.stderr)
        sys.exit(1)


def _push(options: argparse.Namespace) -> None:
    from leaf_st.publishing.push import describe, push_to_hub

    _quieten()
    done = push_to_hub(
        options.run,
        options.repo_id,
        private=options.private,
        create_pr=options.create_pr,
        asymmetric=options.asymmetric,
        revision=options.revision,
        dry_run=options.dry_run,
        replace=options.replace,
        without_results=options.without_results,
    )
    if done is None:
        print(describe(options.run, options.repo_id))
    else:
        tagged = (
            f"it has the tag {done.tag}" if done.tag else "push again without --create-pr once it is merged, to tag it"
        )
        print(f"{done.sent} files sent to {done.url}; {tagged}")


def _models(_: argparse.Namespace) -> None:
    from leaf_st.zoo import describe_zoo

    print(describe_zoo())


def _pull(options: argparse.Namespace) -> None:
    from leaf_st.student.load import pull

    _quieten()
    output = options.output or Path(options.model.rpartition("/")[2])
    pull(options.model, output, options.revision)
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
    from transformers.utils import logging as of_transformers

    # Which of mteb's tasks have a successor, and which of them are new.
    warnings.filterwarnings("ignore", category=UserWarning, module="mteb")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    # A class that no text of a small test set has, once for each metric and sample.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    # sentence-transformers and accelerate say this to torch, for each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    without_bars = are_progress_bars_disabled()
    of_transformers.set_verbosity_error()  # type: ignore[no-untyped-call]
    of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]  # turns off those of downloads as well
    if not without_bars:
        enable_progress_bars()


def _print_results(rows: Sequence["Result"]) -> None:
    from leaf_st.evaluation.results import format_table

    if rows:
        print(format_table(rows))
    else:
        print("no set of the recipe is here: leaf-st evaluate MODEL --teacher TEACHER --tasks NAME")


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": _demo,
    "run": _run,
    "embed": _embed,
    "train": _train,
    "evaluate": _evaluate,
    "measure": _measure,
    "export": _export,
    "search": _search,
    "report": _report,
    "card": _card,
    "verify": _verify,
    "push": _push,
    "models": _models,
    "pull": _pull,
}
