"""A file to read, and the errors about it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from leaf_st.errors import FieldError
from leaf_st.texts.columnar import Pieces, open_pieces
from leaf_st.texts.content import UTF_8, Encoding, content_problem
from leaf_st.texts.progress import PartProgress

Block = list[list[object]]  # the values of consecutive rows, a list for each column
_VARIABLE = "write the column as lists of variable length"
# What pyarrow says of a file that is not damaged, and what to do.
_REMEDIES = {
    "Expected all lists to be of size": _VARIABLE,  # a missing row in a fixed-size list, before version 26
    "spanned by list offsets": _VARIABLE,  # the same, if DuckDB wrote the file
    # As Hive and earlier versions of Athena, Presto and Trino write maps.
    "Map keys must be annotated": "write the table again without its columns of maps",
    "LZO compression": "compress the file with zstd or snappy",
}


class SourceFile(NamedTuple):
    """A file to read.

    Attributes:
        path: The file.
        column: Column to read.
        key: Name of the recipe part that names the file.
        progress: How far the file has been read; the consumer of the rows counts them.
        setting: Part and field of the recipe that name the column.
        encoding: Encoding of a text file.
        kind_column: The column of kinds, if the recipe names the column, which then must exist.
    """

    path: Path
    column: str
    key: str
    progress: PartProgress
    setting: tuple[str, str]
    encoding: Encoding = UTF_8
    kind_column: str | None = None

    def error(self, problem: str, place: str = "") -> FieldError:
        """Return an error about this file, or about ``place`` in this file."""
        return FieldError(self.key, "source", problem, f"{self.path}{place}")

    def require(self, found: Iterable[str]) -> None:
        """Check that the column is one of the columns ``found``.

        Raises:
            FieldError: If the column is missing.
        """
        require_column(self.path, self.column, found, *self.setting)

    def require_kinds(self, found: Iterable[str]) -> None:
        """Check that the column of kinds is one of the columns ``found``, if the recipe names a column.

        Raises:
            FieldError: If the column is missing.
        """
        if self.kind_column is not None:
            require_column(self.path, self.kind_column, found, self.key, "kind_column")

    def refuse_similar(self, found: Iterable[str], columns: Sequence[str]) -> None:
        """Check that no optional column is written in another way, because the column would count as missing.

        Args:
            found: The columns of the file.
            columns: The columns to read.

        Raises:
            FieldError: If the file lacks one of ``columns``, but has the name in other case or with spaces around it.
        """
        names, read = list(found), set(columns)
        for column in columns:
            similar = [name for name in names if name.strip().casefold() == column.casefold() and name not in read]
            if similar and column not in names and column != self.column:
                raise self.error(f"expected the column {column!r} or none, found {similar[0]!r}: rename that column")


def require_column(path: Path, column: str, found: Iterable[str], part: str, field: str) -> None:
    """Check that ``column`` is one of the columns ``found`` in the file ``path``.

    Raises:
        FieldError: If the column is missing; the error is of the recipe's ``field`` in ``part``.
    """
    names = list(found)
    if column not in names:
        content = field.removesuffix("_column")
        header = ", or add a first line with the names of the columns" if path.suffix in (".csv", ".tsv") else ""
        shown = ", ".join(name if name == name.strip() else repr(name) for name in names)  # a blank would not be seen
        raise FieldError(
            part,
            field,
            f"expected a column {column!r} in {path}, found {shown or 'none'}: name the column that contains the "
            f"{content}{header}",
        )


def open_columns(path: Path, part: str, field: str) -> Pieces:
    """Open the parquet or Arrow file ``path``, which the recipe's ``field`` in ``part`` names.

    Raises:
        FieldError: If the file is something else, damaged, or cannot be read.
    """
    with broken_columns(path, "footer", part, field):
        if problem := content_problem(path):
            raise FieldError(part, field, problem, path)
        return open_pieces(path)


@contextmanager
def broken_columns(path: Path, place: str, part: str, field: str) -> Iterator[None]:
    """Turn the errors of a damaged parquet or Arrow file into an error of the recipe's ``field`` in ``part``."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        form = path.suffix.lower().removeprefix(".")
        others = (remedy for sign, remedy in _REMEDIES.items() if sign in str(error))
        remedy = next(others, "copy or create the file again")
        problem = f"broken {form} ({error}): {remedy}"
        raise FieldError(part, field, problem, f"{path}, {place}") from error
