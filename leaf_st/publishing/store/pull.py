"""`leaf-st store pull`: a store that was published, byte for byte, or only its header, with shards that follow."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from tqdm import tqdm

from leaf_st.atomic import is_temporary, make_folder
from leaf_st.errors import InputError, cannot_write
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.explain import explain_download
from leaf_st.hub.retry import TemporaryError, retry
from leaf_st.hub.settings import check_download
from leaf_st.hub.target import check_repo_id
from leaf_st.teacher.remote_shards import SOURCE, RemoteFolder, write_source
from leaf_st.teacher.shard import SHARD_NAME, is_intact
from leaf_st.teacher.store import FINGERPRINT, PROBE_FILE, STORE_MANIFEST, EmbeddingStore

_DOWNLOADS = ".pull.tmp"  # in the folder of the store
_CONNECTIONS = 8
_PROBES = re.compile(rf"(member-\d+/)?{re.escape(PROBE_FILE)}")

T = TypeVar("T")


def pull_store(repo_id: str, folder: Path, revision: str | None = None) -> EmbeddingStore:
    """Download the store ``repo_id`` of `push_store` into ``folder``.

    Each shard is compared with its checksum. The manifest comes last, so an interrupted download is an incomplete
    store, which the same call completes.

    Args:
        repo_id: OWNER/NAME of the data set.
        folder: A new or empty folder, or a folder of an interrupted download.
        revision: Branch, tag or commit; main by default.

    Returns:
        The store.

    Raises:
        InputError: If ``repo_id`` is no OWNER/NAME, the data set is no store, the folder holds something else, or the
            hub cannot be reached.
    """
    check_repo_id(repo_id, "SOURCE")
    check_download()
    source = _Source(repo_id, revision)
    make_folder(folder)
    downloads = folder / _DOWNLOADS
    known = source.fetch_store(downloads)
    _require_room(folder, known)
    (downloads / FINGERPRINT).replace(folder / FINGERPRINT)
    names = [path.name for path in known.paths]
    with ThreadPoolExecutor(_CONNECTIONS) as pool, tqdm(total=len(names), desc="downloading", unit=" shards") as bar:
        for _ in pool.map(partial(source.fetch_shard, downloads, folder), names):
            bar.update()
    for name in source.probes:
        make_folder((folder / name).parent)
        source.fetch(name, downloads).replace(folder / name)
    (folder / SOURCE).unlink(missing_ok=True)  # of `link_store`: shards beyond its limit would be deleted again
    (downloads / STORE_MANIFEST).replace(folder / STORE_MANIFEST)
    shutil.rmtree(downloads)
    return EmbeddingStore(folder, verified=True)


def link_store(url: str, folder: Path, most_bytes: int) -> EmbeddingStore:
    """Copy header and manifest of the store at ``url`` into ``folder``; its shards are fetched when they are read.

    Shards that an earlier call has fetched stay if they are intact.

    Args:
        url: Address of a folder that fsspec reads, such as ``s3://BUCKET/FOLDER`` or ``hf://datasets/OWNER/NAME``.
        folder: A new or empty folder, or a folder with the same store.
        most_bytes: Size of the fetched shards together. The least recently read shards are removed first.

    Returns:
        The store.

    Raises:
        InputError: If there is no store at the address, or the folder holds something else.
    """
    remote = RemoteFolder(url)
    make_folder(folder)
    downloads = folder / _DOWNLOADS
    make_folder(downloads)
    for name in (FINGERPRINT, STORE_MANIFEST):
        remote.get(name, downloads)
    _require_names(known := EmbeddingStore(downloads), url)
    _require_room(folder, known)
    write_source(folder, {"url": url, "most_bytes": most_bytes})
    for name in (FINGERPRINT, STORE_MANIFEST):
        (downloads / name).replace(folder / name)
    shutil.rmtree(downloads)
    store = EmbeddingStore(folder)
    for path in store.damaged():  # the next read fetches these shards again
        path.unlink(missing_ok=True)
    return store


class _Source:
    """One commit of a data set on the hub."""

    def __init__(self, repo_id: str, revision: str | None) -> None:
        self._repo_id = repo_id
        self._api = HfApi(library_name="leaf_st", library_version=version("leaf-st"))
        self._commit = self._call(partial(self._api.dataset_info, repo_id, revision=revision)).sha
        listing = partial(self._api.list_repo_files, repo_id, repo_type="dataset", revision=self._commit)
        self._files: list[str] = self._call(listing)

    @property
    def probes(self) -> list[str]:
        """Files with the vectors by which a change of an API, or of an API in an ensemble, is noticed."""
        return [name for name in self._files if _PROBES.fullmatch(name)]

    def fetch_store(self, folder: Path) -> EmbeddingStore:
        """Download the two files that describe the store to ``folder``."""
        for name in (FINGERPRINT, STORE_MANIFEST):
            if name not in self._files:
                raise InputError(
                    f"{self._repo_id}: expected a data set of `leaf-st store push` with {name}, found no such file: "
                    "name another data set, or train on its vectors as given vectors, see docs/given-vectors.md"
                )
            self.fetch(name, folder)
        store = EmbeddingStore(folder)
        _require_names(store, self._repo_id)
        return store

    def fetch_shard(self, downloads: Path, folder: Path, name: str) -> None:
        """Download the shard ``name`` by way of ``downloads`` to ``folder``, unless an intact one is there."""
        path = folder / name
        if path.is_file() and is_intact(path):
            return

        def fetch() -> Path:
            fetched = Path(ask(self._download, name, downloads))
            if not is_intact(fetched):  # the next attempt must not take this file for complete
                fetched.unlink()
                raise TemporaryError(f"{self._repo_id}: the hub sends {name} with other content than its name says")
            return fetched

        self._explained(lambda: retry(fetch)).replace(path)

    def fetch(self, name: str, folder: Path) -> Path:
        """Download the file ``name`` to ``folder``."""
        return Path(self._call(partial(self._download, name, folder)))

    def _download(self, name: str, folder: Path) -> str:
        path: str = self._api.hf_hub_download(
            self._repo_id, name, repo_type="dataset", revision=self._commit, local_dir=folder
        )
        return path

    def _call(self, call: Callable[[], T]) -> T:
        return self._explained(lambda: retry(lambda: ask(call)))

    def _explained(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (OSError, HTTPError, AnswerError) as error:
            if cannot_write(error):
                raise
            problem = explain_download(error, "data set", "correct the name")
            raise InputError(f"{self._repo_id}: {problem}") from error


def _require_names(store: EmbeddingStore, place: str) -> None:
    """Check that the manifest names files of the folder, and not files elsewhere on this machine."""
    for path in store.paths:
        if path.parent != store.folder or not SHARD_NAME.fullmatch(path.name):
            raise InputError(
                f"{place}: expected names of shards in {STORE_MANIFEST}, found {str(path)!r}: name another store"
            )


def _require_room(folder: Path, store: EmbeddingStore) -> None:
    """Check that ``folder`` is empty or a copy of ``store``, complete or not; otherwise delete the two new files."""
    try:
        _require_same(folder, store)
    except InputError:
        shutil.rmtree(store.folder)
        raise


def _require_same(folder: Path, store: EmbeddingStore) -> None:
    if (folder / FINGERPRINT).is_file():
        there = [name for name in (FINGERPRINT, STORE_MANIFEST) if (folder / name).is_file()]
        if all((folder / name).read_bytes() == (store.folder / name).read_bytes() for name in there):
            return
        raise InputError(f"{folder} contains another store: name another --output, or delete the folder")
    if other := next((path.name for path in folder.iterdir() if not is_temporary(path)), None):
        raise InputError(f"{folder} is not empty, and contains {other}: name another --output, or delete the folder")
