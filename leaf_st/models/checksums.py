"""SHA-256 of a model's files, and the comparison of files in the hub's cache with the hub's own SHA-256.

The hub's client compares only the size of a download, and never looks again at a file in its cache.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from leaf_st.errors import ModelError
from leaf_st.zoo import PACKAGED

_WEIGHTS = "model.safetensors"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read once for a size and time: weights of gigabytes are hashed several times."""
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


def require_hub_content(folder: Path, name: str, revision: str | None) -> None:
    """Check that the large files in ``folder``, in the hub's cache, have the content that the hub announced for them.

    The weights of a model that a package carries are compared with the SHA-256 in the zoo, unless the caller names a
    revision. Files of a few kilobytes have no SHA-256 on the hub.

    Args:
        folder: Folder of the model in the hub's cache.
        name: Hub id of the model.
        revision: Revision that the caller named, if any.

    Raises:
        ModelError: If the SHA-256 of a file differs.
    """
    expected = dict(_announced(folder))
    if name in PACKAGED and revision is None:
        expected[folder / _WEIGHTS] = PACKAGED[name].sha256
    for path, sha256 in expected.items():
        if path.is_file() and (found := sha256_of(path)) != sha256:
            raise ModelError(
                name,
                f"{path}: expected the sha256 {sha256}, found {found}: delete {path.resolve()}, and the next command "
                "downloads the file again",
            )


def _announced(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the large files in ``folder`` with their SHA-256 on the hub: the cache links to a file of that name."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", name := Path(os.readlink(path)).name):
            yield path, name


@lru_cache(maxsize=256)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
