"""The changes that a publication makes to a repository, without touching files from other sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.hf_api import RepoFile

from leaf_st.errors import InputError
from leaf_st.hub.manifest import MANIFEST, Hashes, Manifest, file_hashes


@dataclass(frozen=True)
class Changes:
    """The difference between a folder and a repository.

    Attributes:
        upload: Files that are missing in the repository or differ there.
        delete: Files of the previous publication that the new one does not have.
        unchanged: The number of files that the repository has already.
    """

    upload: list[str]
    delete: list[str]
    unchanged: int

    def __bool__(self) -> bool:
        return bool(self.upload or self.delete)

    def operations(self, folder: Path) -> list[CommitOperationAdd | CommitOperationDelete]:
        """Return the operations of the commit that makes these changes."""
        return [
            *(CommitOperationAdd(name, folder / name) for name in self.upload),
            *(CommitOperationDelete(name) for name in self.delete),
        ]


def local_files(folder: Path, manifest: Manifest) -> dict[str, Hashes]:
    """Return the hashes of all files of ``folder`` by name, including its manifest."""
    return {**manifest.files, MANIFEST: file_hashes(folder / MANIFEST)}


def compare_files(
    local: Mapping[str, Hashes], remote: Mapping[str, RepoFile], previous: Manifest, *, replace: bool, where: str
) -> Changes:
    """Compare the files of a folder with the files of a repository.

    Files that belong neither to the folder nor to the previous publication stay untouched. A file of the previous
    publication that was changed since stays untouched, too.

    Args:
        local: Hashes of the folder's files, by path.
        remote: The repository's files as the hub lists them, by path.
        previous: The manifest in the repository.
        replace: Whether files from another source may be overwritten.
        where: The name of the repository for the error.

    Raises:
        InputError: If files from another source would be overwritten without ``replace``.
    """

    def was_published(name: str) -> bool:
        if name == MANIFEST:
            return bool(previous.files)
        return name in previous.files and has_content(remote[name], previous.files[name])

    upload = differing_files(local, remote)
    foreign = [name for name in upload if name in remote and not was_published(name)]
    if foreign and not replace:
        raise InputError(
            f"{where} contains {_listed(foreign)}, which this command did not write or which changed since: "
            "check these files, then use `--replace` to overwrite them, or name another --repo-id"
        )
    delete = [name for name in previous.files if name not in local and name in remote and was_published(name)]
    return Changes(upload, delete, len(local) - len(upload))


def differing_files(local: Mapping[str, Hashes], remote: Mapping[str, RepoFile]) -> list[str]:
    """Return the local files that the repository lacks, or contains with other content."""
    return [name for name, hashes in local.items() if name not in remote or not has_content(remote[name], hashes)]


def has_content(file: RepoFile, hashes: Hashes) -> bool:
    """Return whether a file on the hub has these hashes."""
    return file.lfs.sha256 == hashes.sha256 if file.lfs else file.blob_id == hashes.git


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
