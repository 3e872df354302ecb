"""How many tokens each row of a store has for a student: what batches of similar length are made from.

Characters do not say it well enough: batches grouped by bytes are one sixth padding, by tokens 3 % (open question
answers and abstracts mixed, batch 32). Counting costs one pass of the tokenizer and two bytes a row on disk.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.atomic import write_whole
from leaf_st.models.portable import forget_last_call
from leaf_st.student.static import is_static
from leaf_st.teacher.store import EmbeddingStore

_MOST = np.iinfo(np.uint16).max
_ROWS = 8192  # rows tokenised at once


def token_lengths(store: EmbeddingStore, student: SentenceTransformer) -> NDArray[np.uint16]:
    """Return the tokens of each row as a memory map, shape (rows,), cut at the student's maximum length.

    They are kept beside the shards, under the name of the tokenizer and the maximum. A static student pads nothing, so
    that its batches are best random: all lengths are 0, and none is counted.
    """
    if is_static(student):
        return np.broadcast_to(np.uint16(0), len(store))
    forget_last_call(student)  # or a tokenizer that has worked would seem to be another one
    identity = f"{len(store)} {student.max_seq_length} {student.tokenizer.backend_tokenizer.to_str()}"
    path = store.folder / f"tokens-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}.npy"
    if not path.is_file():
        write_whole(path, lambda temporary: _count(temporary, store, student))
    counted: NDArray[np.uint16] = np.load(path, mmap_mode="r")
    return counted


def _count(path: Path, store: EmbeddingStore, student: SentenceTransformer) -> None:
    # Written piece by piece: a mapped file on a full disk would end the process without a word.
    with path.open("wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": (len(store),)}
        np.lib.format.write_array_header_1_0(file, header)
        for counts in _counts(store, student):
            file.write(counts.astype("<u2").tobytes())


def _counts(store: EmbeddingStore, student: SentenceTransformer) -> Iterator[NDArray[np.int64]]:
    for start in tqdm(range(0, len(store), _ROWS), desc="counting tokens", unit_scale=_ROWS, unit=" texts"):
        rows = range(start, min(start + _ROWS, len(store)))
        encoded = student.tokenizer(store.prompted(rows), truncation=True, max_length=student.max_seq_length)
        yield np.array([min(len(ids), _MOST) for ids in encoded["input_ids"]])
