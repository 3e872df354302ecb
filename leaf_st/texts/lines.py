"""Reading of files row by row: jsonl, csv, tsv and txt."""

import codecs
import csv
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from io import TextIOWrapper
from typing import TextIO

from leaf_st.errors import FieldError, file_named
from leaf_st.texts.source import Block, SourceFile

_CSV_FIELD_CHARACTERS = 1 << 24  # the csv module's default limit of 128 KiB is shorter than many documents

# Reasons under which such rows of a csv file are counted.
EXTRA_CELLS = "with more cells than the header"
HEADER_AGAIN = "repeating the header"
NOT_OBJECT = "not a JSON object"
LONG_INTEGER = f"with an integer of more than {sys.get_int_max_str_digits():,} digits"  # which json refuses
TOO_DEEP = "nested too deeply for Python"

_JSON_KINDS: dict[type, str] = {str: "a string", list: "an array", bool: "true or false", type(None): "null"}
_COPIED_NULL = r"\N"  # in a format in which backslashes also stand for line ends
_ESCAPE = re.compile(r"\\[0bfnrtv\\]")  # of the same format
_FEW_ESCAPED = 0.05  # share of the texts
_TEXT = "text"  # the column of a table, if no setting names another
_SEPARATORS = ",;\t|"
LONGEST_LINE = 1 << 26  # characters; a gap in a damaged file, or a file without line ends, would fill the memory
_SHOWN = 20  # columns in an error
_FIRST = 1000  # rows of which the columns of a jsonl file, or the texts of a tsv file, are looked at
_MARKED = "leaf_st.marked"  # handler of bytes that are not in the encoding of the file

_warn_once = cache(logging.getLogger(__name__).warning)  # a run reads its texts several times

codecs.register_error(_MARKED, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]

Record = Mapping[str, object]


