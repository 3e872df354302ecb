"""`leaf-st store push`: a store as a data set on the hub, whose shards `datasets.load_dataset` reads as they are."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.hub.client import Hub, Published
from leaf_st.hub.manifest import write_manifest
from leaf_st.hub.target import MAIN, MOST_FILES, Target
from leaf_st.publishing.prepare import CARD
from leaf_st.publishing.push import describe
from leaf_st.publishing.results import strip_record
from leaf_st.publishing.store.card import UNKNOWN, store_card
from leaf_st.publishing.store.summary import store_folder
from leaf_st.run_folder import read_record
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.remote_shards import SOURCE, RemoteFolder
from leaf_st.teacher.shard import REPAIR, SHARD_NAME
from leaf_st.teacher.store import FINGERPRINT, PROBE_FILE, STORE_MANIFEST, EmbeddingStore, read_header

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def push_store(
    store: str | Path,
    repo_id: str,
    *,
    licence: str = UNKNOWN,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    replace: bool = False,
    token: str | None = None,
) -> Published:
    """Upload a store to the hub as a data set, in one commit with a tag.

    The same call completes an upload that failed. `describe_push` shows what would be sent.

    Args:
        store: A store, or a run folder with a store.
        repo_id: OWNER/NAME of the data set; created if it does not exist.
        licence: The licence of the texts, as the hub names licences, such as "cc-by-4.0".
        private: Create the data set as private.
        create_pr: Open a pull request instead of committing to main.
        revision: A branch other than main; created from main if it does not exist.
        replace: Overwrite files in the data set that `push_store` did not write.
        token: The access token; by default HF_TOKEN, or the token that `hf auth login` stored.

    Returns:
        The publication.

    Raises:
        InputError: If the store is incomplete or damaged, or the hub rejects the upload.
    """
    target = Target(repo_id, MAIN if revision is None else revision, private, create_pr, replace, repo_type="dataset")
    hub = Hub(target, token)
    hub.check()
    with _prepared(store, repo_id, licence) as folder:
        return hub.publish(folder)


def copy_store(store: str | Path, url: str, replace: bool = False) -> int:
    """Copy a store to a folder of fsspec, such as ``s3://BUCKET/FOLDER``, and return the number of files sent.

    The manifest comes last, so an interrupted copy is an incomplete store, which the same call completes: files of the
    same name and size are not sent again.

    Args:
        store: A store, or a run folder with a store.
        url: Address of the folder.
        replace: Overwrite another store in the folder.

    Raises:
        InputError: If the store is incomplete or damaged, or the address has another store or cannot be written.
    """
    opened, remote = _intact(store), RemoteFolder(url)
    with tempfile.TemporaryDirectory(prefix="leaf-st-store-") as temporary:
        header = Path(temporary, FINGERPRINT)
        _write_header(opened.folder / FINGERPRINT, header)
        if (others := _files_of_another_store(remote, opened, header.parent)) is not None:
            if not replace:
                raise InputError(
                    f"{url}: expected no store or a copy of {opened.folder}, found another store: name another "
                    "address, or add --replace to overwrite that store"
                )
            for name in others:  # before any file is sent, so that no reader finds the vectors of two stores
                remote.remove(name)
        probes = sorted(opened.folder.rglob(PROBE_FILE))  # without these, a change of an API would not be noticed
        paths = [*opened.paths, *probes, opened.folder / STORE_MANIFEST]
        files = {FINGERPRINT: header, **{path.relative_to(opened.folder).as_posix(): path for path in paths}}
        return sum(remote.put(path, name) for name, path in tqdm(files.items(), desc="sending", unit=" files"))


def _files_of_another_store(remote: RemoteFolder, store: EmbeddingStore, temporary: Path) -> list[str] | None:
    """Return the files to remove from ``remote``, shards first, before ``store`` replaces another store there.

    What changes without the vectors is not compared, such as counts of skipped rows and the name of the teacher.

    Args:
        remote: The address.
        store: The store.
        temporary: A folder with the header of ``store`` as it is sent.

    Returns:
        The names, the manifest last, because only the manifest names the shards; None if there is no other store.
    """
    found = [name for name in (FINGERPRINT, STORE_MANIFEST) if remote.has(name)]
    if not found:
        return None
    there = temporary / "there"
    there.mkdir()
    for name in found:
        remote.get(name, there)
    ours = [path.name for path in store.paths]
    theirs: list[str] = []
    is_same = False
    with suppress(InputError):  # of a damaged store or another teacher
        if STORE_MANIFEST in found:
            theirs = [path.name for path in EmbeddingStore(there).paths if SHARD_NAME.fullmatch(path.name)]
        sent = Fingerprint.from_dict(read_header(temporary)["fingerprint"])
        sent.require_same(read_header(there)["fingerprint"], remote.url)
        is_same = STORE_MANIFEST not in found or theirs == ours
    return None if is_same else [*sorted({*theirs} - {*ours}), STORE_MANIFEST]


def describe_push(store: str | Path, repo_id: str, licence: str = UNKNOWN, revision: str | None = None) -> str:
    """Return a table of the files that `push_store` would send, for a dry run."""
    Target(repo_id, MAIN if revision is None else revision)  # checks the names
    with _prepared(store, repo_id, licence) as folder:
        return describe(folder, repo_id)


@contextmanager
def _prepared(place: str | Path, repo_id: str, licence: str) -> Iterator[Path]:
    """Yield a temporary folder with the card and the files of a store; shards are links where the system has links."""
    if not _LICENCE.fullmatch(licence):
        raise InputError(f"--licence {licence}: expected a name of the hub's list of licences, such as cc-by-4.0")
    store = _intact(place)
    if len(store.paths) > MOST_FILES:
        raise InputError(
            f"{store.folder}: expected at most {MOST_FILES:,} files, which the hub allows in a folder, found "
            f"{len(store.paths):,} shards: embed with a larger teacher.rows_per_shard"
        )
    with tempfile.TemporaryDirectory(prefix="leaf-st-store-") as temporary:
        folder = Path(temporary)
        for path in (*store.paths, store.folder / STORE_MANIFEST, *store.folder.rglob(PROBE_FILE)):
            link = folder / path.relative_to(store.folder)
            link.parent.mkdir(exist_ok=True)
            _link(path.resolve(), link)
        _write_header(store.folder / FINGERPRINT, folder / FINGERPRINT)
        (folder / CARD).write_text(store_card(EmbeddingStore(folder), repo_id, licence), encoding="utf-8")
        write_manifest(folder)
        yield folder


def _intact(place: str | Path) -> EmbeddingStore:
    store = EmbeddingStore(store_folder(Path(place)))
    if (store.folder / SOURCE).is_file():
        raise InputError(f"{store.folder}: expected all shards, found a store whose shards are fetched: pull the store")
    if damaged := store.damaged():
        raise InputError(f"{damaged[0]} is damaged: {REPAIR}")
    return store


def _link(source: Path, target: Path) -> None:
    """Make ``target`` a link to ``source``, or a copy: Windows allows few users to make symbolic links."""
    for link in (os.symlink, os.link):
        with suppress(OSError):
            link(source, target)
            return
    shutil.copyfile(source, target)


def _write_header(source: Path, target: Path) -> None:
    """Copy the header of a store, without folders of this machine in the name and the revision of the teacher."""
    header = read_sealed(source)
    fingerprint = header["fingerprint"]
    named = {"teacher": {name: fingerprint[name] for name in ("teacher", "revision")}}
    record = read_record(source.parent.resolve().parent)  # of the run with the store, if there is one: it knows folders
    shared = {**fingerprint, **strip_record({**record, **named})["teacher"]}
    if shared == fingerprint:
        target.write_bytes(source.read_bytes())
    else:
        write_sealed(target, {**header, "fingerprint": shared})
