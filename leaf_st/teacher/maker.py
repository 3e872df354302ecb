"""The making of shards from blocks of texts, in this process or, by another `Maker`, in others."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from leaf_st.teacher.different import require_different
from leaf_st.teacher.embed import embed_rows
from leaf_st.teacher.protocol import Service, Targets
from leaf_st.teacher.shard import write_shard
from leaf_st.texts import Text


@dataclass(frozen=True)
class Block:
    """The texts of a shard. Together with a teacher, they determine every byte of the shard.

    Attributes:
        number: Number of the shard.
        first_row: Number of the shard's first row in the store.
        rows: The texts.
        dtype: Dtype of the stored vectors, "float16" or "float32".
        whole: Whether these are all texts of the store.
        remedy: What to do if a vector is not finite, for the error.
        leftovers: Temporary files of this shard in the store, which are removed when the shard is written.
    """

    number: int
    first_row: int
    rows: Sequence[Text]
    dtype: str
    whole: bool
    remedy: str
    leftovers: Sequence[Path] = ()

    def embed(self, teacher: Targets) -> Callable[[Path], Path]:
        """Embed the texts; returns a function that writes the shard into a folder and returns the path.

        Raises:
            InputError: If a text cannot be embedded, or the vectors of the first shard are all the same. The function
                raises the error if a vector is not finite, or is too small for the dtype.
        """
        vectors = embed_rows(teacher, list(self.rows))
        if self.number == 0:  # before a service is paid for more
            require_different(teacher.fingerprint.teacher, vectors, self.whole)
        return lambda folder: write_shard(
            folder, self.number, self.first_row, self.rows, vectors, self.dtype, self.remedy, self.leftovers
        )


Made = Callable[[Path], None]


class Maker(Protocol):
    """Makes shards. All of them are made when its ``with`` block has ended without an error."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Make the remaining shards, or, after an error, make no further one."""

    def make(self, block: Block, made: Made) -> None:
        """Make the shard of ``block``, or begin to; returns when another block can be given.

        Args:
            block: The block.
            made: Is called in this thread with the path of the shard, when or after the shard is made.

        Raises:
            InputError: If this block or an earlier one cannot be embedded.
        """


class LocalMaker:
    """Embeds in this process. A shard is written while the next block is read, before that block is embedded.

    Args:
        teacher: The teacher.
        folder: The store.
    """

    def __init__(self, teacher: Targets, folder: Path) -> None:
        self._teacher, self._folder = teacher, folder
        self._writer = ThreadPoolExecutor(1)
        self._writing: tuple[Future[Path], Made] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._writer.shutdown()

    def make(self, block: Block, made: Made) -> None:
        """Embed ``block`` and begin to write the shard; see `Maker`."""
        self._finish()
        if isinstance(self._teacher, Service):
            self._teacher.require_budget(block.rows)
        self._writing = (self._writer.submit(block.embed(self._teacher), self._folder), made)

    def _finish(self) -> None:
        """Wait until the shard that is being written is complete."""
        if self._writing is not None:
            path, made = self._writing
            self._writing = None
            made(path.result())
