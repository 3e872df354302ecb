"""Commands that show and publish a model: report, card, verify, push, models, pull."""

import argparse
import sys
from pathlib import Path

from leaf_st.cli.arguments import SubParsers
from leaf_st.cli.console import quieten


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    report = commands.add_parser("report", help="write a page of all results of a run, as one file")
    report.add_argument("run", type=Path, metavar="RUN", help="run folder; the page is RUN/report/report.html")
    report.set_defaults(func=_report)
    verify = commands.add_parser("verify", help="check what somebody else meets in a model folder")
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="model folder, or run folder")
    verify.add_argument("--model", metavar="MODEL", help="what it must equal (default: the student of its run)")
    verify.set_defaults(func=_verify)
    card = commands.add_parser("card", help="print the model card of a run")
    _add_card(card)
    card.set_defaults(func=_card)
    push = commands.add_parser("push", help="check the model of a run and put it on the hub")
    _add_push(push)
    push.set_defaults(func=_push)
    commands.add_parser("models", help="list the models that have a name here").set_defaults(func=_models)
    pull = commands.add_parser("pull", help="put a model into a folder")
    pull.add_argument("model", metavar="MODEL", help="name that `leaf-st models` lists, or hub id")
    pull.add_argument(
        "--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main, or as listed)"
    )
    pull.add_argument("--output", type=Path, metavar="DIR", help="where it goes (default: its name)")
    pull.set_defaults(func=_pull)


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


def _report(options: argparse.Namespace) -> None:
    from leaf_st.publishing.report import write_report

    print(f"the report is {write_report(options.run)}")


def _card(options: argparse.Namespace) -> None:
    from leaf_st.publishing.card import card_text

    quieten()
    made = card_text(
        options.run, options.repo_id, asymmetric=options.asymmetric, without_results=options.without_results
    )
    print(made, end="")


def _verify(options: argparse.Namespace) -> None:
    from leaf_st.publishing.verify import PUBLISH, verify_by_name

    quieten()
    folder, checks = verify_by_name(options.folder, options.model)
    print(*(str(check) for check in checks), sep="\n")
    if any(check.state == "failed" for check in checks):
        anew = ": `leaf-st push` makes it anew" if folder.name == PUBLISH else ""
        print(f"leaf-st: {folder} is not fit to be published{anew}", file=sys.stderr)
        sys.exit(1)


def _push(options: argparse.Namespace) -> None:
    from leaf_st.publishing.push import describe, push_to_hub

    quieten()
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
    pull_model(options.model, options.output, options.revision)


def pull_model(model: str, output: Path | None = None, revision: str | None = None) -> Path:
    """Pull ``model`` into ``output`` (default: its name), print where it is, and return the folder."""
    from leaf_st.student.load import pull

    quieten()
    folder = output or Path(model.rpartition("/")[2])
    pull(model, folder, revision)
    print(f'{model} is in {folder}: SentenceTransformer("{folder}")')
    if not any(folder.rglob("README.md")):
        print("its card and licence were not to be had: look at them on the hub before you hand it on")
    return folder
