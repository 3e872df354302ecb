"""Downloads in the hub's cache: huggingface_hub compares only their sizes, and keeps a wrong file for ever."""

import re
from functools import lru_cache
from pathlib import Path

from huggingface_hub import constants

from leaf_st.errors import InputError
from leaf_st.hub.manifest import Hashes, file_hashes
from leaf_st.hub.settings import offline_variable

_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # the git object id of a file, or the sha256 of a large file


def require_undamaged(snapshot: Path, repo_id: str) -> None:
    """Compare the files of ``snapshot`` with their checksums, and delete those that differ from the cache.

    A snapshot of huggingface_hub consists of links to files that are named by their checksum. Such a file may be a link
    itself, to a file that several models share: a download from Xet, whose name there is another hash. On file systems
    without links there is nothing to compare with.

    Raises:
        InputError: If a file differs.
    """
    links = [path for path in sorted(snapshot.rglob("*")) if path.is_symlink()]
    damaged = [link for link in links if link.is_file() and not _is_named_by_content(link)]
    if not damaged:
        return
    for link in damaged:
        for path in (link.resolve(), _named(link), link):
            path.unlink(missing_ok=True)  # two links can lead to one file
    forget_listing(snapshot)
    again = "run the same command again, which repeats the download"
    if constants.is_offline_mode():
        again = f"unset {offline_variable()}, and {again}"
    names = ", ".join(link.relative_to(snapshot).as_posix() for link in damaged)
    raise InputError(
        f"{repo_id}: expected the content that the hub's checksum names, found other content in the hub's cache for "
        f"{names}, which was deleted: {again}"
    )


def forget_listing(snapshot: Path) -> None:
    """Let the next download ask the hub again which files ``snapshot`` has: the cached answer may be what is wrong."""
    (snapshot.parents[1] / "trees" / f"{snapshot.name}.json").unlink(missing_ok=True)


def hashes_of(path: Path) -> Hashes:
    """Return the hashes of a file, read once for a size and time: weights of gigabytes are compared several times."""
    status = path.stat()
    return _hashes_of(path, status.st_size, status.st_mtime_ns)


def _is_named_by_content(link: Path) -> bool:
    name = _named(link).name
    if not _CHECKSUM.fullmatch(name):
        return True  # another server than the hub
    hashes = hashes_of(link.resolve())
    return name in (hashes.git, hashes.sha256)


def _named(link: Path) -> Path:
    """Return the place to which ``link`` leads directly, whose name is the checksum."""
    return link.parent / link.readlink()


@lru_cache(maxsize=256)
def _hashes_of(path: Path, size: int, modified: int) -> Hashes:
    return file_hashes(path)
