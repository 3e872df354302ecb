"""Reading of files row by row: jsonl, csv, tsv and txt."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper

from leaf_st.texts.source import Block, SourceFile

_CSV_FIELD_CHARACTERS = 1 << 24  # the csv module's default limit of 128 KiB is shorter than many documents

Record = Mapping[str, object]


def read_jsonl(source: SourceFile, columns: Sequence[str], skipped: Counter[str]) -> Iterator[Block]:
    """Yield the rows of a jsonl file; ``skipped`` counts the lines that are no JSON object."""
    checked = False
    for line in filter(str.strip, _lines(source)):
        record = _parse(line)
        if record is None:
            skipped["not JSON"] += 1
            continue
        if not checked:
            source.require(record)
            checked = True
        yield _row(record, columns)


def _parse(line: str) -> Record | None:
    """Return the JSON object on ``line``, or None if the line is not a JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def read_csv(source: SourceFile, columns: Sequence[str], _: Counter[str], delimiter: str = ",") -> Iterator[Block]:
    """Yield the rows of a csv file."""
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    # Strict, because an unclosed quote would otherwise turn the rest of the file into one text.
    records = csv.DictReader(_lines(source, newline=""), strict=True, delimiter=delimiter)
    try:
        source.require(records.fieldnames or ())
        for record in records:
            yield _row(record, columns)
    except csv.Error as error:
        raise source.error(
            f"broken csv ({error}): close every quoted text, and double the quotes inside a text",
            f", after line {records.line_num}",
        ) from error


def read_txt(source: SourceFile, columns: Sequence[str], _: Counter[str]) -> Iterator[Block]:
    """Yield the lines of a text file."""
    return (_row({source.column: line}, columns) for line in _lines(source))


def _row(record: Record, columns: Sequence[str]) -> Block:
    return [[record.get(name)] for name in columns]


def _lines(source: SourceFile, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, and note how many bytes were read."""
    with (
        source.path.open("rb") as file,
        TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as lines,
    ):
        for line in lines:
            source.progress.done = file.tell()
            yield line
