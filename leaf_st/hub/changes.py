"""What a publication changes in a repository, and what of it belongs to somebody else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.hf_api import RepoFile

from leaf_st.errors import InputError
from leaf_st.hub.manifest import MANIFEST, Hashes, Manifest, hashes_of


@dataclass(frozen=True)
class Changes:
    """The difference between a folder and a repository.

    Attributes:
        send: Files that are new or other than there.
        delete: Files of our last publication that this one has not.
        kept: Number of files that are there already.
    """

    send: list[str]
    delete: list[str]
    kept: int

    def __bool__(self) -> bool:
        return bool(self.send or self.delete)

    def operations(self, folder: Path) -> list[CommitOperationAdd | CommitOperationDelete]:
        """Return the operations of one commit that makes them."""
        return [
            *(CommitOperationAdd(name, folder / name) for name in self.send),
            *(CommitOperationDelete(name) for name in self.delete),
        ]


def wanted_files(folder: Path, manifest: Manifest) -> dict[str, Hashes]:
    """Return the hashes of all files of ``folder`` by name, those of its manifest too."""
    return {**manifest.files, MANIFEST: hashes_of(folder / MANIFEST)}


def changes(
    wanted: Mapping[str, Hashes], there: Mapping[str, RepoFile], former: Manifest, *, replace: bool, where: str
) -> Changes:
    """Compare what is ``wanted`` with what is ``there``.

    Files that are neither wanted nor of our ``former`` publication are left alone, and so is one of that publication
    which somebody has changed since.

    Args:
        wanted: Hashes by path.
        there: What the hub says of each file of the repository.
        former: The manifest in it.
        replace: Whether files that somebody else wrote may be written over.
        where: Name of the repository, for the error.

    Raises:
        InputError: If files must be written over and may not be.
    """

    def is_ours(name: str) -> bool:
        if name == MANIFEST:
            return bool(former.files)
        return name in former.files and is_same(there[name], former.files[name])

    send = [name for name, hashes in wanted.items() if name not in there or not is_same(there[name], hashes)]
    foreign = [name for name in send if name in there and not is_ours(name)]
    if foreign and not replace:
        raise InputError(
            f"{where} holds {_listed(foreign)}, which this command did not write or somebody changed since: look at "
            "it there, then write over it with --replace, or name another --repo-id"
        )
    delete = [name for name in former.files if name not in wanted and name in there and is_ours(name)]
    return Changes(send, delete, len(wanted) - len(send))


def is_same(there: RepoFile, hashes: Hashes) -> bool:
    """Say whether a file on the hub has these hashes."""
    return there.lfs.sha256 == hashes.sha256 if there.lfs else there.blob_id == hashes.git


def _listed(names: Iterable[str], most: int = 3) -> str:
    first, *_ = several = list(names)
    if len(several) == 1:
        return first
    more = len(several) - most
    return ", ".join(several[:most]) + (f" and {more} more" if more > 0 else "")
