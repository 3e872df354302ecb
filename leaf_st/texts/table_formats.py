"""Tables whose folder lists the files that belong to the table: those of `datasets`, Delta Lake and `leaf-st embed`.

A folder of such a table may hold further files, with rows that were deleted or that another program keeps beside the
table. The cache of `datasets` has no list of its files, but its copies of rows have names of their own. The formats of
Iceberg, Hudi and Lance, and repositories in the hub's cache with several revisions, are refused with a remedy.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from leaf_st.atomic import json_or
from leaf_st.errors import InputError
from leaf_st.texts.columnar import FORMATS

_STATE, _SPLITS = "state.json", "dataset_dict.json"  # of `datasets`: written by save_to_disk
_INFO = "dataset_info.json"  # of `datasets`: in its cache and beside saved data sets
# What `map`, `filter` and `shuffle` of `datasets` write beside the data: rows again, or the numbers of rows.
_CACHED_COPY = re.compile(r"cache-[0-9a-f]{16}.*\.arrow")
# Of a store of vectors, see `leaf_st.teacher.store`: a training writes Arrow files of its own beside the shards.
_HEADER, _MANIFEST = "fingerprint.json", "manifest.json"
_LOG = "_delta_log"
_COMMIT = re.compile(r"\d{20}\.json")
_EXPORT = "write the current rows as parquet into another folder"


def listed_files(folder: Path) -> list[Path] | None:
    """Return the files of the table in ``folder``; None if the folder does not state its files.

    Raises:
        InputError: If the table has a format that is not read, or its list of files is damaged.
    """
    if (state := json_or(folder / _STATE, {})) and isinstance(state.get("_data_files"), list):
        return _files_of_state(folder, state)
    manifest = json_or(folder / _MANIFEST, {}) if (folder / _HEADER).is_file() else {}
    if isinstance(shards := manifest.get("shards"), list):
        return _existing([folder / str(name) for name in shards], folder / _MANIFEST)
    if (folder / _LOG).is_dir():
        return _files_of_log(folder)
    if (folder / "data").is_dir() and any((folder / "_versions").glob("*.manifest")):
        raise InputError(f"{folder}: expected parquet files, found a table of Lance, which is not read: {_EXPORT}")
    if (folder / ".hoodie" / "hoodie.properties").is_file():
        raise InputError(
            f"{folder}: expected parquet files, found a table of Apache Hudi, which is not read: {_EXPORT}"
        )
    if any(map(_is_of_iceberg, (folder / "metadata").glob("*.metadata.json*"))):
        raise InputError(
            f"{folder}: expected parquet files, found a table of Apache Iceberg, which is not read: {_EXPORT}, for "
            "example with pyiceberg"
        )
    if len(revisions := _revisions_with_tables(folder)) > 1:
        raise InputError(
            f"{folder}: expected one revision of a data set, found several in a folder of the hub's cache: name one of "
            f"{', '.join(map(str, revisions))}"
        )
    return None


def _revisions_with_tables(folder: Path) -> list[Path]:
    """Return the folders of the revisions that hold tables, if ``folder`` is a repository in the hub's cache."""
    if not (folder / "refs").is_dir() or not (folder / "snapshots").is_dir():
        return []
    visible = (path for path in sorted((folder / "snapshots").iterdir()) if not path.name.startswith("."))
    return [path for path in visible if any(any(path.rglob(f"*{ending}")) for ending in FORMATS)]


def _is_of_iceberg(metadata: Path) -> bool:
    return ".gz" in metadata.suffixes or (metadata.suffix == ".json" and "format-version" in json_or(metadata, {}))


def is_cached_copy(path: Path) -> bool:
    """Return whether `datasets` wrote the file ``path`` beside the data to cache a result."""
    return _CACHED_COPY.fullmatch(path.name) is not None and (path.parent / _INFO).is_file()


def listed_folders(folder: Path) -> list[Path] | None:
    """Return the folders of the splits that `datasets` saved in ``folder``; None if the folder has no such list."""
    splits = json_or(folder / _SPLITS, {}).get("splits")
    return [folder / str(name) for name in splits] if isinstance(splits, list) else None


def _files_of_state(folder: Path, state: dict[str, Any]) -> list[Path]:
    if state.get("_indices_data_files"):
        raise InputError(
            f"{folder}: expected the rows of a data set, found rows and a selection of them, as early versions of "
            "`datasets` saved shuffled or filtered rows: save the data set again with a current version"
        )
    names = [str(file.get("filename")) for file in state["_data_files"] if isinstance(file, dict)]
    return _existing([folder / name for name in names], folder / _STATE)


def _files_of_log(folder: Path) -> list[Path]:
    """Return the files that the commits of a Delta table have added and not removed."""
    log = folder / _LOG
    commits = sorted(path for path in log.iterdir() if _COMMIT.fullmatch(path.name))
    if [int(path.stem) for path in commits] != list(range(len(commits))) or not commits:
        raise _unread_delta(folder, f"a log without its first commits, which checkpoints replace, in {log}")
    active: dict[str, None] = {}
    for action in _actions(commits):
        settings = (action.get("metaData") or {}).get("configuration") or {}
        if settings.get("delta.columnMapping.mode", "none") != "none":
            raise _unread_delta(folder, "columns with other names in the files than in the table (column mapping)")
        if removed := action.get("remove"):
            active.pop(removed["path"], None)
        if added := action.get("add"):
            if added.get("deletionVector"):
                raise _unread_delta(folder, "files with deleted rows (deletion vectors)")
            if re.match(r"[a-z0-9]+:|/", added["path"]):
                raise _unread_delta(folder, f"a file outside its folder ({added['path']})")
            active[added["path"]] = None
    return _existing([folder / unquote(path) for path in active], log)


def _actions(commits: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in commits:
        try:
            actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise _damaged(path, error) from error
        for action in actions:
            files = [action.get(name, {"path": ""}) for name in ("add", "remove")] if isinstance(action, dict) else []
            if not files or not all(isinstance(file, dict) and isinstance(file.get("path"), str) for file in files):
                raise _damaged(path, f"{action!r} is no action on a file")
            yield action


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged ({reason}): copy the table again")


def _existing(files: list[Path], where: Path) -> list[Path]:
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: expected the file, which {where} lists, found none: copy the table again")
    return files


def _unread_delta(folder: Path, found: str) -> InputError:
    return InputError(
        f"{folder}: expected a Delta table whose log lists complete parquet files, found {found}: {_EXPORT}, for "
        "example with DeltaTable(...).to_pyarrow_table() of deltalake"
    )
