"""Texts of a dataset on the hub, streamed, from anywhere in it.

A dataset is read in pieces: the splits of a configuration whole, or for a sample the row groups of its files in random
order, of each at most a thirty-second of the sample. Nothing but a batch of rows is held in memory. A connection that
breaks is made anew by the hub's client.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.texts.sources import Source

_ROWS = 1024  # read at once
_PIECES = 32  # a sample comes from so many places at least, where there are so many
_SEED = 0


@dataclass
class Position:
    """A place in a source.

    Attributes:
        config: Configuration in work.
        taken: Texts taken of it.
        piece: Piece of it in work.
        of_piece: Texts taken of that.
        offset: Place in that, as `datasets` tells it.
    """

    config: int = 0
    taken: int = 0
    piece: int = 0
    of_piece: int = 0
    offset: dict[str, Any] | None = None


def stream_texts(name: str, source: Source, place: Position) -> Iterator[list[str]]:
    """Yield the texts of ``source`` from ``place`` on, by the batch.

    Args:
        name: Of the source, for messages.
        source: A dataset on the hub.
        place: Where to begin; says how far it went, whenever a batch was yielded.

    Raises:
        InputError: If the hub cannot be reached, or the dataset is not as ``source`` declares it.
    """
    known = _named(name, source)
    while place.config < len(source.configs):
        yield from _config_texts(name, source, source.configs[place.config], place, known)
        place.config, place.taken, place.piece = place.config + 1, 0, 0


def _config_texts(
    name: str, source: Source, config: str, place: Position, known: pa.Array | None
) -> Iterator[list[str]]:
    with _named_errors(name):
        pieces = _pieces(source, config)
    quota = source.sample or np.inf
    of_piece = np.ceil(quota / min(_PIECES, len(pieces)))
    for piece in pieces[place.piece :]:
        for batch in _batches(name, piece(), place):
            _require_columns(name, source, config, batch)
            most = int(min(quota - place.taken, of_piece - place.of_piece, np.iinfo(np.int64).max))
            texts = _joined(source, batch, known)[:most]
            place.taken += len(texts)
            place.of_piece += len(texts)
            yield texts
            if place.of_piece >= of_piece or place.taken >= quota:
                break
        place.piece, place.of_piece, place.offset = place.piece + 1, 0, None
        if place.taken >= quota:
            return


def _pieces(source: Source, config: str) -> list[Callable[[], datasets.IterableDataset]]:
    """Return what is read one after the other: the splits, or for a sample the row groups of all, shuffled."""
    whole = datasets.load_dataset(source.hub_id, config, split=source.split, revision=source.revision, streaming=True)
    splits = [whole] if source.split else [whole[split] for split in sorted(whole)]
    if source.sample is None:
        return [partial(copy, split) for split in splits]
    groups = [split.reshard() for split in splits]
    parts = [
        partial(split.shard, num_shards=split.num_shards, index=index)
        for split in groups
        for index in range(split.num_shards)
    ]
    return [parts[index] for index in np.random.default_rng((_SEED, len(parts))).permutation(len(parts))]


def _batches(name: str, piece: datasets.IterableDataset, place: Position) -> Iterator[dict[str, list[Any]]]:
    """Yield the rows of a piece from where ``place`` stands."""
    if place.offset is not None:
        piece.load_state_dict(place.offset)
    batches = piece.iter(_ROWS)
    while True:
        with _named_errors(name):
            batch = next(batches, None)
        if batch is None:
            return
        place.offset = piece.state_dict()
        yield batch


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn what a download can meet into an `InputError`; the hub's client has tried five times by then."""
    otherwise = f"or leave it out with texts.leave_out={name}"
    try:
        yield
    except (pa.ArrowException, ValueError, DatasetsError, EntryNotFoundError) as error:
        # No such dataset, configuration or split, or a file that is none.
        raise InputError(f"source {name} is not on the hub as expected ({_first_line(error)}): {otherwise}") from error
    except (OSError, HTTPError) as error:
        raise InputError(
            f"source {name}: the hub cannot be reached ({_first_line(error)}): run the same command again to go on, "
            + otherwise
        ) from error


def _named(name: str, source: Source) -> pa.Array | None:
    """Return the ids that ``source.named_in`` lists, each once, sorted; None if all rows count."""
    if source.named_in is None:
        return None
    config, split, column, _ = source.named_in
    with _named_errors(name):
        listed = datasets.load_dataset(source.hub_id, config, split=split, revision=source.revision, streaming=True)
    found: set[str] = set()
    for batch in _batches(name, listed, Position()):
        if column not in batch:
            raise _other_columns(name, f"{source.hub_id} ({config})", [column], batch)
        found.update(map(str, batch[column]))
    return pa.array(sorted(found))


def _joined(source: Source, batch: Mapping[str, list[Any]], known: pa.Array | None) -> list[str]:
    """Return the texts of a batch of rows."""
    keep: Iterable[bool] = [True] * len(batch[source.columns[0]])
    if source.only is not None:
        column, value = source.only
        keep = [found == value for found in batch[column]]
    if known is not None and source.named_in is not None:
        keep = pc.is_in(pa.array(list(map(str, batch[source.named_in[3]]))), value_set=known).to_pylist()
    rows = zip(*(batch[column] for column in source.columns), strict=True)
    texts = (_text(row) for row, kept in zip(rows, keep, strict=True) if kept)
    return [text for text in chain.from_iterable(texts) if text]


def _text(values: tuple[Any, ...]) -> list[str]:
    if isinstance(values[0], list):
        return [value.strip() for value in values[0] if isinstance(value, str)]
    return [": ".join(value.strip() for value in values if isinstance(value, str) and value.strip())]


def _require_columns(name: str, source: Source, config: str, batch: Mapping[str, Any]) -> None:
    needed = [*source.columns]
    if source.only:
        needed.append(source.only[0])
    if source.named_in:
        needed.append(source.named_in[3])
    if not set(needed) <= set(batch):
        raise _other_columns(name, f"{source.hub_id} ({config})", needed, batch)


def _other_columns(name: str, place: str, needed: list[str], batch: Mapping[str, Any]) -> InputError:
    return InputError(
        f"source {name}: {place} has the columns {', '.join(batch)}, expected {', '.join(needed)}: "
        f"the dataset has changed; leave it out with texts.leave_out={name}"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
