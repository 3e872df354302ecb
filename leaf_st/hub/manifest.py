"""The manifest ``leaf_st.json`` of a published folder: the files that leaf_st wrote, with the hub's own hashes."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from leaf_st.atomic import is_temporary, read_json, write_json

MANIFEST = "leaf_st.json"


@dataclass(frozen=True)
class Hashes:
    """The hashes by which the hub identifies the content of a file.

    Attributes:
        sha256: The hash of a large file (LFS).
        git: The git object id of any other file.
    """

    sha256: str
    git: str


@dataclass(frozen=True)
class Manifest:
    """The files of a publication.

    Attributes:
        tag: The name of this content: "v" and the first digits of a hash over the names and contents of all files.
        files: Hashes by path, without the manifest itself.
    """

    tag: str
    files: Mapping[str, Hashes]


def write_manifest(folder: Path) -> Manifest:
    """List the files of ``folder`` in its manifest."""
    files = {
        path.relative_to(folder).as_posix(): file_hashes(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST and not is_temporary(path)
    }
    digest = hashlib.sha256("".join(f"{name}\0{hashes.sha256}\n" for name, hashes in files.items()).encode())
    manifest = Manifest(f"v{digest.hexdigest()[:8]}", files)
    listed = {name: asdict(hashes) for name, hashes in files.items()}
    write_json(folder / MANIFEST, {"leaf_st": version("leaf-st"), "tag": manifest.tag, "files": listed})
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in ``path``; a manifest without files if ``path`` is not a manifest."""
    try:
        content = read_json(path)
        return Manifest(content["tag"], {name: Hashes(**hashes) for name, hashes in content["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Manifest("", {})


def file_hashes(path: Path) -> Hashes:
    """Return the hashes of a file, which is read once, in blocks."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            sha256.update(block)
            git.update(block)
    return Hashes(sha256.hexdigest(), git.hexdigest())
