"""EmbeddingStore: texts and the teacher's vectors of them, on disk, read without copies.

A store is a folder: ``fingerprint.json`` (what makes the vectors, written first), the shards, and
``manifest.json`` (all shards in order, written last: without it the store is not whole). Opening reads the two
JSON files; a shard is mapped when first read. Memory is O(shards): texts and vectors stay on disk, pages of
them come and go with the system's cache (design contract 5).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.shard import Shard, is_intact, open_shard
from leaf_st.texts import Text

MANIFEST = "manifest.json"
FINGERPRINT = "fingerprint.json"
FORMAT = 1
_HEADER = ("format", "fingerprint", "dtype", "rows_per_shard")
# When two texts are one: with the same prompt, or (in stores of earlier versions) with the same kind.
UNIQUE_BY_PROMPT, UNIQUE_BY_KIND = "prompt", "kind"


class EmbeddingStore:
    """A whole store, opened for reading.

    Row numbers are global: row r lies in shard ``r // rows_per_shard``. Every shard but the last is full.

    Args:
        folder: Folder of the store.
        fingerprint: The teacher that must have made it; any if None.
        verified: Whether the checksums of the shards were compared by this process, or by those it works with.

    Raises:
        InputError: If there is no whole store, or another teacher made it.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint | None = None, verified: bool = False) -> None:
        self.folder = folder
        self.header = read_header(folder)
        if fingerprint is not None:
            fingerprint.require_same(self.header["fingerprint"], f"store {folder}")
        manifest = _read_json(
            folder / MANIFEST,
            ("rows", "skipped", "shards"),
            "the store is not whole: run the same command again to go on",
        )
        self.rows: int = manifest["rows"]
        self.skipped: dict[str, int] = manifest["skipped"]
        self._names: list[str] = manifest["shards"]
        self._rows_per_shard: int = self.header["rows_per_shard"]
        self._shards: list[Shard | None] = [None] * len(self._names)
        self._verified = verified

    @property
    def dimension(self) -> int:
        """Width d of the vectors."""
        return int(self.header["fingerprint"]["dimension"])

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the vectors."""
        return Fingerprint.from_dict(self.header["fingerprint"])

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt by kind that stood in front of the texts."""
        return dict(self.header["fingerprint"]["prompts"])

    def __len__(self) -> int:
        return self.rows

    def __reduce__(self) -> tuple[type["EmbeddingStore"], tuple[Path]]:
        # `datasets` pickles what a transform refers to, and would read all mapped shards into memory for it.
        return EmbeddingStore, (self.folder,)

    def shard(self, index: int) -> Shard:
        """Return shard ``index``, mapped."""
        found = self._shards[index]
        if found is None:
            path = self.folder / self._names[index]
            if not path.is_file():
                raise InputError(f"shard {path} is missing: run the embedding again to re-make it")
            found = self._shards[index] = open_shard(path)
        return found

    def ids(self) -> Iterator[NDArray[np.int64]]:
        """Yield the `text_id` of all rows, a shard at a time."""
        return (self.shard(index).ids for index in range(len(self._names)))

    def texts(self, rows: Sequence[int]) -> list[Text]:
        """Return the texts of n rows."""
        return [Text(shard.texts[offset].as_py(), shard.kinds[offset].as_py()) for shard, offset in self._locate(rows)]

    def prompted(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of n rows with their prompts in front, as teacher and student read them."""
        prompts = self.prompts
        return [prompts[row.kind] + row.text for row in self.texts(rows)]

    def embeddings(self, rows: Sequence[int]) -> NDArray[np.floating[Any]]:
        """Return the vectors of n rows, shape (n, d), in the dtype of the store."""
        vectors = np.empty((len(rows), self.dimension), dtype=self.header["dtype"])
        for place, (shard, offset) in enumerate(self._locate(rows)):
            vectors[place] = shard.embeddings[offset]
        return vectors

    def held_out(self, count: int) -> NDArray[np.int64]:
        """Return the ``count`` rows whose texts have the smallest hashes, in rising order.

        The choice depends on the texts alone. A text that is there in both kinds is held out in both, so there may be
        one row more than ``count``. Reads 8 bytes a row, keeps O(count + rows of a shard).
        """
        best = np.empty((0, 2), dtype=np.int64)
        if count < 1:
            return best[:, 1]
        for index, ids in enumerate(self.ids()):
            rows = np.arange(len(ids)) + index * self._rows_per_shard
            best = np.concatenate([best, np.stack([ids, rows], axis=1)])
            if len(best) > count:
                largest = np.partition(best[:, 0], count - 1)[count - 1]
                best = best[best[:, 0] <= largest]
        return np.sort(best[:, 1])

    def damaged(self) -> list[Path]:
        """Read every shard and return those that are missing or not what they were written as."""
        paths = [self.folder / name for name in self._names]
        return [path for path in paths if not path.is_file() or not is_intact(path)]

    def require_intact(self) -> None:
        """Compare the checksums of all shards, unless that was done.

        Raises:
            InputError: If a shard is missing or damaged.
        """
        if not self._verified and (damaged := self.damaged()):
            raise InputError(f"{damaged[0]} is damaged: run `leaf-st embed` again to write the shard again")
        self._verified = True

    def to_dataset(self) -> datasets.Dataset:
        """Return the rows as a data set for a trainer: ``text``, with its prompt, and ``label``, a float32 vector.

        Texts and vectors are read from the mapped shards when a batch is made. Memory is O(shards).
        """
        parts = [datasets.Dataset.from_file(str(self.folder / name)) for name in self._names]
        # A sampler finds the lengths of the texts in the column of the table, without the vectors.
        rows = datasets.concatenate_datasets(parts).select_columns(["row", "text"])
        return rows.with_transform(self._read, columns=["row"])

    def _read(self, batch: dict[str, list[int]]) -> dict[str, Any]:
        """Return the texts of n rows, and their vectors of shape (n, d) in float32."""
        vectors = self.embeddings(batch["row"]).astype(np.float32, copy=False)
        return {"text": self.prompted(batch["row"]), "label": torch.from_numpy(vectors)}

    def _locate(self, rows: Sequence[int]) -> list[tuple[Shard, int]]:
        places = (divmod(int(row), self._rows_per_shard) for row in rows)
        return [(self.shard(index), offset) for index, offset in places]


def read_header(folder: Path) -> dict[str, Any]:
    """Return what ``fingerprint.json`` in ``folder`` says.

    Raises:
        InputError: If it is not there, or of a format that this version does not read.
    """
    header = _read_json(folder / FINGERPRINT, ("format",), "this is no embedding store")
    if header["format"] != FORMAT:
        raise InputError(f"store {folder}: expected format {FORMAT}, found {header['format']}: embed again")
    return _read_json(folder / FINGERPRINT, _HEADER, "this is no embedding store", {"unique_by": UNIQUE_BY_KIND})


def _read_json(
    path: Path, keys: Sequence[str], otherwise: str, defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    try:
        value: dict[str, Any] = {**(defaults or {}), **json.loads(path.read_text(encoding="utf-8"))}
        return {key: value[key] for key in (*keys, *(defaults or {}))}
    except FileNotFoundError:
        raise InputError(f"{path} is not there: {otherwise}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): delete it and embed again") from error
