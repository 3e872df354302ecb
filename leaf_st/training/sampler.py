"""Batches of texts of similar length, shuffled by (seed, epoch), in memory that does not grow with the rows.

A batch is padded to its longest text: four fifths of the tokens in random batches of queries and documents are padding.
In each epoch the row numbers are cut into chunks and the chunks are shuffled. Windows of consecutive chunks are
gathered, shuffled, sorted by length and cut into batches, and the batches of a window are shuffled. Each row is thus
mixed with the rows of ``chunks_per_window`` random chunks, and batches of one length never follow each other for long.
Memory is O(chunks + rows of a window). Sorting all rows instead would need a permutation of all rows. With 1024 x 64
rows per window and batches of 32, about 3 % of the tokens are padding.

Processes that train together iterate over the same batches. A batch contains the rows of one step of all processes, and
each process takes its part of every batch. What the student learns depends on the rows of a step, not on the number of
processes.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import SetEpochMixin
from torch.utils.data import BatchSampler

from leaf_st.errors import InputError

_CHUNKS = 64  # at least, in a window
_LABELS = ("label", "labels", "score", "scores")


class Lengths(Protocol):
    """Lengths of rows in any unit: an array, or an object that reads lengths on request."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.integer]:
        """Return the lengths of consecutive rows."""


class LengthGroupedBatchSampler(SetEpochMixin, BatchSampler):
    """Yields lists of row numbers; every row that is not left out occurs once per epoch.

    The class is a value for ``batch_sampler`` of `SentenceTransformerTrainingArguments`. The trainer then calls the
    class with the arguments up to ``generator``:

        SentenceTransformerTrainingArguments(..., batch_sampler=LengthGroupedBatchSampler)

    Args:
        rows: A data set, or the lengths of its rows. The lengths of a data set are its column ``length`` or, if it has
            none, the characters of its first column of texts.
        batch_size: Rows per batch of all parts together; the last batch of an epoch may have fewer.
        seed: Seed of the order, which depends only on the seed and the epoch.
        drop_last: Leave out the last batch of an epoch if it is smaller. Training by several processes needs this,
            because all processes need the same number of batches of the same size.
        valid_label_columns: Columns of a data set that are not texts.
        generator: Ignored.
        leave_out: Rows that never occur, such as held-out rows, in ascending order, shape (k,).
        part: (i, n): yield part i of n of each batch.
        rows_per_chunk: Consecutive rows that are moved together.
        chunks_per_window: Chunks whose rows are mixed; None for 64, or half of ``batch_size`` if that is more. The rows
            of a large batch would otherwise differ in length, and processes would wait for the longest part.

    Raises:
        InputError: If a data set has neither a column ``length`` nor a column of texts.
    """

    def __init__(
        self,
        rows: Lengths | datasets.Dataset,
        batch_size: int,
        seed: int = 0,
        drop_last: bool = False,
        valid_label_columns: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        *,
        leave_out: NDArray[np.int64] | None = None,
        part: tuple[int, int] = (0, 1),
        rows_per_chunk: int = 1024,
        chunks_per_window: int | None = None,
    ) -> None:
        # BatchSampler.__init__ requires a sampler of single rows, which would need a permutation of all rows.
        self.epoch = 0
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._part = part
        if isinstance(rows, datasets.Dataset):
            rows = _DatasetLengths(rows, valid_label_columns or _LABELS)
        self._lengths: Lengths = rows
        self._seed = seed
        self._leave_out = np.empty(0, np.int64) if leave_out is None else leave_out
        self._rows_per_chunk = rows_per_chunk
        self._chunks_per_window = chunks_per_window or max(_CHUNKS, batch_size // 2)

    def __len__(self) -> int:
        full, rest = divmod(len(self._lengths) - len(self._leave_out), self.batch_size)
        return full + (not self.drop_last and len(self._process_share(np.arange(rest))) > 0)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        chunks = rng.permutation(-(-len(self._lengths) // self._rows_per_chunk))
        rest = np.empty(0, np.int64)
        for start in range(0, len(chunks), self._chunks_per_window):
            rows, lengths = self._window(chunks[start : start + self._chunks_per_window])
            order = rng.permutation(len(rows))
            rows, lengths = rows[order], lengths[order]
            # The rest of the last window is too small to be sorted with these rows, so it comes first.
            rows = np.concatenate([rest, rows[np.argsort(lengths, kind="stable")]])
            full = len(rows) // self.batch_size
            batches = rows[: full * self.batch_size].reshape(full, self.batch_size)
            rest = rows[full * self.batch_size :]
            for index in rng.permutation(full):
                yield self._process_share(batches[index]).tolist()
        if not self.drop_last and len(last := self._process_share(rest)):
            yield last.tolist()

    def _process_share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of ``batch`` that belong to this part."""
        index, count = self._part
        return batch[len(batch) * index // count : len(batch) * (index + 1) // count]

    def _window(self, chunks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
        """Return row numbers and lengths of ``chunks`` without the rows left out, shape (n,) each."""
        spans = [slice(int(chunk) * self._rows_per_chunk, (int(chunk) + 1) * self._rows_per_chunk) for chunk in chunks]
        lengths = [np.asarray(self._lengths[span]) for span in spans]
        rows = np.concatenate([span.start + np.arange(len(part)) for span, part in zip(spans, lengths, strict=True)])
        keep = np.isin(rows, self._leave_out, invert=True)
        return rows[keep], np.concatenate(lengths)[keep]


class _DatasetLengths:
    """Lengths of the rows of a data set, read on request from its table, without its transform."""

    def __init__(self, dataset: datasets.Dataset, labels: Sequence[str]) -> None:
        texts = [name for name, kind in dataset.features.items() if _is_text(kind) and name not in labels]
        if "length" not in dataset.features and not texts:
            raise InputError(
                f"LengthGroupedBatchSampler: expected a column of texts or a column 'length', found "
                f"{', '.join(dataset.features) or 'no columns'}: add a column 'length'"
            )
        self._column = "length" if "length" in dataset.features else texts[0]
        self._table = dataset.select_columns([self._column]).with_format("arrow")

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, rows: slice) -> NDArray[np.integer]:
        values = self._table[rows][self._column]
        lengths = values if self._column == "length" else pc.utf8_length(values)
        filled: NDArray[np.integer] = pc.fill_null(lengths, 0).to_numpy()
        return filled


def _is_text(feature: object) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")
