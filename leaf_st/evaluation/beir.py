"""Reading and checking a retrieval set in a folder with BEIR's files.

Files: ``corpus`` and ``queries`` as .parquet or .jsonl with the columns ``_id``, ``text`` and, optionally for
documents, ``title``; ``qrels.parquet``, ``qrels/test.tsv`` or ``qrels.tsv`` with the columns ``query-id``,
``corpus-id`` and ``score``. A data set of the hub such as NanoBEIR has each of the three as one parquet file in a
folder: ``corpus/*.parquet``, ``queries/*.parquet``, ``qrels/*.parquet``. A parquet file of qrels without ``score``
lists only relevant documents.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leaf_st.errors import InputError

_TEXT_FILES = {name: (f"{name}.parquet", f"{name}.jsonl", f"{name}/*.parquet") for name in ("corpus", "queries")}
_QRELS_FILES = ("qrels.parquet", "qrels/test.tsv", "qrels.tsv", "qrels/*.parquet")
_RELEVANT = 1  # the grade of a document in a file without scores

_Row = dict[str, Any]


@dataclass(frozen=True)
class BeirSet:
    """A retrieval set.

    Attributes:
        name: Name of the folder.
        corpus: Documents with ``id``, ``title`` (may be empty) and ``text``.
        queries: Queries that have judgements, with ``id`` and ``text``.
        qrels: Grades by query id and document id; 0 is not relevant.
    """

    name: str
    corpus: list[dict[str, str]]
    queries: list[dict[str, str]]
    qrels: dict[str, dict[str, int]]


def load_beir(folder: Path) -> BeirSet:
    """Read the retrieval set in ``folder``.

    Raises:
        InputError: If a file or column is missing or unreadable, an id is not unique, a judgement names an unknown id,
            or no document is relevant.
    """
    corpus_path, queries_path, qrels_path = beir_files(folder)
    corpus, queries = _read_texts(corpus_path), _read_texts(queries_path)
    qrels = _read_qrels(qrels_path)
    _check_ids(qrels_path, "query-id", qrels, queries, queries_path)
    for judged in qrels.values():
        _check_ids(qrels_path, "corpus-id", judged, corpus, corpus_path)
    return BeirSet(
        name=folder.resolve().name,
        corpus=list(corpus.values()),
        # The queries file often contains the training queries too.
        queries=[{"id": key, "text": row["text"]} for key, row in queries.items() if key in qrels],
        qrels=qrels,
    )


def is_beir(folder: Path) -> bool:
    """Return whether ``folder`` contains at least one file of a retrieval set."""
    return any(any(folder.glob(pattern)) for patterns in (*_TEXT_FILES.values(), _QRELS_FILES) for pattern in patterns)


def beir_files(folder: Path) -> list[Path]:
    """Return the paths of corpus, queries and qrels in ``folder``.

    Raises:
        InputError: If a file is missing, or a data set of the hub has several files for one part.
    """
    return [_find(folder, patterns) for patterns in (*_TEXT_FILES.values(), _QRELS_FILES)]


def check_folders(folders: Sequence[Path]) -> None:
    """Read each set once, so that an unusable set is reported before any text is embedded.

    Raises:
        InputError: If a set cannot be used, or two folders have the same name, so that their results would be mixed.
    """
    names: dict[str, Path] = {}
    for folder in folders:
        load_beir(folder)
        other = names.setdefault(folder.resolve().name, folder)
        if other is not folder:
            raise InputError(f"retrieval sets {other} and {folder} have the same name: measure them one by one")


def document_text(row: Mapping[str, str]) -> str:
    """Return the text of a document with its title in front."""
    return f"{row['title']} {row['text']}".strip()


def _find(folder: Path, patterns: Sequence[str]) -> Path:
    if not folder.is_dir():
        raise InputError(f"retrieval set {folder}: no such folder: name an existing BEIR folder")
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) > 1:
            raise InputError(
                f"retrieval set {folder}: expected one file {pattern}, found {len(found)}: merge them into one file"
            )
        if found:
            return found[0]
    raise InputError(f"retrieval set {folder}: expected {' or '.join(patterns)}, found none: add the file")


def _read_texts(path: Path) -> dict[str, dict[str, str]]:
    """Return rows with ``id``, ``title`` and ``text``, by id."""
    rows: dict[str, dict[str, str]] = {}
    for row in _read_rows(path, ("_id", "text")):
        key = str(row["_id"])
        if key in rows:
            raise InputError(f"{path}: _id {key!r} is not unique: remove all but one of its rows")
        rows[key] = {"id": key, "title": row.get("title") or "", "text": row["text"]}
        for name in ("title", "text"):
            _require_text(path, key, name, rows[key][name])
    return rows


def _require_text(path: Path, key: str, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{path}: {name} of _id {key!r} is {value!r}, expected a string: correct the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path}: {name} of _id {key!r} contains a lone surrogate, expected text: remove the character"
        ) from None


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    scored = ["score"] if path.suffix == ".tsv" else []
    for row in _read_rows(path, ("query-id", "corpus-id", *scored)):
        grade = _integer(row.get("score", _RELEVANT))
        if grade is None:
            raise InputError(
                f"{path}: score of query {row['query-id']!r} is {row['score']!r}, expected an integer: correct the row"
            )
        qrels.setdefault(str(row["query-id"]), {})[str(row["corpus-id"])] = grade
    if not any(grade > 0 for judged in qrels.values() for grade in judged.values()):
        raise InputError(f"{path}: no score is above 0, expected at least one relevant document: add a judgement")
    return qrels


def _integer(value: Any) -> int | None:  # noqa: ANN401  (a cell of any file)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str) or number == value else None


def _check_ids(qrels_path: Path, column: str, ids: dict[str, Any], rows: dict[str, dict[str, str]], path: Path) -> None:
    for key in ids:
        if key not in rows:
            raise InputError(
                f"{qrels_path}: {column} {key!r} is not in {path.name}: add it there, or remove the judgement"
            )


def _read_rows(path: Path, columns: Sequence[str]) -> list[_Row]:
    """Return the rows of the table at ``path``, each with ``columns``."""
    try:
        rows = _READERS[path.suffix](path)
    except (pa.ArrowException, OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]} ({error}): create the file again") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}: row {number} is {row!r}, expected an object with {', '.join(columns)}: correct the row"
            )
        for column in columns:
            if column not in row:
                raise InputError(
                    f"{path}: row {number} has no {column!r}, expected {', '.join(columns)}: correct the row"
                )
    return rows


def _read_parquet(path: Path) -> list[_Row]:
    rows: list[_Row] = pq.read_table(path).to_pylist()
    return rows


def _read_jsonl(path: Path) -> list[_Row]:
    with path.open(encoding="utf-8") as lines:
        rows: list[_Row] = [json.loads(line) for line in lines if line.strip()]
    return rows


def _read_tsv(path: Path) -> list[_Row]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".tsv": _read_tsv}
