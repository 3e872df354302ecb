"""leaf_st.json of a published folder: which files are ours, and what they hold, by the hashes that the hub keeps."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from leaf_st.atomic import write_json

MANIFEST = "leaf_st.json"


@dataclass(frozen=True)
class Hashes:
    """What the hub knows a file by.

    Attributes:
        sha256: Of a large file.
        git: Object id of any other.
    """

    sha256: str
    git: str


@dataclass(frozen=True)
class Manifest:
    """The files of a publication.

    Attributes:
        tag: Name of this content: "v" and the first digits of a hash over names and contents of all files.
        files: Hashes by path; the manifest's own are not among them.
    """

    tag: str
    files: Mapping[str, Hashes]


def write_manifest(folder: Path) -> Manifest:
    """List the files of ``folder`` in its ``leaf_st.json``."""
    files = {
        path.relative_to(folder).as_posix(): hashes_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    digest = hashlib.sha256("".join(f"{name}\0{of.sha256}\n" for name, of in files.items()).encode())
    manifest = Manifest(f"v{digest.hexdigest()[:8]}", files)
    listed = {name: asdict(of) for name, of in files.items()}
    write_json(folder / MANIFEST, {"leaf_st": version("leaf-st"), "tag": manifest.tag, "files": listed})
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in ``path``; one without files if that is something else."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(known["tag"], {name: Hashes(**hashes) for name, hashes in known["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Manifest("", {})


def hashes_of(path: Path) -> Hashes:
    """Return the hashes of a file, read once and by the block."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            sha256.update(block)
            git.update(block)
    return Hashes(sha256.hexdigest(), git.hexdigest())
