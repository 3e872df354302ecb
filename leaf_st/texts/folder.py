"""The files of a folder of tables, as `datasets` and Spark find them.

Files and folders whose names begin with a dot or an underscore are left out: macOS, Jupyter, Spark and this package
write such files beside the data. Folders in the folder are followed, also links to folders and folders that are named
like a file (``x.parquet/part.0.parquet``, as Dask and Spark write tables).
"""

from collections.abc import Iterator
from pathlib import Path

from leaf_st.texts.columnar import FORMATS


def table_files(path: Path) -> list[Path]:
    """Return the files that hold the rows of ``path``, in order; an empty list for a BEIR folder.

    The files below a folder are its parquet files or, if it has none, its Arrow files, in order of their paths.
    """
    if not path.is_dir():
        return [path]
    if any(path.glob("corpus.*")) or any(path.glob("queries.*")):
        return []
    files = list(visible_files(path))
    found = (sorted(part for part in files if part.suffix.lower() == ending) for ending in FORMATS)
    return next(filter(None, found), [])


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder``; each folder is entered once, so a link to a folder above it does no harm."""
    entered, folders = {folder.resolve()}, [folder]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name.startswith((".", "_")):
                continue
            if not path.is_dir():  # a link to nothing too, which its reader reports
                yield path
            elif (place := path.resolve()) not in entered:
                entered.add(place)
                folders.append(path)
