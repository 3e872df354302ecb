"""Commands for stores of texts and vectors: store info, verify, push, pull."""

import argparse
import sys
from pathlib import Path

from leaf_st.cli.arguments import SubParsers
from leaf_st.cli.console import quieten

_STORE = "store, or run folder with a store"


def add_commands(commands: SubParsers) -> None:
    """Add the commands, each with its arguments and its function."""
    parser = commands.add_parser("store", help="show, check, publish or download embedded texts")
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="store_command")
    for add in (_add_info, _add_verify, _add_push, _add_pull):
        add(group)


def _add_info(commands: SubParsers) -> None:
    parser = commands.add_parser("info", help="show the teacher, the number of texts and the size of a store")
    parser.add_argument("store", type=Path, metavar="STORE", help=_STORE)
    parser.set_defaults(func=_info)


def _info(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.summary import describe_store, store_folder

    print(describe_store(store_folder(options.store)))


def _add_verify(commands: SubParsers) -> None:
    parser = commands.add_parser("verify", help="compare all shards of a store with their checksums")
    parser.add_argument("store", type=Path, metavar="STORE", help=_STORE)
    parser.set_defaults(func=_verify)


def _verify(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.summary import store_folder
    from leaf_st.teacher.store import EmbeddingStore

    store = EmbeddingStore(store_folder(options.store))
    if damaged := store.damaged():
        print("\n".join(f"{path} is damaged or missing" for path in damaged))
        print(
            f"leaf-st: {len(damaged):,} of {len(store.paths):,} shards are damaged: run `leaf-st embed` again to write "
            "them again",
            file=sys.stderr,
        )
        sys.exit(1)
    print(f"all {len(store.paths):,} shards with {len(store):,} texts are intact")


def _add_push(commands: SubParsers) -> None:
    parser = commands.add_parser("push", help="upload a store to the hub as a data set")
    parser.add_argument("store", type=Path, metavar="STORE", help=_STORE)
    parser.add_argument(
        "--repo-id", required=True, metavar="ID", help="OWNER/NAME on the hub; created if it does not exist"
    )
    parser.add_argument(
        "--licence",
        default="unknown",
        metavar="NAME",
        help="licence of the texts, as the hub names licences, such as cc-by-4.0 (default: unknown)",
    )
    parser.add_argument("--private", action="store_true", help="create the data set as private")
    branch = parser.add_mutually_exclusive_group()
    branch.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing to main")
    branch.add_argument(
        "--revision", metavar="BRANCH", help="branch to commit to; created if it does not exist (default: main)"
    )
    parser.add_argument("--dry-run", action="store_true", help="check the store, list the files, and send nothing")
    parser.add_argument("--replace", action="store_true", help="overwrite conflicting files in the data set")
    parser.set_defaults(func=_push)


def _push(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.push import describe_push, push_store

    quieten()
    if options.dry_run:
        print(describe_push(options.store, options.repo_id, options.licence))
        return
    target = {name: getattr(options, name) for name in ("licence", "private", "create_pr", "revision", "replace")}
    published = push_store(options.store, options.repo_id, **target)
    tag = f"tagged {published.tag}" if published.tag else "push again without --create-pr after the merge to tag it"
    print(f"{published.sent} files sent to {published.url}; {tag}")
    if options.licence == "unknown":
        print("the card says that the licence of the texts is unknown: name it with --licence")


def _add_pull(commands: SubParsers) -> None:
    parser = commands.add_parser("pull", help="download a store from the hub")
    parser.add_argument("repo_id", metavar="ID", help="OWNER/NAME of a data set that `leaf-st store push` made")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="new folder; RUN/store, to train on the store"
    )
    parser.set_defaults(func=_pull)


def _pull(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.pull import pull_store

    quieten()
    store = pull_store(options.repo_id, options.output, options.revision)
    print(f"{options.repo_id} is in {options.output}: {len(store):,} texts with vectors by {store.fingerprint.teacher}")
