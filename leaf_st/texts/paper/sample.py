"""Sample a data set on the hub from places all over it, reading little more than the sample.

Files are read in random order, and so are the row groups of each file. The sample takes equal shares of 32 files, and
of 32 row groups in each file, or of all files and row groups if there are fewer. A row group may be a gigabyte: only
its first rows are read, and only the needed columns.
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

ROWS = 1024  # rows per read
_BUFFER = 1 << 20  # bytes
_PLACES = 32
_SEED = 0


@dataclass
class Position:
    """A position in a source.

    Attributes:
        config: Index of the current configuration.
        taken: Texts taken from the configuration, if the source is sampled.
        piece: Index of the current split or file in the configuration.
        of_piece: Texts taken from the split or file.
        group: Index of the current row group in the file.
        of_group: Texts taken from the row group.
        rows: Rows read from the row group.
        offset: Position in the split, as `datasets` stores it.
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
        """Move to the next row group."""
        self.group, self.of_group, self.rows = self.group + 1, 0, 0

    def next_file(self) -> None:
        """Move to the next file."""
        self.piece, self.of_piece, self.group, self.of_group, self.rows = self.piece + 1, 0, 0, 0, 0

    def next_config(self) -> None:
        """Move to the next configuration."""
        self.config, self.taken, self.piece = self.config + 1, 0, 0
        self.next_file()
        self.piece = 0


class Batch(NamedTuple):
    """Rows that were read together.

    Attributes:
        rows: Values by column.
        most: Largest number of texts that the sample takes from these rows; None for all.
    """

    rows: dict[str, list[Any]]
    most: int | None


def sample_batches(source: Source, config: str, place: Position) -> Iterator[Batch]:
    """Yield rows of ``config`` from ``place`` on, until the sample is complete.

    Args:
        source: A source with a sample size.
        config: A configuration of the source.
        place: Where to start. The caller reports the texts that it takes to `Position.take`.

    Raises:
        DatasetsError: If the data set has no such split.
    """
    splits, wanted = dataset_builder(source, config).config.data_files or {}, source.split or "train"
    if wanted not in splits:
        raise DatasetsError(f"the data set has the splits {', '.join(map(str, splits)) or 'none'}, expected {wanted}")
    files = list(splits[wanted])
    order = np.random.default_rng(_SEED).permutation(len(files))
    most = source.sample or 0
    spread = min(_PLACES, len(files), max(1, most // ROWS))
    while place.piece < len(files) and place.taken < most:
        share = _share(most - (place.taken - place.of_piece), spread - place.piece)
        yield from _file_batches(source, files[order[place.piece]], share, place)
        place.next_file()


def _file_batches(source: Source, path: str, share: int, place: Position) -> Iterator[Batch]:
    """Yield rows of a file until ``share`` texts were taken from the file."""
    with HfFileSystem().open(path) as raw, pq.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER) as file:
        names = file.schema_arrow.names
        if not set(source.needed) <= set(names):
            yield Batch({name: [] for name in names}, 0)  # the caller reports the missing columns
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
    """Return the builder of ``config``, which knows the files and has read none of them."""
    try:
        return datasets.load_dataset_builder(source.hub_id, config, revision=source.revision)
    except RuntimeError as error:  # `datasets` raises this for a repository that contains a script
        raise DatasetsError(str(error)) from error


def _share(texts: int, places: int) -> int:
    """Return how many of ``texts`` to take at the next of ``places`` remaining places; all of them at the last."""
    return -(-texts // max(1, places))
