"""Reading and checking a retrieval set in a folder with BEIR's files.

Files: ``corpus`` and ``queries`` as .parquet or .jsonl with the columns ``_id`` or ``id``, ``text`` and, optionally for
documents, ``title``; ``qrels.parquet``, ``qrels/test.tsv`` or ``qrels.tsv`` with the columns ``query-id``,
``corpus-id`` and ``score``. A data set of the hub such as NanoBEIR has each of the three as one parquet file in a
folder: ``corpus/*.parquet``, ``queries/*.parquet``, ``qrels/*.parquet``. Many data sets of mteb have the judgements
in ``data/*.parquet``, because ``push_to_hub`` writes the default configuration there. A parquet file of qrels without
``score`` lists only relevant documents. A tsv file may lack the header, and may have TREC's four columns. Hidden files
are ignored.

As in mteb, a judged document that is not in the corpus stays in the judgements, so no ranking reaches the ideal DCG,
and a judged query without a text is left out. In some sets (ArguAna, Quora) the queries are documents too: a document
with the id and the text of a query is left out of the ranking of this query, unless the document is judged relevant.
mteb's sets with candidates for each query (``top_ranked``) or with instructions are refused: without these parts, a
score would be the score of another set.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.evaluation.beir_rows import QRELS, TEXTS, as_grade, as_id, missing_column, read_rows
from leaf_st.evaluation.set_files import open_parquet, warn_shortened
from leaf_st.models.identity import hash_files
from leaf_st.texts.content import PACKED
from leaf_st.texts.fold import folded
from leaf_st.texts.folder import missing_pieces, warn_of_others

_TEXT_FILES = {name: (f"{name}.parquet", f"{name}.jsonl", f"{name}/*.parquet") for name in ("corpus", "queries")}
_NAMED_QRELS = ("qrels.parquet", "qrels/test.tsv", "qrels.tsv", "qrels/*.parquet")
_HUB_QRELS = "data/*.parquet"
_QRELS_FILES = (*_NAMED_QRELS, _HUB_QRELS)
_FORMS = {".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv"}  # endings of tables, most of which are not read
# Parts of mteb's sets for reranking and of sets with instructions.
_CANDIDATES = re.compile(r"(.*-)?top_ranked(\.parquet|\.jsonl)?")
_INSTRUCTIONS = re.compile(r"(.*-)?instructions?(\.parquet|\.jsonl)?")
_SHOWN = 8  # files in an error
_RELEVANT = 1  # the grade of a document in a file without scores

_logger = logging.getLogger(__name__)
_log_once = cache(_logger.log)  # a command reads a set several times


@dataclass(frozen=True)
class BeirSet:
    """A retrieval set.

    Attributes:
        name: Name of the folder.
        corpus: Documents with ``id``, ``title`` (may be empty) and ``text``.
        queries: Queries that have judgements, or all queries if the set was read so, with ``id`` and ``text``.
        qrels: Grades by query id and document id; 0 is not relevant.
        own: Place in the corpus of the document that is the query itself, by query id.
    """

    name: str
    corpus: list[dict[str, str]]
    queries: list[dict[str, str]]
    qrels: dict[str, dict[str, int]]
    own: dict[str, int] = field(default_factory=dict)

    @property
    def own_places(self) -> NDArray[np.int64]:
        """Place in the corpus of the document that is the query itself, or -1; shape (q,)."""
        return np.array([self.own.get(row["id"], -1) for row in self.queries], np.int64)


def load_beir(folder: Path, *, unjudged: bool = False) -> BeirSet:
    """Read the retrieval set in ``folder``.

    Args:
        folder: The folder.
        unjudged: Whether to keep the queries without judgements too.

    Raises:
        InputError: If a file or column is missing or unreadable, an id is not unique, or no query has both a text and a
            relevant document of the corpus; if a set that is to be judged has candidates or instructions.
    """
    corpus_path, queries_path, qrels_path = beir_files(folder)
    corpus, queries = _read_texts(corpus_path), _read_texts(queries_path)
    if not unjudged:
        _require_plain(folder, queries_path)
    qrels = _with_texts(_read_qrels(qrels_path), queries, qrels_path, queries_path)
    _check_documents(qrels, corpus, qrels_path, corpus_path)
    if unjudged:
        qrels = {key: qrels.get(key, {}) for key in queries}
    for path, rows in ((corpus_path, corpus), (queries_path, queries)):
        warn_shortened(path, (text for row in rows.values() for text in (row["title"], row["text"])))
    return BeirSet(
        name=folder.resolve().name,
        corpus=list(corpus.values()),
        # The queries file often contains the training queries too.
        queries=[{"id": key, "text": row["text"]} for key, row in queries.items() if key in qrels],
        qrels=qrels,
        own=_own_documents(corpus, queries, qrels, folder),
    )


def is_beir(folder: Path) -> bool:
    """Return whether ``folder`` contains at least one file of a retrieval set."""
    patterns = [pattern for group in (*_TEXT_FILES.values(), _NAMED_QRELS) for pattern in group]
    return any(_visible(folder, pattern) for pattern in patterns)


def beir_files(folder: Path) -> list[Path]:
    """Return the paths of corpus, queries and qrels in ``folder``.

    Raises:
        InputError: If a file is missing, or a data set of the hub has several files for one part.
    """
    return [_find(folder, patterns) for patterns in (*_TEXT_FILES.values(), _QRELS_FILES)]


def revision_of(folder: Path) -> str:
    """Return the revision of the set in ``folder``, a hash of its files.

    The revision of a set whose queries are documents too differs from the hash, because scores of earlier versions
    ranked the query itself.

    Raises:
        InputError: As `load_beir`.
    """
    return hash_files(beir_files(folder)) + ("-own" if load_beir(folder).own else "")


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
        found = _visible(folder, pattern)
        if len(found) > 1:
            raise _several_files(folder, pattern, found)
        if missing := missing_pieces(found):
            raise InputError(
                f"retrieval set {folder}: expected one file {pattern}, found a piece of it ({missing[0]}): add the "
                "other files, and merge them into one file"
            )
        if found:
            forms = (_visible(folder, other) for other in patterns if other != _HUB_QRELS)
            warn_of_others(folder, [form[0] for form in forms if form])
            return found[0]
    part = patterns[0].partition(".")[0]
    for path in folder.glob(f"{part}*"):
        if path.is_symlink() and not path.exists():
            raise InputError(
                f"retrieval set {folder}: {path.name} is a link to {path.readlink()}, which does not "
                "exist: restore that file, or remove the link"
            )
    others = [
        str(path.relative_to(folder))
        for way in ("*", "*/*")
        for path in _visible(folder, way)
        if str(path.relative_to(folder)).lower().startswith(part)
    ]
    remedy = f"{'add or rename' if others else 'add'} the file"
    endings, read = ({Path(name).suffix.lower() for name in names} for names in (others, patterns))
    if any(name.lower().endswith(PACKED) for name in others):
        remedy = "unpack the file"
    elif endings & _FORMS and endings.isdisjoint(read):
        columns = QRELS if patterns == _QRELS_FILES else TEXTS
        remedy = f"convert the file to a {' or '.join(sorted(read))} file with the columns {', '.join(columns)}"
    found_names = ", ".join(others[:_SHOWN]) or "none"
    raise InputError(f"retrieval set {folder}: expected {' or '.join(patterns)}, found {found_names}: {remedy}")


def _require_plain(folder: Path, queries: Path) -> None:
    """Check that each query ranks the whole corpus, and has no instruction that belongs to its text."""
    names = sorted(path.name for path in folder.iterdir())
    if found := next(filter(_CANDIDATES.fullmatch, names), None):
        raise InputError(
            f"retrieval set {folder}: expected queries that search the whole corpus, found {found}, the candidates of "
            f"each query: name the task of mteb instead of the folder, or remove {found} to search the whole corpus"
        )
    found = next(filter(_INSTRUCTIONS.fullmatch, names), None)
    if found is None and any(row.get("instruction") for row in read_rows(queries, ())):
        found = f"the column instruction of {queries.name}"
    if found:
        raise InputError(
            f"retrieval set {folder}: expected queries without instructions, found {found}: name the task of mteb "
            f"instead of the folder, or append each instruction to the text of its query, and remove {found}"
        )


def _several_files(folder: Path, pattern: str, found: Sequence[Path]) -> InputError:
    """Return the error about several files for a part of a set, which may be splits or pieces of one split."""
    remedy = "merge them into one file"
    splits = {path.stem.partition("-")[0]: re.sub(r"[\W_]*\d.*", "", path.stem) for path in found}
    if len(set(splits.values())) > 1:  # names of pieces differ only in a number
        names = sorted(splits)
        remedy = f"keep the split that is to be evaluated, of {', '.join(names[:_SHOWN])}, and move the others away"
        if pattern not in _QRELS_FILES:
            remedy += f", in {', '.join(_TEXT_FILES)} and qrels"
    return InputError(f"retrieval set {folder}: expected one file {pattern}, found {len(found)}: {remedy}")


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files of ``pattern``; systems and tools write files of their own with names like ``._a`` or ``_a``."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith((".", "_")))


def _read_texts(path: Path) -> dict[str, dict[str, str]]:
    """Return rows with ``id``, ``title`` and ``text``, by id."""
    rows: dict[str, dict[str, str]] = {}
    for number, row in enumerate(found := read_rows(path, TEXTS[1:]), start=1):
        column = "_id" if "_id" in row or "id" not in row else "id"
        if column not in row:
            raise missing_column(path, found, number, column)
        key = _id(path, number, row, column)
        if key in rows:
            raise InputError(f"{path}: _id {key!r} is not unique: remove all but one of its rows")
        rows[key] = {"id": key, "title": row.get("title") or "", "text": row["text"]}
        for name in ("title", "text"):
            _require_text(path, key, name, rows[key][name])
    return rows


def _id(path: Path, number: int, row: Mapping[str, object], column: str) -> str:
    if (key := as_id(row[column])) is None:
        raise InputError(
            f"{path}: {column} of row {number} is {row[column]!r}, expected a string or an integer: correct the row"
        )
    return key


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
    if path.suffix == ".parquet":
        _require_no_other_grade(path)
    qrels: dict[str, dict[str, int]] = {}
    changed = 0
    for number, row in enumerate(read_rows(path, QRELS if path.suffix == ".tsv" else QRELS[:2]), start=1):
        query, document = (_id(path, number, row, column) for column in QRELS[:2])
        grade = as_grade(row.get("score", _RELEVANT))
        if grade is None:
            raise InputError(
                f"{path}: score of query {query!r} is {row['score']!r}, expected an integer: correct the row"
            )
        judged = qrels.setdefault(query, {})
        changed += judged.get(document, grade) != grade
        judged[document] = grade
    if changed:
        _log_once(
            logging.WARNING, f"{path}: {changed:,} rows repeat a judgement with another score: the last score counts"
        )
    if not any(grade > 0 for judged in qrels.values() for grade in judged.values()):
        raise InputError(f"{path}: no score is above 0, expected at least one relevant document: add a judgement")
    return qrels


def _require_no_other_grade(path: Path) -> None:
    """Check that a parquet file of judgements without ``score`` has no column of another name that may be the grade."""
    schema = open_parquet(path).schema
    if "score" in schema.names:
        return
    for column in schema:
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if is_number and column.name not in QRELS and not column.name.startswith("__"):  # the index of a DataFrame
            raise InputError(
                f"{path}: expected a column score or only relevant documents, found the column {column.name}: rename "
                "the column to score, or remove the column"
            )


def _with_texts(
    qrels: dict[str, dict[str, int]], queries: Mapping[str, object], path: Path, queries_path: Path
) -> dict[str, dict[str, int]]:
    """Return the judgements of the queries that have a text."""
    kept = {key: judged for key, judged in qrels.items() if key in queries}
    if not kept:
        raise InputError(
            f"{path}: query-id {next(iter(qrels))!r} and all others are not in {queries_path.name}: "
            "add them there, or name the queries of these judgements"
        )
    if missing := len(qrels) - len(kept):
        _log_once(
            logging.WARNING,
            f"{path}: {missing:,} of {len(qrels):,} judged queries are not in {queries_path.name}: "
            "they are left out, as in mteb",
        )
    return kept


def _check_documents(
    qrels: Mapping[str, Mapping[str, int]], corpus: Mapping[str, object], path: Path, corpus_path: Path
) -> None:
    judged = {document for grades in qrels.values() for document in grades}
    relevant = {document for grades in qrels.values() for document, grade in grades.items() if grade > 0}
    if relevant and relevant.isdisjoint(corpus):
        raise InputError(
            f"{path}: corpus-id {min(relevant)!r} and all other relevant documents are not in {corpus_path.name}: "
            "add them there, or name the corpus of these judgements"
        )
    if missing := sum(document not in corpus for document in judged):
        _log_once(
            logging.WARNING,
            f"{path}: {missing:,} of {len(judged):,} judged documents are not in {corpus_path.name}: "
            "they count as not found, as in mteb",
        )


def _own_documents(
    corpus: Mapping[str, Mapping[str, str]],
    queries: Mapping[str, Mapping[str, str]],
    qrels: Mapping[str, Mapping[str, int]],
    folder: Path,
) -> dict[str, int]:
    """Return the places of the documents that are queries; equal ids are common where both are numbered from 1."""
    places = {key: place for place, key in enumerate(corpus)} if not qrels.keys().isdisjoint(corpus) else {}
    found = {
        key: places[key]
        for key, judged in qrels.items()
        if key in places and judged.get(key, 0) <= 0 and folded(queries[key]["text"]) in _contents(corpus[key])
    }
    if found:
        _log_once(
            logging.INFO,
            f"retrieval set {folder}: {len(found):,} of {len(qrels):,} queries are documents with the same id and "
            "text: each is left out of its own ranking, as in BEIR",
        )
    return found


def _contents(document: Mapping[str, str]) -> Iterable[str]:
    return folded(document["text"]), folded(document_text(document))
