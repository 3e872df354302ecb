"""Commands that show and publish a model: report, verify, card, site, push, models, pull."""

import argparse
import shlex
import sys
from pathlib import Path

from leaf_st.cli.arguments import SubParsers, at_least_1
from leaf_st.cli.console import quieten
from leaf_st.cli.documents import add_documents, read_titled
from leaf_st.errors import InputError
from leaf_st.evaluation.modes import STUDENT_MODES


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    for add in (_add_report, _add_verify, _add_card, _add_site, _add_push, _add_models, _add_pull):
        add(commands)


def _add_report(commands: SubParsers) -> None:
    parser = commands.add_parser("report", help="write all results of a run to one HTML page")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; the page is RUN/report/report.html")
    parser.set_defaults(func=_report)


def _report(options: argparse.Namespace) -> None:
    from leaf_st.publishing.report.report import write_report

    print(f"the report is {write_report(options.run)}")


def _add_verify(commands: SubParsers) -> None:
    parser = commands.add_parser("verify", help="check that a model folder loads and is safe to publish")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="model folder or run folder")
    parser.add_argument(
        "--model", metavar="MODEL", help="model that FOLDER must equal (default: the student of its run)"
    )
    parser.set_defaults(func=_verify)


def _verify(options: argparse.Namespace) -> None:
    from leaf_st.publishing.verify import format_checks, verify_by_name
    from leaf_st.run_folder import PUBLISH

    quieten()
    folder, checks = verify_by_name(options.folder, options.model)
    print(format_checks(checks))
    if any(check.state == "failed" for check in checks):
        remedy = ": `leaf-st push` makes the folder again" if folder.name == PUBLISH else ""
        print(f"leaf-st: {folder} failed a check and should not be published{remedy}", file=sys.stderr)
        sys.exit(1)


def _add_card(commands: SubParsers) -> None:
    parser = commands.add_parser("card", help="print the model card of a run")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with a trained model")
    parser.add_argument("--repo-id", required=True, metavar="ID", help="OWNER/NAME of the model on the hub")
    parser.add_argument("--asymmetric", action="store_true", help="describe student and teacher as one model")
    parser.add_argument("--without-results", action="store_true", help="allow a card without results")
    parser.set_defaults(func=_card)


def _card(options: argparse.Namespace) -> None:
    from leaf_st.publishing.card.card import card_text

    quieten()
    text = card_text(
        options.run, options.repo_id, asymmetric=options.asymmetric, without_results=options.without_results
    )
    print(text, end="")


def _add_site(commands: SubParsers) -> None:
    parser = commands.add_parser("site", help="write a search page in which the student runs in the browser")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with a trained student")
    add_documents(parser)
    parser.add_argument(
        "--title-column", metavar="NAME", help="column of the titles (default: title, if the file has this column)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the page")
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=STUDENT_MODES,
        default=["asymmetric"],
        metavar="MODE",
        help="asymmetric: documents embedded by the teacher; standard: by the student (default: asymmetric)",
    )
    parser.add_argument("--dimensions", type=at_least_1, metavar="N", help="keep the first N dimensions (MRL)")
    parser.add_argument(
        "--vendor",
        nargs="?",
        const=Path("node_modules"),
        type=Path,
        metavar="MODULES",
        help="copy the JavaScript libraries from this npm folder instead of loading them from a CDN (default of "
        "MODULES: node_modules)",
    )
    parser.set_defaults(func=_site)


def _site(options: argparse.Namespace) -> None:
    from leaf_st.publishing.site.build import build_site, check_options

    quieten()
    check_options(options.run, options.output, options.modes, options.vendor)
    documents = read_titled(options)
    page = build_site(
        options.run,
        documents,
        options.output,
        modes=options.modes,
        dimensions=options.dimensions,
        vendor=options.vendor,
    )
    print(f"{len(documents):,} document{'s' * (len(documents) != 1)}; the page is {page}")
    print(f"to open the page: python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(options.output))}")


def _add_push(commands: SubParsers) -> None:
    parser = commands.add_parser("push", help="check the model of a run and upload it to the hub")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder; the uploaded files are in RUN/publish")
    parser.add_argument(
        "--site", action="store_true", help="publish RUN, a folder of `leaf-st site`, as a static Space"
    )
    parser.add_argument(
        "--repo-id", required=True, metavar="ID", help="OWNER/NAME on the hub; created if it does not exist"
    )
    parser.add_argument("--private", action="store_true", help="create the repository as private")
    branch = parser.add_mutually_exclusive_group()
    branch.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing to main")
    branch.add_argument(
        "--revision", metavar="BRANCH", help="branch to commit to; created if it does not exist (default: main)"
    )
    parser.add_argument(
        "--asymmetric", action="store_true", help="include the teacher, which embeds documents in the published model"
    )
    parser.add_argument("--dry-run", action="store_true", help="prepare and check, list the files, and send nothing")
    parser.add_argument("--replace", action="store_true", help="overwrite conflicting files in the repository")
    parser.add_argument("--without-results", action="store_true", help="allow a card without results")
    parser.set_defaults(func=_push)


def _push(options: argparse.Namespace) -> None:
    from leaf_st.publishing.push import describe, push_site, push_to_hub
    from leaf_st.run_folder import PUBLISH

    quieten()
    target = {name: getattr(options, name) for name in ("private", "create_pr", "revision", "dry_run", "replace")}
    if options.site:
        if options.asymmetric or options.without_results:
            raise InputError("--site: a page has no model card: leave out --asymmetric and --without-results")
        published = push_site(options.run, options.repo_id, **target)
    else:
        only_models = {name: getattr(options, name) for name in ("asymmetric", "without_results")}
        published = push_to_hub(options.run, options.repo_id, **target, **only_models)
    if published is None:
        print(describe(options.run if options.site else options.run / PUBLISH, options.repo_id))
        return
    tag = f"tagged {published.tag}" if published.tag else "push again without --create-pr after the merge to tag it"
    print(f"{published.sent} files sent to {published.url}; {tag}")


def _add_models(commands: SubParsers) -> None:
    commands.add_parser("models", help="list the models that leaf-st knows by name").set_defaults(func=_models)


def _models(_: argparse.Namespace) -> None:
    from leaf_st.zoo import describe_zoo

    print(describe_zoo())


def _add_pull(commands: SubParsers) -> None:
    parser = commands.add_parser("pull", help="download a model into a folder")
    parser.add_argument("model", metavar="MODEL", help="name that `leaf-st models` lists, or hub id")
    parser.add_argument(
        "--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main, or the listed revision)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="new folder (default: the name of the model)")
    parser.set_defaults(func=_pull)


def _pull(options: argparse.Namespace) -> None:
    pull_model(options.model, options.output, options.revision)


def pull_folder(model: str) -> Path:
    """Return the folder into which `pull_model` puts ``model`` by default."""
    return Path(model.rstrip("/").rpartition("/")[2])


def pull_model(model: str, output: Path | None = None, revision: str | None = None) -> Path:
    """Pull ``model`` into ``output`` (default: the name of the model), print the folder, and return it."""
    from leaf_st.publishing.pull import pull

    quieten()
    model = model.rstrip("/") or model
    folder = output or pull_folder(model)
    pull(model, folder, revision)
    print(f'{model} is in {folder}: SentenceTransformer("{folder}")')
    if not any(folder.rglob("README.md")):
        print("the folder has no model card: read the card and the licence on the hub before you pass the model on")
    return folder
