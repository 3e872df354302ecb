"""The token ids of all rows of a store, in a file, from which batches are made without a tokenizer.

A row is tokenized once, when its tokens are counted, and not again in each epoch. The file has two bytes per token, or
four if an id exceeds 65,535: about a tenth of a store with 384 dimensions. On a GPU, a step of a
small student takes less time than the tokenization of its batch.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import Tokenizer
from torch.utils.data import Dataset
from tqdm import tqdm

from leaf_st.models.tokens import encodings
from leaf_st.teacher.store import EmbeddingStore

ROWS_AT_ONCE = 8192  # tokenized together
_COLUMN = "text"  # the column of a store's data set, and the first part of the names of features
_KNOWN = {"input_ids", "attention_mask", "token_type_ids", "modality"}
_COMPARED = 32  # first rows, shortest rows and longest rows whose features are compared with the tokenizer's
_GROUP = 256  # rows; the place of the first token is kept in memory for one row of each group

_logger = logging.getLogger(__name__)


class TokenIds:
    """Token ids by row, and the batches that a student's tokenizer would make of them.

    A pickle holds the paths of the files: where Python spawns processes (macOS, Windows, forkserver), each process that
    makes batches receives one.

    Args:
        path: The file that `write_ids` wrote.
        lengths: The .npy file with the number of tokens of each row, shape (rows,).
        student: The student, whose tokenizer pads.
    """

    def __init__(self, path: Path, lengths: Path, student: SentenceTransformer) -> None:
        tokenizer = student.tokenizer
        self._path, self._lengths_path, self._dtype = path.absolute(), lengths.absolute(), dtype_of(student)
        self._map()
        sums = np.add.reduceat(self._lengths, np.arange(0, len(self._lengths), _GROUP), dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(sums)])
        self._pad = int(tokenizer.pad_token_id or 0)
        self._pads_left = tokenizer.padding_side == "left"
        features = _tokenize(student, ["a"])
        self._has_types = "token_type_ids" in features
        self._others = {name: value for name, value in features.items() if not isinstance(value, torch.Tensor)}

    def __getstate__(self) -> dict[str, Any]:
        # NumPy copies the numbers of a mapped file into a pickle.
        return {name: value for name, value in vars(self).items() if name not in ("_ids", "_lengths")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()

    def _map(self) -> None:
        self._ids = np.memmap(self._path, self._dtype, "r")
        self._lengths: NDArray[np.uint16] = np.load(self._lengths_path, mmap_mode="r")

    def features(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the features of n rows: tensors of shape (n, tokens of the longest row), as a tokenizer names them."""
        texts = [self._row(row) for row in rows]
        counts = np.array([len(ids) for ids in texts])
        longest = int(counts.max())
        places = np.arange(longest)
        mask = places >= (longest - counts)[:, None] if self._pads_left else places < counts[:, None]
        ids = np.full(mask.shape, self._pad, np.int64)
        ids[mask] = np.concatenate(texts)  # row by row, as a mask selects
        made = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        if self._has_types:
            made["token_type_ids"] = torch.zeros_like(made["input_ids"])
        return {**made, **self._others}

    def _row(self, row: int) -> NDArray[np.unsignedinteger[Any]]:
        group = row // _GROUP
        start = int(self._starts[group]) + int(self._lengths[group * _GROUP : row].sum(dtype=np.int64))
        return self._ids[start : start + int(self._lengths[row])]

    def agree_with(self, store: EmbeddingStore, student: SentenceTransformer) -> bool:
        """Return whether the first, the shortest and the longest rows have the features that the tokenizer makes."""
        by_length = np.argsort(self._lengths, kind="stable")
        rows = np.unique(
            np.concatenate([np.arange(len(store))[:_COMPARED], by_length[:_COMPARED], by_length[-_COMPARED:]])
        ).tolist()
        ours, expected = self.features(rows), _tokenize(student, store.prompted(rows))
        return ours.keys() == expected.keys() and all(
            torch.equal(ours[name], value) if isinstance(value, torch.Tensor) else ours[name] == value
            for name, value in expected.items()
        )


class Batches:
    """Makes the batches of rows of a store, as sentence-transformers' data collator would.

    Args:
        store: The targets.
        ids: The token ids of the store.
    """

    def __init__(self, store: EmbeddingStore, ids: TokenIds) -> None:
        self._store, self._ids = store, ids

    def __call__(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the features of n rows and ``label``, the targets, shape (n, d), float32."""
        targets = self._store.embeddings(rows).astype(np.float32, copy=False)
        features = {f"{_COLUMN}_{name}": value for name, value in self._ids.features(rows).items()}
        return {"label": torch.from_numpy(targets), **features}


class RowNumbers(Dataset[int]):
    """A data set of row numbers, of which `Batches` makes batches.

    Args:
        rows: The rows of the store, shape (n,).
    """

    def __init__(self, rows: NDArray[np.int64] | range) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> int:
        return int(self._rows[place])


def dtype_of(student: SentenceTransformer) -> np.dtype[Any]:
    """Return the type of the numbers in the file of token ids."""
    largest = max(student.tokenizer.get_vocab().values())  # a vocabulary may have gaps
    return np.dtype("<u2" if largest < 1 << 16 else "<u4")


def can_keep_ids(student: SentenceTransformer) -> bool:
    """Return whether the student reads token ids, a mask and token types of 0, from a fast tokenizer."""
    if not isinstance(student[0], Transformer):
        return False
    if not isinstance(getattr(student.tokenizer, "backend_tokenizer", None), Tokenizer):
        return False
    features = _tokenize(student, ["a b"])
    types = features.get("token_type_ids")
    return features.keys() <= _KNOWN and "input_ids" in features and (types is None or not types.any())


def write_ids(path: Path, store: EmbeddingStore, student: SentenceTransformer) -> NDArray[np.uint16]:
    """Write the token ids of all rows to ``path``, and return the number of tokens of each row, shape (rows,)."""
    dtype = dtype_of(student)
    counts = np.empty(len(store), np.uint16)
    with path.open("wb") as file, tqdm(desc="tokenizing", unit=" texts", total=len(store)) as bar:
        for start in range(0, len(store), ROWS_AT_ONCE):
            rows = range(start, min(start + ROWS_AT_ONCE, len(store)))
            encoded = [tokens.ids for tokens in encodings(student, store.prompted(rows))]
            counts[start : rows.stop] = [len(ids) for ids in encoded]
            file.write(np.concatenate(encoded).astype(dtype).tobytes())
            bar.update(len(rows))
    unread = int((counts <= student.tokenizer.backend_tokenizer.num_special_tokens_to_add(is_pair=False)).sum())
    if unread:
        _logger.warning("%s of %s texts have no token in the student's vocabulary", f"{unread:,}", f"{len(store):,}")
    return counts


def _tokenize(student: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    first: Any = student[0]
    features: dict[str, Any] = first.preprocess(texts)
    return features
