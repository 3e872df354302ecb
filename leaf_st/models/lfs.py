"""Pointers of git LFS: the short text files that a clone without git LFS has in place of large files."""

from pathlib import Path

LFS_HEAD = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(path: Path) -> bool:
    """Return whether the file ``path`` is a pointer of git LFS."""
    with path.open("rb") as file:
        return file.read(len(LFS_HEAD)) == LFS_HEAD
