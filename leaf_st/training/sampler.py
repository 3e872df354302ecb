"""Batches of texts of similar length, shuffled by (seed, epoch), in memory that does not grow with the rows.

A batch is padded to its longest text, so random batches of mixed queries and documents are four fifths padding.
The algorithm, for each epoch: the row numbers are cut into chunks; the chunks are shuffled; windows of consecutive
chunks are gathered, shuffled, sorted by length and cut into batches; the batches of a window are shuffled. Rows
are so mixed with those of ``chunks_per_window`` random chunks, and batches of one length never follow each other for
long. Memory is O(chunks + rows of a window); the alternative, sorting all rows, holds a permutation of them. About
3 % of the tokens are padding at 1024 x 64 rows a window.

Processes that train together all go through the same batches, of as many rows as they take together in a step, and
each yields its part of every batch: what is learnt depends on the rows of a step, not on who computes them.
"""

from collections.abc import Iterator
from typing import Protocol

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import SetEpochMixin
from torch.utils.data import BatchSampler


class Lengths(Protocol):
    """Lengths of rows, in any unit: an array, or something that reads them when asked."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.integer]:
        """Return the lengths of consecutive rows."""


class LengthGroupedBatchSampler(SetEpochMixin, BatchSampler):
    """Yields lists of row numbers; every row that is not left out comes once an epoch.

    Args:
        lengths: Length of each row.
        batch_size: Rows of a batch, of all parts together; the last of an epoch may have fewer.
        seed: With the epoch it determines the order, alone.
        leave_out: Rows that never come, in rising order, shape (k,): the held-out ones.
        drop_last: Leave out the last batch of an epoch if it is smaller. Parts that have to be as many and as large as
            each other, as in training by several processes, need it.
        part: (i, n): yield the i-th n-th of each batch.
        rows_per_chunk: Consecutive rows that are moved together.
        chunks_per_window: Chunks whose rows are mixed.
    """

    def __init__(
        self,
        lengths: Lengths,
        batch_size: int,
        seed: int = 0,
        leave_out: NDArray[np.int64] | None = None,
        drop_last: bool = False,
        part: tuple[int, int] = (0, 1),
        rows_per_chunk: int = 1024,
        chunks_per_window: int = 64,
    ) -> None:
        # BatchSampler's own __init__ wants a sampler of single rows, which would need a permutation of them all.
        self.epoch = 0
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._part = part
        self._lengths = lengths
        self._seed = seed
        self._leave_out = np.empty(0, np.int64) if leave_out is None else leave_out
        self._rows_per_chunk = rows_per_chunk
        self._chunks_per_window = chunks_per_window

    @classmethod
    def for_dataset(
        cls,
        dataset: datasets.Dataset,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> "LengthGroupedBatchSampler":
        """Return a sampler for a data set of texts, as ``batch_sampler`` of sentence-transformers' trainer calls it.

        Args:
            dataset: A row's length is the number of characters in its columns of strings.
            batch_size: Rows of a batch.
            drop_last: Leave out a smaller last batch.
            valid_label_columns: Names of columns that hold labels; they are not counted.
            generator: Not used: seed and epoch determine the order.
            seed: With the epoch it determines the order.
        """
        labels = valid_label_columns or []
        columns = [
            name
            for name, kind in dataset.features.items()
            if getattr(kind, "dtype", "") == "string" and name not in labels
        ]
        lengths = np.zeros(len(dataset), np.int64)
        for column in columns:
            lengths += np.array([len(text) for text in dataset[column]])
        return cls(lengths, batch_size, seed, drop_last=drop_last)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._lengths) - len(self._leave_out), self.batch_size)
        return whole + (not self.drop_last and len(self._mine(np.arange(rest))) > 0)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        chunks = rng.permutation(-(-len(self._lengths) // self._rows_per_chunk))
        rest = np.empty(0, np.int64)
        for start in range(0, len(chunks), self._chunks_per_window):
            rows, lengths = self._window(chunks[start : start + self._chunks_per_window])
            order = rng.permutation(len(rows))
            rows, lengths = rows[order], lengths[order]
            # What the last window left over is too few rows to be sorted with these; it comes first as it is.
            rows = np.concatenate([rest, rows[np.argsort(lengths, kind="stable")]])
            whole = len(rows) // self.batch_size
            batches = rows[: whole * self.batch_size].reshape(whole, self.batch_size)
            rest = rows[whole * self.batch_size :]
            for index in rng.permutation(whole):
                yield self._mine(batches[index]).tolist()
        if not self.drop_last and len(last := self._mine(rest)):
            yield last.tolist()

    def _mine(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this part's rows of ``batch``."""
        index, count = self._part
        return batch[len(batch) * index // count : len(batch) * (index + 1) // count]

    def _window(self, chunks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
        """Return row numbers and lengths of ``chunks`` without the rows left out; shape (n,) each."""
        spans = [slice(int(chunk) * self._rows_per_chunk, (int(chunk) + 1) * self._rows_per_chunk) for chunk in chunks]
        lengths = [np.asarray(self._lengths[span]) for span in spans]
        rows = np.concatenate([span.start + np.arange(len(part)) for span, part in zip(spans, lengths, strict=True)])
        keep = np.isin(rows, self._leave_out, invert=True)
        return rows[keep], np.concatenate(lengths)[keep]