def read_jsonl(source: SourceFile, columns: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
    """Yield the rows of a jsonl file; ``skipped`` counts the lines that are no JSON object or cannot be parsed.

    Raises:
        FieldError: If no row has the source's column, or none of the first rows has the column of kinds that the recipe
            names. A row may lack both.
    """
    record: Record | None = None
    is_found, found, first = False, dict[str, None](), dict[str, None]()
    for number, record in enumerate(_records(source, skipped), start=1):
        if number <= _FIRST:
            first.update(dict.fromkeys(record))
            source.refuse_similar(first, columns)
        if number == _FIRST:
            source.require_kinds(first)
        is_found = is_found or source.column in record
        if not is_found and len(found) < _SHOWN:
            found.update(dict.fromkeys(record))
        yield _row(record, columns)
    if record is not None and not is_found:
        source.require(found)
    if record is not None:
        source.require_kinds(first)


def _records(source: SourceFile, skipped: Counter[str]) -> Iterator[Record]:
    for line in filter(str.strip, _lines(source)):
        record = _parse(line)
        if isinstance(record, str):
            skipped[record] += 1
            continue
        yield record


def _parse(line: str) -> Record | str:
    """Return the JSON object on ``line``, or the reason why the line has none."""
    # A byte-order mark, which joined files have in the middle, and the separator of JSON text sequences (RFC 7464).
    line = line.lstrip("\ufeff\x1e")
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not line.lstrip().startswith("{"):
            return NOT_OBJECT
        several = line[error.pos :].startswith("{")
        return f"{NOT_OBJECT} but several" if several else f"{NOT_OBJECT} but one with other characters after it"
    except ValueError:
        return LONG_INTEGER
    except RecursionError:
        return TOO_DEEP
    return record if isinstance(record, dict) else f"{NOT_OBJECT} but {_JSON_KINDS.get(type(record), 'a number')}"


def read_csv(
    source: SourceFile, columns: Sequence[str], skipped: Counter[str], delimiter: str = ","
) -> Iterator[Block]:
    """Yield the rows of a csv file; ``skipped`` counts the rows with more cells than the header, and repeated headers.

    The header is the first line that is not blank.

    Raises:
        FieldError: If the header lacks the source's column or names one of ``columns`` twice, if a row repeats the
            names in another order, or if the file is broken.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    # Strict, because an unclosed quote would otherwise turn the rest of the file into one text.
    records = csv.DictReader(_lines(source, newline=""), strict=True, delimiter=delimiter)
    merged = False
    try:
        while records.fieldnames is not None and not "".join(records.fieldnames).strip():
            records.fieldnames = None  # a blank line: the next line is the header
        names = list(records.fieldnames or ())
        _require_separated(source, names, delimiter)
        source.require(names)
        source.require_kinds(names)
        source.refuse_similar(names, columns)
        _require_once(source, names, columns)
        for record in records:
            # The first condition is false for almost every row.
            if record[names[-1]] in names and _repeats_header(source, names, record, records.line_num):
                skipped[HEADER_AGAIN] += 1
                continue
            # A text that contains separators and has no quotes would be cut at the first separator.
            if any(record.get(records.restkey, ())):
                skipped[EXTRA_CELLS] += 1
                continue
            if delimiter == "\t" and _COPIED_NULL in record.values():
                raise source.error(
                    f"expected quoted text, found {_COPIED_NULL}, as PostgreSQL and MySQL write a missing value: write "
                    "the table as csv, for example with COPY ... TO ... (FORMAT csv, HEADER)",
                    f", line {records.line_num}",
                )
            if delimiter == "\t" and not merged and _merges_rows(record):
                merged = True
                _warn_once(
                    f"{source.path}, line {records.line_num}: a text in quotes consists of complete rows: if the "
                    "quotes belong to texts, write the table as parquet, or as csv with a library that doubles them"
                )
            yield _row(record, columns)
    except csv.Error as error:
        # The header itself is broken csv if its names are in quotes, and separated in another way.
        if delimiter not in (header := next(_lines(source), "")):
            _require_separated(source, [header], delimiter)
        raise source.error(
            f"broken csv ({error}): close every quoted text, and double the quotes inside a text",
            f", after line {records.line_num}",
        ) from error


def _merges_rows(record: Record) -> bool:
    """Return whether each line of ``record``, a row with line ends, has the separators of a complete row."""
    cells = [cell for cell in record.values() if isinstance(cell, str)]
    lines = "\t".join(cells).split("\n") if any("\n" in cell for cell in cells) else ()
    is_row = (line.count("\t") == len(record) - 1 and not line.startswith("\t") for line in lines)
    return len(lines) > 1 and len(record) > 1 and all(is_row)


def read_tsv(source: SourceFile, columns: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
    """Yield the rows of a tsv file as `read_csv`, and warn if the texts have the escapes of a database."""
    first: list[str] = []
    for block in read_csv(source, columns, skipped, delimiter="\t"):
        if len(first) < _FIRST:
            first.append(str(block[0][0] or ""))
            if len(first) == _FIRST:
                _warn_of_escapes(source, first)
        yield block
    if len(first) < _FIRST:
        _warn_of_escapes(source, first)


def _warn_of_escapes(source: SourceFile, texts: Sequence[str]) -> None:
    """Warn if ``texts``, the first of a tsv file, seem to have escapes in place of line ends, tabs and backslashes.

    Texts with LaTeX or paths of Windows have other backslashes too, and a file of quoted texts has real line ends.
    """
    escaped = sum(_ESCAPE.search(text) is not None for text in texts)
    has_others = any("\n" in text or "\\" in _ESCAPE.sub("", text) for text in texts)
    if escaped > _FEW_ESCAPED * len(texts) and not has_others:
        _warn_once(
            f"{source.path}: {escaped:,} of the first {len(texts):,} texts have escapes such as \\n, as mysql and "
            "PostgreSQL write line ends and tabs, and are embedded with them: write the table as csv, for example with "
            "COPY ... TO ... (FORMAT csv, HEADER)"
        )


def _require_separated(source: SourceFile, names: Sequence[str], delimiter: str) -> None:
    """Check that the header of a csv file is not Excel's line ``sep=,``, and not one name with another separator."""
    if (first := delimiter.join(names)).startswith("sep=") and len(first) <= len("sep=,"):
        raise source.error(f"expected the names of the columns, found {first}: remove the first line")
    others = [separator for separator in _SEPARATORS if len(names) == 1 and separator in names[0]]
    if others and source.column not in names:
        remedy = f"write the file with {delimiter!r}, or as .parquet"
        if others[0] in ",\t":
            remedy = f"rename the file so that its name ends in {'.csv' if others[0] == ',' else '.tsv'}"
        raise source.error(f"expected columns separated by {delimiter!r}, found {others[0]!r}: {remedy}")


def _require_once(source: SourceFile, names: Sequence[str], columns: Sequence[str]) -> None:
    """Check that the header of a csv file names each of ``columns`` at most once."""
    for column in columns:
        if (count := names.count(column)) > 1:
            raise source.error(f"expected one column {column!r}, found {count}: rename all but one of them")


def _repeats_header(source: SourceFile, names: list[str], record: Record, line: int) -> bool:
    """Return whether ``record`` repeats the header, as in csv files that were joined.

    A single name is no proof, because the name of a column may also be a text.

    Raises:
        FieldError: If the names have another order, so that the rows below have their texts in other columns.
    """
    cells = [record[name] for name in names]
    cells[0] = str(cells[0]).removeprefix("\ufeff")  # a byte-order mark, with which each file may begin
    if len(names) < 2 or set(cells) != set(names):
        return False
    if cells != names:
        raise source.error(
            "expected a row, found the names of the columns in another order, as in several csv files that were "
            "joined: write the rows below this line with the columns in the order of the first line, and remove this "
            "line",
            f", line {line}",
        )
    return True


def read_txt(source: SourceFile, columns: Sequence[str], _: Counter[str]) -> Iterator[Block]:
    """Yield the lines of a text file.

    Raises:
        FieldError: If a setting names a column.
    """
    settings = [source.setting] * (source.column != _TEXT) + [(source.key, "kind_column")] * bool(source.kind_column)
    for part, field in settings:
        raise FieldError(part, field, f"expected a table, found lines of text in {source.path}: remove this setting")
    return (_row({source.column: line}, columns) for line in _lines(source))


def _row(record: Record, columns: Sequence[str]) -> Block:
    return [[record.get(name)] for name in columns]


def _lines(source: SourceFile, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, and note how many bytes were read."""
    with (
        source.path.open("rb") as file,
        file_named(source.path),
        TextIOWrapper(file, encoding=source.encoding.name, errors=_MARKED, newline=newline) as lines,
    ):
        file.seek(source.encoding.start)
        try:
            for line in bounded_lines(lines):
                source.progress.done = file.tell()
                yield line
        except LongLineError as error:
            raise source.error(f"{error}: write one row per line, or copy or create the file again") from error


class LongLineError(ValueError):
    """A line that is too long for a file of rows."""


def bounded_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of ``file``.

    Raises:
        LongLineError: If a line has more than `LONGEST_LINE` characters.
    """
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(("\n", "\r")):
            raise LongLineError(
                f"expected lines of less than {LONGEST_LINE:,} characters, found more in line {number:,}"
            )
        yield line
