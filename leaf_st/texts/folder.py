"""The files of a folder of tables, as `datasets` and Spark find them.

Files and folders whose names begin with a dot or an underscore are left out: macOS, Jupyter, Spark and this package
write such files beside the data. Folders in the folder are followed, also links to folders and folders that are named
like a file (``x.parquet/part.0.parquet``, as Dask and Spark write tables). Of a table that lists its own files
(`leaf_st.texts.table_formats`), only the listed files are read. Copies of rows that `datasets` cached are left out.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from leaf_st.texts.columnar import FORMATS
from leaf_st.texts.table_formats import is_cached_copy, listed_files, listed_folders

# As `datasets` and others name pieces; earlier versions of `datasets` appended a hash.
_PIECE = re.compile(r"(?P<name>.*[-.])(?P<number>\d+)-of-(?P<count>\d{1,9})(?:-[0-9a-f]{16})?")

# A part of a BEIR folder, perhaps compressed or in a form that is not read.
_OF_BEIR = re.compile(r"(?:corpus|queries)\.(?i:parquet|arrow|feather|jsonl?|csv|tsv|txt|xlsx?)(?:\.\w+)?")

_logger = logging.getLogger(__name__)
_warn_once = cache(_logger.warning)  # a command reads a folder several times


def table_files(path: Path) -> list[Path]:
    """Return the files that hold the rows of ``path``, in order; an empty list for a BEIR folder.

    The files below a folder are its parquet files or, if it has none, its Arrow files, in order of their paths. If
    the names of the files show that others are missing, a warning is logged.

    Raises:
        InputError: If the folder is a table of a format that is not read.
    """
    if not path.is_dir():
        return [path]
    names = [part.name for part in path.iterdir()]
    has_both = all(any(name.startswith(f"{part}.") for name in names) for part in ("corpus", "queries"))
    if has_both or any(map(_OF_BEIR.fullmatch, names)) or _has_folders_of_beir(path):
        return []
    files = list(_files(path, listed=True))
    found = (sorted(part for part in files if part.suffix.lower() == ending) for ending in FORMATS)
    chosen = next(filter(None, found), [])
    for place in path.glob(".*.icloud"):
        _warn_once("%s: the file is only in iCloud, and its texts are not read: download the file", place)
    for problem in missing_pieces(chosen):
        _warn_once("%s; the texts of the missing files are not read", problem)
    return chosen


def warn_of_others(folder: Path, found: Sequence[Path]) -> None:
    """Log a warning if ``found``, the forms of one table in the BEIR folder ``folder``, are several."""
    names = [str(path.relative_to(folder)) for path in found]
    if len(names) > 1:
        _warn_once("%s: %s is read, and not %s", folder, names[0], " or ".join(names[1:]))


def missing_pieces(files: Sequence[Path]) -> list[str]:
    """Return what is missing, such as "train-*-of-00003.parquet: 2 of 3 files are here", by the names of ``files``."""
    numbers: dict[tuple[Path, int], set[str]] = defaultdict(set)
    for path in files:
        if match := _PIECE.fullmatch(path.stem):
            name = f"{match['name']}*-of-{match['count']}{path.suffix}"
            numbers[path.with_name(name), int(match["count"])].add(match["number"])
    return [
        f"{path}: {len(found)} of {count} files are here"
        for (path, count), found in numbers.items()
        if len(found) < count
    ]


def _has_folders_of_beir(path: Path) -> bool:
    """Return whether ``path`` has folders of documents and of queries, as NanoBEIR's data sets on the hub.

    A folder of judgements is not needed: texts are read without the judgements.
    """
    return all((path / part).is_dir() for part in ("corpus", "queries"))


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder``; each folder is entered once, so a link to a folder above it does no harm."""
    return _files(folder, listed=False)


def _files(folder: Path, listed: bool) -> Iterator[Path]:
    """Yield the files below ``folder``; if ``listed``, only those that belong to a table.

    Raises:
        InputError: If a folder is a table of a format that is not read.
    """
    entered, folders = {folder.resolve()}, [folder]
    while folders:
        place = folders.pop()
        if listed and (files := listed_files(place)) is not None:
            yield from files
            continue
        known = listed_folders(place) if listed else None
        for path in sorted(place.iterdir()):
            if path.name.startswith((".", "_")) or (known is not None and path not in known):
                continue
            if not path.is_dir():  # a link to nothing too, which its reader reports
                if not (listed and is_cached_copy(path)):
                    yield path
            elif (target := path.resolve()) not in entered:
                entered.add(target)
                folders.append(path)
