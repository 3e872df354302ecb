"""JSON files that carry a checksum of their own content, so that a damaged value is never used.

A flipped bit can turn a number into another number, which no parser notices.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaf_st.atomic import read_json, write_json
from leaf_st.errors import InputError

_CHECKSUM = "checksum"


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object and its checksum to ``path``, completely or not at all."""
    write_json(path, {**value, _CHECKSUM: _checksum(value)})


def read_sealed(path: Path) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the JSON value in ``path`` without its checksum; files of earlier versions have none.

    Raises:
        InputError: If the checksum belongs to other content.
        OSError: If the file cannot be read.
        ValueError: If the file contains anything else than JSON.
    """
    value = read_json(path)
    if not isinstance(value, dict) or _CHECKSUM not in value:
        return value
    content = {key: item for key, item in value.items() if key != _CHECKSUM}
    if (found := _checksum(content)) != value[_CHECKSUM]:
        raise InputError(
            f"{path} is damaged: expected content with the checksum {value[_CHECKSUM]}, found {found}: restore the "
            f'file, or delete its entry "{_CHECKSUM}" if you changed the file yourself'
        )
    return content


def file_checksum(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _checksum(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
