"""A sample of a dataset on the hub, from places all over it, without reading more than it takes.

Files come in random order, and of each its row groups; of 32 files, and of 32 row groups in a file, an equal share is
taken where there are as many. A row group may be a gigabyte: only its head is read, and of that only the columns that
are wanted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow.parquet as pq
from datasets.exceptions import DatasetsError
from huggingface_hub import HfFileSystem

from leaf_st.texts.paper.sources import Source

ROWS = 1024  # read at once
_BUFFER = 1 << 20  # bytes
_PLACES = 32
_SEED = 0


@dataclass
class Position:
    """A place in a source.

    Attributes:
        config: Configuration in work.
        taken: Texts taken of it, if it is sampled.
        piece: Split of it in work, or file.
        of_piece: Texts taken of that.
        group: Row group of a file in work.
        of_group: Texts taken of that.
        rows: Rows of it that were read.
        offset: Place in a split, as `datasets` tells it.
    """

    config: int = 0
    taken: int = 0
    piece: int = 0
    of_piece: int = 0
    group: int = 0
    of_group: int = 0
    rows: int = 0
    offset: dict[str, Any] | None = None

    def take(self, count: int) -> None:
        """Count ``count`` texts."""
        self.taken += count
        self.of_piece += count
        self.of_group += count

    def next_group(self) -> None:
        """Go to the next row group."""
        self.group, self.of_group, self.rows = self.group + 1, 0, 0

    def next_file(self) -> None:
        """Go to the next file."""
        self.piece, self.of_piece, self.group, self.of_group, self.rows = self.piece + 1, 0, 0, 0, 0

    def next_config(self) -> None:
        """Go to the next configuration."""
        self.config, self.taken, self.piece = self.config + 1, 0, 0
        self.next_file()
        self.piece = 0


class Batch(NamedTuple):
    """Rows that were read together.

    Attributes:
        rows: Values by column.
        most: Texts that a sample takes of them at most; all if None.
    """

    rows: dict[str, list[Any]]
    most: int | None


def sample_batches(source: Source, config: str, place: Position) -> Iterator[Batch]:
    """Yield rows of ``config`` from ``place`` on, until the texts that were taken are as many as the sample.

    Args:
        source: Has a sample.
        config: Its configuration.
        place: Where to begin. Whoever takes texts of a batch counts them there.

    Raises:
        DatasetsError: If it has no such split.
    """
    splits, wanted = dataset_builder(source, config).config.data_files or {}, source.split or "train"
    if wanted not in splits:
        raise DatasetsError(f"it has the splits {', '.join(map(str, splits)) or 'none'}, expected {wanted}")
    files = list(splits[wanted])
    order = np.random.default_rng(_SEED).permutation(len(files))
    most = source.sample or 0
    spread = min(_PLACES, len(files), max(1, most // ROWS))
    while place.piece < len(files) and place.taken < most:
        share = _share(most - (place.taken - place.of_piece), spread - place.piece)
        yield from _file_batches(source, files[order[place.piece]], share, place)
        place.next_file()


def _file_batches(source: Source, path: str, share: int, place: Position) -> Iterator[Batch]:
    """Yield rows of a file until ``share`` texts of it were taken."""
    with HfFileSystem().open(path) as raw, pq.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER) as file:
        names = file.schema_arrow.names
        if not set(source.needed) <= set(names):
            yield Batch({name: [] for name in names}, 0)  # which whoever asks will not accept
        groups = np.random.default_rng((_SEED, place.piece)).permutation(file.num_row_groups)
        spread = min(_PLACES, len(groups), max(1, share // ROWS))
        while place.group < len(groups) and place.of_piece < share:
            of_group = _share(share - (place.of_piece - place.of_group), spread - place.group)
            read = 0
            for batch in file.iter_batches(ROWS, row_groups=[int(groups[place.group])], columns=source.needed):
                read += batch.num_rows
                if read <= place.rows:
                    continue
                place.rows = read
                yield Batch(batch.to_pydict(), of_group - place.of_group)
                if place.of_group >= of_group:
                    break
            place.next_group()


def dataset_builder(source: Source, config: str) -> Any:  # noqa: ANN401  (datasets ships no types)
    """Return what knows the files of ``config``, and reads none of them yet."""
    try:
        return datasets.load_dataset_builder(source.hub_id, config, revision=source.revision)
    except RuntimeError as error:  # what `datasets` says of a repository that has become a script
        raise DatasetsError(str(error)) from error


def _share(texts: int, places: int) -> int:
    """Return how many of ``texts`` to take at one of ``places`` that are left; where none is, all."""
    return -(-texts // max(1, places))
