"""The manifest of a search page: its settings, and the size and hash of every file; the check before a publication."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaf_st.atomic import is_temporary, read_json
from leaf_st.errors import InputError
from leaf_st.hub.manifest import MANIFEST as HUB_MANIFEST

MANIFEST = "manifest.json"
_REMEDY = "build the page again with `leaf-st site`"
_OWN_HASH = "sha256"


def is_site(folder: Path) -> bool:
    """Return whether ``folder`` is a search page."""
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and all(isinstance(manifest.get(key), dict) for key in ("indexes", "files"))


def foreign_file(page: Path) -> str | None:
    """Return the first file in the folder of a page that its manifest does not list; None if there is none."""
    listed = {*read_json(page / MANIFEST)["files"], MANIFEST, HUB_MANIFEST}
    files = (path for path in page.rglob("*") if not is_temporary(path) and (path.is_symlink() or not path.is_dir()))
    return min({path.relative_to(page).as_posix() for path in files} - listed, default=None)


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


def write_manifest(
    folder: Path, settings: Mapping[str, Any], remote: Mapping[str, Mapping[str, int | str]] | None = None
) -> None:
    """Write the manifest of the page in ``folder``, whose other files are complete.

    Args:
        folder: The page.
        settings: What the page needs to know.
        remote: Size and hash of files on other hosts, by address.
    """
    manifest = {**settings, "files": {**hashes_of(folder), **(remote or {})}}
    write_compact(folder / MANIFEST, {**manifest, _OWN_HASH: _hash(manifest)})


def check_site(folder: Path) -> None:
    """Check that ``folder`` is a complete and unchanged search page.

    The manifest contains the hash of its other values, and lists exactly the files of the folder.

    Raises:
        InputError: If it is not.
    """
    if not is_site(folder):
        raise InputError(f"{folder}: expected a folder that `leaf-st site` made, found no {MANIFEST} of a page")
    manifest = read_json(folder / MANIFEST)
    listed = {path: entry for path, entry in manifest["files"].items() if not path.startswith("https://")}
    found = hashes_of(folder)
    if more := sorted(found.keys() - listed.keys()):
        raise InputError(f"{folder}: {more[0]} is not in {MANIFEST}: remove the file, or {_REMEDY}")
    if missing := sorted(listed.keys() - found.keys()):
        raise InputError(f"{folder}: {missing[0]} is in {MANIFEST}, but not in the folder: {_REMEDY}")
    if different := [path for path, entry in found.items() if entry != listed[path]]:
        raise InputError(f"{folder}: {different[0]} is not as {MANIFEST} lists the file: {_REMEDY}")
    if manifest.pop(_OWN_HASH, None) != _hash(manifest):
        raise InputError(f"{folder}: {MANIFEST} was changed after the page was built: {_REMEDY}")


def write_compact(path: Path, value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Write ``value`` to ``path`` as JSON without spaces."""
    path.write_text(_compact(value), encoding="utf-8")


def _hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_compact(manifest).encode()).hexdigest()


def _compact(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
