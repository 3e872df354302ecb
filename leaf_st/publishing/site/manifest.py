"""The check of a search page before its publication: the files are those of its manifest."""

import hashlib
from pathlib import Path

from leaf_st.atomic import is_temporary, read_json
from leaf_st.errors import InputError
from leaf_st.hub.manifest import MANIFEST as HUB_MANIFEST

MANIFEST = "manifest.json"
_REMEDY = "build the page again with `leaf-st site`"


def is_site(folder: Path) -> bool:
    """Return whether ``folder`` is a search page."""
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and all(isinstance(manifest.get(key), dict) for key in ("indexes", "files"))


def hashes_of(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return size and hash of each file of a page by path, as the manifest lists them."""
    left_out = {folder / MANIFEST, folder / HUB_MANIFEST}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in left_out)
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
        if not is_temporary(path)
    }


def check_site(folder: Path) -> None:
    """Check that ``folder`` is a complete and unchanged search page.

    Raises:
        InputError: If it is not.
    """
    if not is_site(folder):
        raise InputError(f"{folder}: expected a folder that `leaf-st site` made, found no {MANIFEST} of a page")
    listed = {
        path: entry for path, entry in read_json(folder / MANIFEST)["files"].items() if not path.startswith("https://")
    }
    found = hashes_of(folder)
    if different := sorted(path for path in listed.keys() | found.keys() if listed.get(path) != found.get(path)):
        raise InputError(f"{folder}: {different[0]} is not as the manifest lists it: {_REMEDY}")
