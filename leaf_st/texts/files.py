"""Read the rows of local files: one file of a format of `leaf_st.texts.formats`, or a folder of files."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from leaf_st.errors import FieldError
from leaf_st.hub.dataset_url import is_dataset_url, parse_dataset_url
from leaf_st.recipe import KINDS, TextsSpec
from leaf_st.texts.columnar import FORMATS
from leaf_st.texts.content import PACKED, content_of
from leaf_st.texts.folder import table_files, visible_files, warn_of_others
from leaf_st.texts.formats import READERS, open_source, read_blocks
from leaf_st.texts.progress import PartProgress, ReadProgress
from leaf_st.texts.source import SourceFile
from leaf_st.texts.table_formats import is_cached_copy


class Rows(NamedTuple):
    """Consecutive rows of a file, not yet checked.

    Attributes:
        texts: The texts; a string if the row is usable.
        kinds: Kind of each text; "query" or "document" if the row is usable.
        progress: Progress of the file; the consumer of the rows counts them.
    """

    texts: Sequence[object]
    kinds: Sequence[object]
    progress: PartProgress


_ABOUT = (".md", ".json", ".yaml", ".yml", ".py", ".sh")
_KIND = "kind"  # the column that names the kind of a row, unless a recipe names another column
_OF_KIND = ("queries", "documents", "corpus")  # names of files of one kind
_SHOWN = 8  # files in an error
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows without a value


def read_file(
    spec: TextsSpec, skipped: Counter[str], key: str = "texts", progress: ReadProgress | None = None
) -> Iterator[Rows]:
    """Yield the rows of the file or folder ``spec.source``; the files of a folder come in order of their paths.

    Args:
        spec: The file and its columns.
        skipped: Counts the lines that are not rows, by reason.
        key: Name of ``spec`` in the recipe, for errors: "texts" or "general".
        progress: Progress to update while the files are read.

    Raises:
        InputError: If the file is missing, empty, broken, of an unknown format, or lacks the text column.
    """
    path, progress = local_source(spec.source, key), progress or ReadProgress()
    parts = table_files(path)
    if not parts:
        others = [part for part in path.iterdir() if part.suffix.lower() in FORMATS and not _is_of_beir(part)]
        skipped.update("beside the files of a BEIR folder" for _ in others)
        yield from _beir_rows(path, spec.text_column, skipped, key, progress)
        return
    skipped.update(map(partial(_reason, parts), _other_tables(path, parts)))
    partitions = [_partition(path, part, spec.kind_column, key) for part in parts]
    sources = [open_source(part, spec.text_column, key, progress) for part in parts]
    for source, partition in zip(sources, partitions, strict=True):
        if spec.kind_column != _KIND and not partition:
            source = source._replace(kind_column=spec.kind_column)
        for texts, kinds in read_blocks(source, (spec.kind_column,), skipped):
            # As in Spark, the value of a folder replaces those of a column of the same name.
            stated = [partition or (spec.kind if kind in (None, "") else kind) for kind in kinds]
            yield Rows(texts, stated, source.progress)


def _is_of_beir(file: Path) -> bool:
    return file.name.startswith(("corpus", "queries", "qrels"))


def _other_tables(path: Path, parts: Sequence[Path]) -> list[Path]:
    """Return the files in the folder ``path`` that are not among its ``parts`` and may hold rows."""
    if not path.is_dir():
        return []
    read = {*parts}
    return [part for part in visible_files(path) if part not in read and not _is_about_the_data(part)]


def _reason(parts: Sequence[Path], other: Path) -> str:
    """Return the reason why the file ``other`` of the same folder as ``parts`` is not read."""
    if is_cached_copy(other):
        return "a file that `datasets` cached"
    if other.suffix.lower() == parts[0].suffix.lower():
        return "not a file that the table lists"
    return "not a file of the form that is read"


def _is_about_the_data(file: Path) -> bool:
    """Return whether ``file`` describes a data set, as its card, licence, settings and scripts do."""
    return file.suffix.lower() in _ABOUT or file.stem.upper() in ("README", "LICENSE", "LICENCE", "NOTICE")


def _partition(folder: Path, part: Path, column: str, key: str) -> str:
    """Return the kind that a folder such as ``kind=query`` in ``folder`` states for the file ``part``, as in Spark.

    Raises:
        FieldError: If the folder states a kind in another spelling. Rows of other values are counted and left out.
    """
    for name in part.relative_to(folder).parts[:-1]:
        stated, _, kind = name.partition("=")
        if stated.casefold() != column.casefold() or kind in ("", _NO_VALUE):
            continue
        if kind not in KINDS and (known := kind.strip().casefold()) in KINDS:
            expected = f"expected folders named {stated}={known}, found {name}: rename the folder"
            raise FieldError(key, "source", expected, folder)
        return kind
    return ""


def local_source(source: str, key: str = "texts") -> Path:
    """Return the file or folder ``source``; a data set on the hub is downloaded into the hub's cache.

    Args:
        source: A path, or an address as in `leaf_st.hub.dataset_url`.
        key: Part of the recipe that names the source, for errors.

    Raises:
        InputError: If the hub cannot be reached, or has no such files.
    """
    if not is_dataset_url(source):
        return Path(source)
    from leaf_st.hub.dataset_files import dataset_files  # imports the hub's client, which local files do not need

    return dataset_files(source, tuple(READERS), tuple(FORMATS), key)


def newest_source(source: str, key: str = "texts") -> str:
    """Return ``source`` with the newest commit of a data set on the hub, which is downloaded; others unchanged.

    Args:
        source: A path, or an address as in `leaf_st.hub.dataset_url`.
        key: Part of the recipe that names the source, for errors.

    Raises:
        InputError: If the hub has no such files, or cannot be reached and the hub's cache has no commit.
    """
    if not is_dataset_url(source):
        return source
    from leaf_st.hub.dataset_files import dataset_commit, dataset_files  # see `local_source`

    place = dataset_files(source, tuple(READERS), tuple(FORMATS), key, newest=True)
    return parse_dataset_url(source).at(dataset_commit(source, place))


def read_values(path: Path, column: str, part: str, field: str) -> Iterator[object]:
    """Yield the values of ``column`` in a jsonl, csv or tsv file; row i is row i of `read_file`.

    Args:
        path: The file.
        column: The column.
        part: Part of the recipe that names the column, for errors.
        field: Field of the part that names the column.

    Raises:
        InputError: If the file is missing, empty, broken, or lacks the column.
    """
    source = open_source(path, column, "texts", ReadProgress())._replace(setting=(part, field))
    return (value for (values,) in read_blocks(source, (), Counter()) for value in values)


def titled_blocks(path: Path, text_column: str, title_column: str | None) -> Iterator[tuple[object, object, object]]:
    """Yield what `read_file` reads of each document, its title, and its text without the title.

    Args:
        path: The file or folder.
        text_column: Column of the texts.
        title_column: Column of the titles, which must exist; ``title``, if it exists, if None.

    Raises:
        FieldError: If a file cannot be read or lacks a column.
    """
    parts, shown = table_files(path), title_column or "title"
    names = dict.fromkeys((text_column, shown, "title", _KIND))
    for part in parts or table_files(_corpus_table(path, "texts")):
        source = open_source(part, text_column, "texts", ReadProgress())
        if title_column is not None:
            source = source._replace(column=title_column, setting=("texts", "title_column"))
        others = [name for name in names if name != source.column]
        stated = _partition(path, part, _KIND, "texts")
        for block in read_blocks(source, others, Counter()):
            columns = dict(zip((source.column, *others), block, strict=True))
            rows = zip(columns[shown], columns[text_column], columns["title"], columns[_KIND], strict=True)
            for title, text, read, kind in rows:
                if (stated or kind or "document") == "document":
                    yield text if parts else _with_title(text, read), title, text


def _beir_rows(
    folder: Path, text_column: str, skipped: Counter[str], key: str, progress: ReadProgress
) -> Iterator[Rows]:
    """Yield documents and queries alternately, then the rest of the longer file, so that a limit keeps some of each.

    The queries may be missing, because a search needs only documents.
    """
    tables = [_corpus_table(folder, key), _queries_table(folder, key)]
    corpus, queries = (
        [open_source(path, text_column, key, progress) for path in (table_files(table) if table else ())]
        for table in tables
    )
    for pair in zip_longest(_documents(corpus, skipped), _queries(queries, skipped)):
        yield from (row for row in pair if row is not None)


def _documents(sources: Sequence[SourceFile], skipped: Counter[str]) -> Iterator[Rows]:
    for source in sources:
        for columns in read_blocks(source, ("title",), skipped):
            for text, title in zip(*columns, strict=True):
                yield Rows([_with_title(text, title)], ["document"], source.progress)


def _queries(sources: Sequence[SourceFile], skipped: Counter[str]) -> Iterator[Rows]:
    for source in sources:
        for (texts,) in read_blocks(source, (), skipped):
            for text in texts:
                yield Rows([text], ["query"], source.progress)


def _corpus_table(folder: Path, key: str) -> Path:
    if path := _find_beir_table(folder, "corpus"):
        return path
    names = sorted(path.name for path in folder.iterdir())
    expected = "parquet files, or a BEIR folder with corpus.parquet or corpus.jsonl"
    entry = "file" if any(path.is_file() for path in folder.iterdir()) else "folder"
    remedy = f"name a {entry} of the folder instead" if names else "name a folder with files"
    files = [file for file in islice(visible_files(folder), _SHOWN) if file.is_file()]
    endings = {file.suffix.lower() for file in files}
    if len(files) > 1 and endings in ({".txt"}, {".jsonl"}) and not any(file.stem in _OF_KIND for file in files):
        remedy = "join the files into one file, and name that file"
    for file in files:
        content = content_of(file)
        if content and content.endings == (".jsonl",) and len(files) > 1 and endings == {""}:
            remedy = "join the files into one file with a name that ends in .jsonl, and name that file"
        if content and not set(FORMATS).isdisjoint(content.endings):  # Impala, Hive and Athena write no ending
            remedy = f"rename the files to names with {content.endings[0]}, because {file.name} is {content.name}"
    raise _wrong_files(folder, key, expected, names, remedy)


def _queries_table(folder: Path, key: str) -> Path | None:
    """Return the table of queries, or None if no file is named like queries.

    Raises:
        FieldError: If the queries have a form that is not read: a student would be trained without them.
    """
    path = _find_beir_table(folder, "queries")
    names = [] if path else sorted(str(file.relative_to(folder)) for file in visible_files(folder))
    if found := [name for name in names if name.lower().startswith("queries")]:
        remedy = "convert or rename the files, or move them away to read only the documents"
        raise _wrong_files(folder, key, "queries.parquet or queries.jsonl", found, remedy)
    return path


def _wrong_files(folder: Path, key: str, expected: str, names: Sequence[str], remedy: str) -> FieldError:
    found = ", ".join(names[:_SHOWN]) or "nothing"
    if any(name.lower().endswith(PACKED) for name in names):
        remedy = "unpack the files"
    return FieldError(key, "source", f"expected {expected}, found {found}: {remedy}", folder)


def _find_beir_table(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}.parquet", folder / f"{name}.jsonl", folder / name)
    # A link to nothing is found too, so that `open_source` reports it.
    found = next((path for path in candidates if table_files(path) and os.path.lexists(path)), None)
    if found is not None:
        warn_of_others(folder, [found, *(path for path in candidates if path != found and os.path.lexists(path))])
    return found


def _with_title(text: object, title: object) -> object:
    return f"{title} {text}" if isinstance(title, str) and isinstance(text, str) else text
