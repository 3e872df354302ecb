"""Commands for stores of texts and vectors: store info, verify, push, pull."""

import argparse
from pathlib import Path

from leaf_st.cli.arguments import SubParsers, at_least_1
from leaf_st.cli.console import quieten
from leaf_st.errors import InputError

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
    from leaf_st.teacher.shard import REPAIR
    from leaf_st.teacher.store import EmbeddingStore

    store = EmbeddingStore(store_folder(options.store))
    if damaged := store.damaged():
        print("\n".join(f"{path} is damaged or missing" for path in damaged))
        raise InputError(f"{len(damaged):,} of {len(store.paths):,} shards are damaged: {REPAIR}")
    fetched = sum(path.is_file() for path in store.paths)
    if fetched < len(store.paths):  # shards in object storage are compared with their checksums when they are fetched
        print(f"{fetched:,} of {len(store.paths):,} shards are on this disk and intact")
        return
    print(f"all {len(store.paths):,} shards with {len(store):,} texts are intact")


def _add_push(commands: SubParsers) -> None:
    parser = commands.add_parser("push", help="upload a store to the hub as a data set, or to object storage")
    parser.add_argument("store", type=Path, metavar="STORE", help=_STORE)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--repo-id", metavar="ID", help="OWNER/NAME on the hub; created if it does not exist")
    place.add_argument("--url", metavar="URL", help="folder that fsspec writes, such as s3://BUCKET/FOLDER")
    parser.add_argument(
        "--licence",
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
    parser.add_argument(
        "--replace",
        action="store_true",
        help="overwrite conflicting files in the data set, or another store at the URL",
    )
    parser.set_defaults(func=_push)


def _push(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.card import UNKNOWN
    from leaf_st.publishing.store.push import copy_store, describe_push, push_store

    quieten()
    if options.url is not None:
        for name in ("licence", "private", "create_pr", "revision", "dry_run"):
            if getattr(options, name):
                flag = name.replace("_", "-")
                raise InputError(f"--{flag}: expected --repo-id, found --url: leave out --{flag}")
        sent = copy_store(options.store, options.url, options.replace)
        print(f"{sent:,} files sent to {options.url}")
        return
    licence = UNKNOWN if options.licence is None else options.licence
    if options.dry_run:
        print(describe_push(options.store, options.repo_id, licence, options.revision))
        return
    target = {name: getattr(options, name) for name in ("private", "create_pr", "revision", "replace")}
    published = push_store(options.store, options.repo_id, licence=licence, **target)
    tag = f"tagged {published.tag}" if published.tag else "push again without --create-pr after the merge to tag it"
    print(f"{published.sent} files sent to {published.url}; {tag}")
    if licence == UNKNOWN:
        print("the card says that the licence of the texts is unknown: name it with --licence")


def _add_pull(commands: SubParsers) -> None:
    parser = commands.add_parser("pull", help="download a store, or fetch its shards when they are read")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="OWNER/NAME of a data set that `leaf-st store push` made; with --stream-gb, a URL such as "
        "s3://BUCKET/FOLDER or hf://datasets/OWNER/NAME",
    )
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub (default: main)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="new folder; RUN/store, to train on the store"
    )
    parser.add_argument(
        "--stream-gb",
        type=at_least_1,
        metavar="N",
        help="download no shard now; fetch shards when they are read, and keep at most N GB of them per process",
    )
    parser.set_defaults(func=_pull)


def _pull(options: argparse.Namespace) -> None:
    from leaf_st.publishing.store.pull import link_store, pull_store

    quieten()
    is_url = "://" in options.source
    if is_url != (options.stream_gb is not None):
        raise InputError(
            f"{options.source}: expected OWNER/NAME, or a URL with --stream-gb, found a URL alone: add --stream-gb, or "
            "name a data set"
            if is_url
            else f"--stream-gb: expected a URL, found {options.source}: name hf://datasets/{options.source}"
        )
    if is_url:
        if options.revision is not None:
            raise InputError("--revision: expected OWNER/NAME, found a URL: put @REVISION behind the name in the URL")
        store = link_store(options.source, options.output, options.stream_gb * 10**9)
    else:
        store = pull_store(options.source, options.output, options.revision)
    print(f"{options.source} is in {options.output}: {len(store):,} texts with vectors by {store.fingerprint.teacher}")
