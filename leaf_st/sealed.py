"""Files with a checksum, so that a damaged value is never used.

A flipped bit can turn a number into another number, which no parser notices. A JSON file contains the checksum of its
own content. The checksum of any other file is in a second file beside the first.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leaf_st.atomic import read_json, write_json, write_whole
from leaf_st.errors import InputError, file_named

_CHECKSUM = "checksum"

_logger = logging.getLogger(__name__)


def write_sealed(path: Path, value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON object and its checksum to ``path``, completely or not at all.

    Each object of a list has its own checksum.
    """
    write_json(path, _sealed(value) if isinstance(value, Mapping) else list(map(_sealed, value)))


def _sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, _CHECKSUM: _checksum(json.loads(json.dumps(value)))}  # with the keys and types of JSON


def read_sealed(path: Path) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the JSON value in ``path`` without its checksums; files of earlier versions have none.

    Raises:
        InputError: If a checksum belongs to other content.
        OSError: If the file cannot be read.
        ValueError: If the file contains anything other than JSON.
    """
    value = read_json(path)
    return [_unsealed(item, path) for item in value] if isinstance(value, list) else _unsealed(value, path)


def _unsealed(value: Any, path: Path) -> Any:  # noqa: ANN401  (any JSON value)
    if not isinstance(value, dict) or _CHECKSUM not in value:
        return value
    content = {key: item for key, item in value.items() if key != _CHECKSUM}
    if (found := _checksum(content)) != value[_CHECKSUM]:
        raise InputError(
            f"{path} is damaged: expected content with the checksum {value[_CHECKSUM]}, found {found}: restore the "
            f'file, or delete its entry "{_CHECKSUM}" if you changed the file yourself'
        )
    return content


def write_once(path: Path, write: Callable[[Path], None]) -> None:
    """Write the file ``path`` by `write_whole`, unless the file exists and is intact; its checksum is beside the file.

    A file without a checksum, as a kill or an earlier version left it, is written again.
    """
    mark = path.with_name(f"{path.name}.{_CHECKSUM}")
    if path.is_file() and mark.is_file():
        if mark.read_bytes() == file_checksum(path).encode():
            return
        _logger.warning("%s is damaged: the file is written again", path)
    write_whole(path, write)
    write_whole(mark, lambda temporary: _write_checksum(temporary, path))


def _write_checksum(mark: Path, path: Path) -> None:
    mark.write_text(file_checksum(path), encoding="utf-8")


def file_checksum(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file, file_named(path):
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _checksum(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
