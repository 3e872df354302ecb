"""The number of tokens of each row of a store, by which a sampler makes batches of similar length.

Characters are a worse measure: with open question answers and abstracts mixed in batches of 32, one sixth of the tokens
is padding if batches are grouped by bytes, and 3 % if grouped by tokens. Counting takes one pass of the tokenizer and
two bytes per row on disk.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.atomic import write_whole
from leaf_st.models.tokens import forget_last_call, token_counts
from leaf_st.sealed import write_once
from leaf_st.student.static import is_static
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.sampler import Lengths
from leaf_st.training.token_ids import ROWS_AT_ONCE, TokenIds, can_keep_ids, dtype_of, write_ids

# Counting more rows before the first step would take ten minutes on two cores, and a billion rows ten hours.
COUNTED_AT_START = 1 << 24
_LONGEST = np.iinfo(np.uint16).max


class TokenLengths:
    """Numbers of tokens that are counted when a sampler asks for them, and kept in a file.

    Several processes may share the file, because all of them write the same numbers. 0 means not counted: a text
    without tokens is counted again.

    Args:
        store: The texts.
        student: The student that reads them.
        path: The file, two bytes per row, which is made if it does not exist.
    """

    def __init__(self, store: EmbeddingStore, student: SentenceTransformer, path: Path) -> None:
        self._store, self._student, self._path = store, student, path
        if not path.is_file():
            write_whole(path, self._write_zeros)

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, rows: slice) -> NDArray[np.uint16]:
        """Return the numbers of tokens of consecutive rows."""
        start, stop, _ = rows.indices(len(self))
        with self._path.open("r+b") as file:
            file.seek(2 * start)
            counts = np.frombuffer(file.read(2 * (stop - start)), "<u2")
            if counts.all():
                return counts
            counts = _cut(token_counts(self._student, self._store.prompted(range(start, stop))))
            self._store.unmap()  # each chunk of rows is in another shard, whose read pages are memory of this process
            file.seek(2 * start)
            file.write(counts.tobytes())
        return counts

    def _write_zeros(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(2 * len(self))  # takes no space until numbers are written


def tokens_of(store: EmbeddingStore, student: SentenceTransformer) -> tuple[Lengths, TokenIds | None]:
    """Return the number of tokens of each row, cut at the student's maximum length, and the token ids of each row.

    Both are memory maps of files next to the shards. The names of the files depend on the rows, the tokenizer and the
    maximum. In a store of more than 16M rows, the tokens are counted when they are needed, and there are no ids.

    A static student does not pad, so random batches are best for it: all lengths are 0 and nothing is counted.

    Returns:
        The lengths, and the ids; None in place of the ids if batches need the student's own tokenization.
    """
    if is_static(student):
        return np.broadcast_to(np.uint16(0), len(store)), None
    forget_last_call(student)  # the file's name must not depend on earlier calls
    identity = f"{store.digest} {student.max_seq_length} {student.tokenizer.backend_tokenizer.to_str()}"
    path = store.folder / f"tokens-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}.npy"
    if len(store) > COUNTED_AT_START:
        return TokenLengths(store, student, path.with_suffix(".u2")), None
    counts: list[NDArray[np.uint16]] = []
    longest, ids_path = student.max_seq_length, None
    if longest is not None and longest <= _LONGEST and can_keep_ids(student):
        ids_path = path.with_suffix(".ids")
        write_once(ids_path, lambda temporary: counts.append(write_ids(temporary, store, student)))
    write_once(path, lambda temporary: _write_lengths(temporary, len(store), counts or _count_tokens(store, student)))
    lengths: NDArray[np.uint16] = np.load(path, mmap_mode="r")
    if ids_path is None:
        return lengths, None
    ids = TokenIds(ids_path, path, student)
    return lengths, ids if ids.agree_with(store, student) else None


def bytes_per_text(student: SentenceTransformer, texts: Sequence[str]) -> tuple[float, float]:
    """Return the mean size on disk of what `tokens_of` keeps of ``texts``: in a store of up to 16M rows, and above."""
    if is_static(student):
        return 0.0, 0.0
    length = float(np.dtype(np.uint16).itemsize)
    ids = token_counts(student, texts).mean() * dtype_of(student).itemsize if can_keep_ids(student) else 0.0
    return length + float(ids), length


def lengths_of(lengths: Lengths, rows: NDArray[np.int64]) -> NDArray[np.integer]:
    """Return the lengths of ``rows``, shape (n,)."""
    if isinstance(lengths, np.ndarray):
        return np.asarray(lengths[rows])
    each = [lengths[row : row + 1] for row in rows.tolist()]
    return np.concatenate(each) if each else np.empty(0, np.uint16)


def _write_lengths(path: Path, rows: int, counts: Iterable[NDArray[np.uint16]]) -> None:
    # Written piece by piece: a full disk would end a process that writes to a mapped file without a message.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (rows,)})
        for part in counts:
            file.write(part.tobytes())


def _count_tokens(store: EmbeddingStore, student: SentenceTransformer) -> Iterator[NDArray[np.uint16]]:
    with tqdm(desc="counting tokens", unit=" texts", total=len(store)) as bar:
        for start in range(0, len(store), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(store)))
            yield _cut(token_counts(student, store.prompted(rows)))
            bar.update(len(rows))


def _cut(counts: NDArray[np.int64]) -> NDArray[np.uint16]:
    return np.minimum(counts, _LONGEST).astype("<u2")
