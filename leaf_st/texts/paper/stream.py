"""Stream the texts of a data set on the hub: complete splits one after the other, or a sample.

Memory holds a batch of rows and, for a source whose rows are listed in another table, the ids of that table: the
502,939 ids of MS MARCO take 45 MB, and a resumed download reads them again. The hub's client and `datasets` reconnect
many times when a connection breaks.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow as pa
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.parquet.parquet import ParquetConfig
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.explain import first_line
from leaf_st.hub.settings import check_download
from leaf_st.recipe import DOCSTRINGS
from leaf_st.texts.paper.sample import ROWS, Batch, Position, dataset_builder, sample_batches
from leaf_st.texts.paper.sources import Source

_DOWNLOAD_ERRORS = (
    HTTPError,
    AnswerError,
    OSError,  # the hub cannot be reached or refuses
    DatasetsError,
    pa.ArrowException,  # a file that is not parquet
    EOFError,
    zlib.error,  # a file that is not gzip
    # `datasets` raises ValueError for a missing configuration or split, invalid JSON, and rows with other columns than
    # the rows before.
    ValueError,
)


def check_source(name: str, source: Source) -> str:
    """Read the first rows of each configuration of ``source``, a data set; returns its current commit.

    Raises:
        InputError: If the hub cannot be reached, or the data set differs from its declaration.
    """
    with _named_errors(name):
        commit = str(ask(HfApi().dataset_info, str(source.hub_id), revision=source.revision).sha)
        source = replace(source, revision=commit)
        for config in source.configs:
            head = next(_batches(source, config, Position()), Batch({}, None)).rows
            _require(name, source, config, source.needed, head)
            _require_texts(name, source, config, head)
        if source.named_in is not None:
            config, split, column, _ = source.named_in
            _require(name, source, config, [column], next(_load(source, config, split, [column]).iter(1), {}))
        return commit


def stream_texts(name: str, source: Source, place: Position) -> Iterator[list[str]]:
    """Yield the texts of ``source`` from ``place`` on, in batches.

    Args:
        name: Name of the source, for messages.
        source: A data set on the hub.
        place: Where to start; moved past each batch before the batch is yielded.

    Raises:
        InputError: If the hub cannot be reached, or the data set differs from its declaration.
    """
    with _named_errors(name):
        known = _named(name, source)
        while place.config < len(source.configs):
            config = source.configs[place.config]
            for batch in _batches(source, config, place):
                _require(name, source, config, source.needed, batch.rows)
                texts = _joined(source, batch.rows, known)[: batch.most]
                if source.sample:
                    place.take(len(texts))
                yield texts
            place.next_config()


def _batches(source: Source, config: str, place: Position) -> Iterator[Batch]:
    return (sample_batches if source.sample else _split_batches)(source, config, place)


def _split_batches(source: Source, config: str, place: Position) -> Iterator[Batch]:
    """Yield the rows of the needed splits of ``config``, one split after the other."""
    loaded = _load(source, config, source.split, source.needed)
    splits = [loaded] if source.split else [loaded[split] for split in sorted(loaded)]
    for split in splits[place.piece :]:
        if place.offset is not None:
            split.load_state_dict(place.offset)
        for rows in split.iter(ROWS):
            place.offset = split.state_dict()
            yield Batch(rows, None)
        place.piece, place.offset = place.piece + 1, None


def _load(source: Source, config: str, split: str | None, columns: Sequence[str]) -> Any:  # noqa: ANN401
    """Return the rows of ``split``, or of all splits by name; only ``columns`` of parquet files are downloaded."""
    builder = dataset_builder(source, config)
    loaded = builder.as_streaming_dataset(split)
    # If a column is missing, all columns are loaded, so that the error can name them.
    if isinstance(builder.config, ParquetConfig) and set(columns) <= set(builder.info.features):
        builder.config.columns = list(columns)
        loaded = builder.as_streaming_dataset(split)
    return loaded


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn the errors of a download into an `InputError` that names the source, or a setting that cannot work."""
    try:
        check_download()
        yield
    except InputError:
        raise
    except _DOWNLOAD_ERRORS as error:
        raise InputError(
            f"source {name} cannot be read from the hub ({first_line(error)}): run the same command again if "
            f"the connection broke; without a network, set texts.source to a file or to {DOCSTRINGS}; if the source "
            f"has changed, {leave_out(name)}"
        ) from error


def _require_texts(name: str, source: Source, config: str, batch: Mapping[str, list[Any]]) -> None:
    """Check that the text columns of ``batch`` contain texts, lists of texts, or missing values."""
    for column in source.columns:
        for value in batch[column]:
            entries = value if source.listed else [value]
            if value is not None and not (isinstance(entries, list) and all(isinstance(each, str) for each in entries)):
                raise InputError(
                    f"source {name}: expected {'a list of texts' if source.listed else 'a text'} in {column} of "
                    f"{source.hub_id} ({config}), found {value!r:.60}: the data set has changed; {leave_out(name)}"
                )


def leave_out(name: str) -> str:
    """Return the remedy for a source that cannot be used."""
    return f"add {name} to texts.leave_out"


def _named(name: str, source: Source) -> set[str] | None:
    """Return the ids that ``source.named_in`` lists; None if the source has no such list."""
    if source.named_in is None:
        return None
    config, split, column, _ = source.named_in
    found: set[str] = set()
    for batch in _load(source, config, split, [column]).iter(ROWS):
        _require(name, source, config, [column], batch)
        found.update(map(str, batch[column]))
    return found


def _joined(source: Source, batch: Mapping[str, list[Any]], known: set[str] | None) -> list[str]:
    """Return the texts of a batch of rows."""
    keep: Iterable[bool] = [True] * len(batch[source.columns[0]])
    if source.only is not None:
        column, value = source.only
        keep = [found == value for found in batch[column]]
    if known is not None and source.named_in is not None:
        keep = [str(identity) in known for identity in batch[source.named_in[3]]]
    rows = zip(*(batch[column] for column in source.columns), strict=True)
    texts = (_text(row) for row, kept in zip(rows, keep, strict=True) if kept)
    return [text for text in chain.from_iterable(texts) if text]


def _text(values: tuple[Any, ...]) -> list[str]:
    if isinstance(values[0], list):
        return [value.strip() for value in values[0] if isinstance(value, str)]
    return [": ".join(value.strip() for value in values if isinstance(value, str) and value.strip())]


def _require(name: str, source: Source, config: str, needed: Sequence[str], batch: Mapping[str, Any]) -> None:
    """Check that ``batch`` has the ``needed`` columns."""
    if not set(needed) <= set(batch):
        raise InputError(
            f"source {name}: expected the columns {', '.join(needed)} in {source.hub_id} ({config}), found "
            f"{', '.join(batch)}: the data set has changed; {leave_out(name)}"
        )
