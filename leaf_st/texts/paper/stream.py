"""Texts of a dataset on the hub, streamed: whole splits one after the other, or a sample from everywhere.

What is held in memory is a batch of rows, and of a source whose rows are named in another table the ids there: MS
MARCO's 502,939 take 45 MB. A call that goes on reads them anew. A connection that breaks is made anew by the hub's
client and by `datasets`, many times.
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
from leaf_st.texts.paper.sample import ROWS, Batch, Position, dataset_builder, sample_batches
from leaf_st.texts.paper.sources import Source

_DOWNLOAD_ERRORS = (
    HTTPError,
    OSError,  # the hub is out of reach, or says no
    DatasetsError,
    pa.ArrowException,  # of parquet that is none
    EOFError,
    zlib.error,  # of gzip that is none
    # `datasets` knows no other for a configuration or split that is not there, JSON that is none, and rows of other
    # columns than those before.
    ValueError,
)


def check_source(name: str, source: Source) -> str:
    """Read the head of each configuration of ``source``, a dataset; returns the commit that it is at.

    Raises:
        InputError: If the hub cannot be reached, or the dataset is not as ``source`` declares it.
    """
    with _named_errors(name):
        commit = str(HfApi().dataset_info(str(source.hub_id), revision=source.revision).sha)
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
    """Yield the texts of ``source`` from ``place`` on, by the batch.

    Args:
        name: Of the source, for messages.
        source: A dataset on the hub.
        place: Where to begin; says how far it went, whenever a batch was yielded.

    Raises:
        InputError: If the hub cannot be reached, or the dataset is not as ``source`` declares it.
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
    return (sample_batches if source.sample else _whole_batches)(source, config, place)


def _whole_batches(source: Source, config: str, place: Position) -> Iterator[Batch]:
    """Yield the rows of the splits of ``config`` that are wanted, one after the other."""
    whole = _load(source, config, source.split, source.needed)
    splits = [whole] if source.split else [whole[split] for split in sorted(whole)]
    for split in splits[place.piece :]:
        if place.offset is not None:
            split.load_state_dict(place.offset)
        for rows in split.iter(ROWS):
            place.offset = split.state_dict()
            yield Batch(rows, None)
        place.piece, place.offset = place.piece + 1, None


def _load(source: Source, config: str, split: str | None, columns: Sequence[str]) -> Any:  # noqa: ANN401
    """Return the rows of ``split``, or of all by name; of parquet no other columns than ``columns`` are fetched."""
    builder = dataset_builder(source, config)
    loaded = builder.as_streaming_dataset(split)
    # Where one is missing, whoever asks shall see which there are.
    if isinstance(builder.config, ParquetConfig) and set(columns) <= set(builder.info.features):
        builder.config.columns = list(columns)
        loaded = builder.as_streaming_dataset(split)
    return loaded


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn what a download can meet into an `InputError`: a hub out of reach, another dataset, a file that is none."""
    try:
        yield
    except InputError:
        raise
    except _DOWNLOAD_ERRORS as error:
        raise InputError(
            f"source {name} cannot be read from the hub ({_first_line(error)}): if the connection broke, run the same "
            f"command again to go on; otherwise {leave_out(name)}"
        ) from error


def _require_texts(name: str, source: Source, config: str, batch: Mapping[str, list[Any]]) -> None:
    """Check that the columns of texts in ``batch`` hold texts, or lists of texts; some may be missing."""
    for column in source.columns:
        for value in batch[column]:
            entries = value if source.listed else [value]
            if value is not None and not (isinstance(entries, list) and all(isinstance(each, str) for each in entries)):
                raise InputError(
                    f"source {name}: {source.hub_id} ({config}) holds {value!r:.60} in {column}, expected "
                    f"{'a list of texts' if source.listed else 'a text'}: the dataset has changed; {leave_out(name)}"
                )


def leave_out(name: str) -> str:
    """Return what helps where a source cannot be used."""
    return f"leave it out with texts.leave_out={name}, beside what is left out already"


def _named(name: str, source: Source) -> set[str] | None:
    """Return the ids that ``source.named_in`` lists; None if all rows count."""
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
    """Check that ``batch`` has the columns that are needed."""
    if not set(needed) <= set(batch):
        raise InputError(
            f"source {name}: {source.hub_id} ({config}) has the columns {', '.join(batch)}, expected "
            f"{', '.join(needed)}: the dataset has changed; {leave_out(name)}"
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
