"""The checksums of a model folder's files, in its record: a damaged file is named before the file is used.

The loader of models would read most flipped bits without a word, and the limits of an exported graph are wider than the
difference that a flipped bit makes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from leaf_st.errors import InputError
from leaf_st.models.find import is_essential
from leaf_st.run_folder import RECIPE, read_record, write_record
from leaf_st.sealed import file_checksum

_FILES = "file_checksums"  # the key of the record


def with_checksums(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``record`` with the checksums of all files in the model folder ``folder``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECIPE)
    return {**record, _FILES: {path.relative_to(folder).as_posix(): file_checksum(path) for path in paths}}


def without_checksums(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` for a copy of the model whose files may differ."""
    return {key: value for key, value in record.items() if key != _FILES}


def forget_files(folder: Path, names: Iterable[Path]) -> None:
    """Remove the checksums of ``names``, paths in the model folder ``folder``, from its record."""
    _change(folder, {name.as_posix(): None for name in names})


def record_files(folder: Path, names: Iterable[Path]) -> None:
    """Write the checksums of ``names``, paths in the model folder ``folder``, to its record, if they exist."""
    there = {name: folder / name for name in names}
    _change(folder, {name.as_posix(): file_checksum(path) if path.is_file() else None for name, path in there.items()})


def is_recorded(folder: Path, name: Path) -> bool:
    """Return whether the record of the model folder ``folder`` lists the content of the file ``name``."""
    expected = _checksums(read_record(folder)).get(name.as_posix())
    return expected is not None and expected == file_checksum(folder / name)


def _change(folder: Path, changed: Mapping[str, str | None]) -> None:
    """Write the checksums ``changed`` to the record of a model, if it has one; None removes a checksum."""
    if record := read_record(folder):
        checksums = {**_checksums(record), **changed}
        write_record(folder, {**record, _FILES: {name: found for name, found in checksums.items() if found}})


def require_intact(folder: Path) -> None:
    """Check the files of the model folder ``folder`` that have a checksum in its record.

    Weights, settings and files of tokenizers must exist: without some of these files, a model loads with other vectors.
    All other files may be missing, such as onnx/ and the model card: users delete them, and downloads leave them out.

    Raises:
        InputError: If the content of a file has changed, or if a file that can change a vector is missing.
    """
    for name, expected in _checksums(read_record(folder)).items():
        path = folder / name
        if is_essential(name) and not path.is_file():
            raise InputError(
                f"{path} is missing: expected a file with the checksum {expected}: restore the file, or make the model "
                f'again; if you deleted the file on purpose, delete "{_FILES}" and "checksum" from {folder / RECIPE}'
            )
        if path.is_file() and (found := file_checksum(path)) != expected:
            raise InputError(
                f"{path} is damaged: expected a file with the checksum {expected}, found {found}: restore the file, or "
                f'delete the file and make it again; if you changed the file yourself, delete "{_FILES}" and '
                f'"checksum" from {folder / RECIPE}'
            )


def _checksums(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the checksums in ``record``; other programs may also write a file with the name of the record."""
    found = record.get(_FILES)
    return found if isinstance(found, dict) else {}
