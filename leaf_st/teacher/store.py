"""EmbeddingStore: texts and the teacher's vectors of them, on disk, read without copies.

A store is a folder: ``fingerprint.json`` (the teacher's settings, written first), the shards, and ``manifest.json``
(all shards in order, written last: a store without a manifest is incomplete). Opening a store reads the two JSON files.
A shard is mapped when it is first read. Memory is O(shards): texts and vectors stay on disk, and the system caches
their pages (docs/architecture.md, contract 5).
"""

import hashlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed, write_once
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.remote_shards import remote_shards
from leaf_st.teacher.shard import REPAIR, Shard, is_intact, open_shard
from leaf_st.texts import Text
from leaf_st.texts.fold import content_id, text_id

if TYPE_CHECKING:
    import datasets

STORE_MANIFEST = "manifest.json"
FINGERPRINT = "fingerprint.json"
PROBE_FILE = "probes.npy"  # of an API, by which a later change of its vectors is noticed
FORMAT = 1
LENGTHS, ROWS = "lengths", "rows"  # beginnings of names of files; the rest is the hash of the shards
# Bytes of vectors above which a training does not compare all shards with their checksums before it starts: reading 64
# GiB takes about a minute, and a billion rows half an hour. The embedding has compared each shard.
_COMPARED_AT_START = 64 << 30
# Linux lets a process map 65,530 files, and the pages that were read of a mapped file are memory of the process: about
# 0.3 MB of a shard. A window of the training sampler has the rows of 64 shards, or more if a batch is large.
OPEN_SHARDS = 256
_MOST_CHOSEN_AGAIN = 1 << 24  # rows of a store above which the chosen rows are kept in a file
_READERS = 8  # threads of a pass over all shards
# Of a file with the number of each row. When the file is opened, the first pages of each batch are read.
_ROWS_AT_ONCE = 1 << 23
# Mean distance of the vectors to those of the same teacher in float32, relative to their mean norm; None if the teacher
# ran in float32, or the distance was not measured.
ROUNDING = "distance_to_float32"

# Tokens of the student to which the texts were cut; None if they are complete, as in stores of earlier versions.
CUT_AT = "cut_at_tokens"


_T = TypeVar("_T")

_logger = logging.getLogger(__name__)


class _Fingerprint(TypedDict):
    """The values of a `Fingerprint` that reading needs."""

    dimension: int
    prompts: dict[str, str]


# The types of the values by key.
_HEADER = {
    "format": int,
    "fingerprint": _Fingerprint,
    "dtype": Literal["float16", "float32"],
    "rows_per_shard": Annotated[int, Ge(1)],
}
_MANIFEST = {"rows": Annotated[int, Ge(0)], "skipped": dict[str, int], "shards": list[str]}
_NO_STORE = "expected a store of vectors, such as store/ of a run: run `leaf-st embed`, or name another folder"
# Which texts are duplicates: equal texts with the same prompt or, in stores of earlier versions, of the same kind.
UNIQUE_BY_PROMPT, UNIQUE_BY_KIND = "prompt", "kind"
# Whose hash selects the held-out rows: the content of the texts or, in stores of earlier versions, the texts. A store
# keeps its rule, because a student that was trained on it must be measured on the rows that were held out.
HELD_OUT_BY_CONTENT, HELD_OUT_BY_TEXT = "content", "text"


class EmbeddingStore:
    """A complete store, opened for reading.

    Row numbers are global: row r lies in shard ``r // rows_per_shard``. Every shard but the last is full.

    Args:
        folder: Folder of the store.
        fingerprint: The teacher that must have made the store; any teacher if None.
        verified: Whether this process, or a process that works with it, has compared the checksums of the shards.

    Raises:
        InputError: If the store is missing or incomplete, or another teacher made it.
    """

    def __init__(self, folder: str | Path, fingerprint: Fingerprint | None = None, verified: bool = False) -> None:
        self.folder = folder = Path(folder)
        self.header = read_header(folder)
        if fingerprint is not None:
            fingerprint.require_same(self.header["fingerprint"], f"store {folder}")
        manifest = _read_json(
            folder / STORE_MANIFEST,
            _MANIFEST,
            "the store is incomplete: run `leaf-st embed` again for all partitions, or `leaf-st store pull` again",
        )
        self.rows: int = manifest["rows"]
        self.skipped: dict[str, int] = manifest["skipped"]
        self._names: list[str] = manifest["shards"]
        self._rows_per_shard: int = self.header["rows_per_shard"]
        self._open: OrderedDict[int, Shard] = OrderedDict()  # least recently read first
        self._verified = verified
        self._remote = remote_shards(folder)
        # An absolute path is right also for a process with another current folder.
        self._place = folder.absolute() if self._remote is None else folder

    @property
    def dimension(self) -> int:
        """Width d of the vectors."""
        return int(self.header["fingerprint"]["dimension"])

    @property
    def fingerprint(self) -> Fingerprint:
        """The teacher that made the vectors, and its settings."""
        return Fingerprint.from_dict(self.header["fingerprint"])

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt that the teacher put before the texts, by kind."""
        return dict(self.header["fingerprint"]["prompts"])

    @property
    def vector_bytes(self) -> int:
        """Size of all vectors."""
        return self.rows * self.dimension * int(np.dtype(self.header["dtype"]).itemsize)

    @property
    def paths(self) -> list[Path]:
        """Files of the shards, in order."""
        return [self.folder / name for name in self._names]

    def __len__(self) -> int:
        return self.rows

    def __reduce__(self) -> tuple[type["EmbeddingStore"], tuple[Path]]:
        # `datasets` pickles the objects that a transform refers to. Pickling mapped shards would read them into memory.
        return EmbeddingStore, (self._place,)

    def shard(self, index: int) -> Shard:
        """Return shard ``index``, mapped; the `OPEN_SHARDS` shards that were read last stay mapped.

        Raises:
            InputError: If the shard is missing.
        """
        if index not in self._open:
            self._open[index] = self._map(index)
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(index)
        return self._open[index]

    def _map(self, index: int) -> Shard:
        if self._remote is not None:
            return self._remote.open(self._names[index])
        path = self._place / self._names[index]
        if not path.is_file():
            raise InputError(f"shard {path} is missing: {REPAIR}")
        return open_shard(path)

    @cached_property
    def digest(self) -> str:
        """Hash of all texts and vectors, from the names of the shards, which contain checksums."""
        return hashlib.blake2b("\n".join(self._names).encode(), digest_size=8).hexdigest()

    @cached_property
    def texts_digest(self) -> str | None:
        """Hash of all texts in order, whatever their kinds and vectors; None if the shards are elsewhere.

        8 bytes per row are read. A pass over shards that are elsewhere would fetch all of them.
        """
        if self._remote is not None:
            return None
        digest: bytes = self._kept("texts", lambda: digest_of_ids(self.ids())).tobytes()
        return digest.hex()

    def unmap(self) -> None:
        """Unmap the shards that were read; a later read maps a shard again."""
        self._open.clear()

    def each_shard(self, read: Callable[[Shard], _T]) -> Iterator[_T]:
        """Yield the result of ``read`` for all shards in order.

        No shard stays mapped, because pages of mapped files are memory of the process, so a result must be a copy.
        Threads read ahead: a disk answers a page that is not in memory after milliseconds.
        """
        with ThreadPoolExecutor(_READERS) as readers:
            coming: deque[Future[_T]] = deque()
            for index in range(len(self._names)):
                coming.append(readers.submit(lambda number: read(self._map(number)), index))
                if len(coming) > 2 * _READERS:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def ids(self) -> Iterator[NDArray[np.int64]]:
        """Yield the `text_id` of all rows, a shard at a time."""
        return self.each_shard(lambda shard: shard.ids.copy())

    def include(self, texts: Sequence[str]) -> list[bool]:
        """Return whether each of n texts is in the store, whatever its kind.

        Case, punctuation and spaces make no difference, except in a store of an earlier version. The method reads 8
        bytes per row and keeps O(n + rows of a shard) in memory.
        """
        identity = content_id if self.header["held_out_by"] == HELD_OUT_BY_CONTENT else text_id
        wanted = [identity(text) for text in texts]
        distinct, found = np.unique(np.array(wanted, dtype=np.int64)), set[int]()
        for known in self.each_shard(lambda shard: np.intersect1d(self._selecting_ids(shard), distinct)):
            found.update(known.tolist())
        return [identity in found for identity in wanted]

    def texts(self, rows: Sequence[int]) -> list[Text]:
        """Return the texts of n rows."""
        return [Text(shard.texts[offset].as_py(), shard.kinds[offset].as_py()) for shard, offset in self._locate(rows)]

    def prompted(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of n rows, each after its prompt, as teacher and student read them."""
        prompts = self.prompts
        return [prompts[row.kind] + row.text for row in self.texts(rows)]

    def embeddings(self, rows: Sequence[int]) -> NDArray[np.floating[Any]]:
        """Return the vectors of n rows, shape (n, d), in the dtype of the store."""
        vectors = np.empty((len(rows), self.dimension), dtype=self.header["dtype"])
        for place, (shard, offset) in enumerate(self._locate(rows)):
            vectors[place] = shard.embeddings[offset]
        return vectors

    def held_out(self, count: int) -> NDArray[np.int64]:
        """Return the ``count`` rows whose contents have the smallest hashes, in ascending order.

        The choice depends only on the texts. Texts that differ only in case, punctuation or spaces, or in their kind,
        are held out together, so the result may have more rows than ``count``. The method reads 8 bytes per row and
        keeps O(count + rows of a shard) in memory. A large store keeps the result in a file.
        """
        return self._kept(f"held-out-{count}", lambda: self._held_out(count))

    def _held_out(self, count: int) -> NDArray[np.int64]:
        best = np.empty((0, 2), dtype=np.int64)
        if count < 1:
            return best[:, 1]
        largest = np.iinfo(np.int64).max

        def smallest(shard: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            ids = self._selecting_ids(shard)
            offsets = np.flatnonzero(ids <= largest)  # none or a few, after the first shards
            return ids[offsets], offsets

        for index, (ids, offsets) in enumerate(self.each_shard(smallest)):
            best = np.concatenate([best, np.stack([ids, offsets + index * self._rows_per_shard], axis=1)])
            if len(best) > count:
                largest = np.partition(best[:, 0], count - 1)[count - 1]
                best = best[best[:, 0] <= largest]
        return np.sort(best[:, 1])

    def untrained(self, held_out: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows ``held_out`` and the rows that share a sentence with them, in ascending order.

        These are the sentences of held-out documents, and the documents that contain a held-out text as a sentence.
        In a store of an earlier version, the result is ``held_out``. The method reads 8 bytes per text and sentence
        and keeps O(held-out rows + rows of a shard) in memory. A large store keeps the result in a file.
        """
        if self.header["held_out_by"] != HELD_OUT_BY_CONTENT:
            return held_out
        digest = hashlib.blake2b(held_out.tobytes(), digest_size=8).hexdigest()
        return self._kept(f"untrained-{digest}", lambda: self._untrained(held_out))

    def _untrained(self, held_out: NDArray[np.int64]) -> NDArray[np.int64]:
        whole, parts = set[int](), set[int]()
        for row in held_out.tolist():
            index, offset = divmod(row, self._rows_per_shard)
            shard = self._map(index)  # most held-out rows of a large store are in shards of their own
            assert shard.contents is not None
            assert shard.sentences is not None
            whole.add(int(shard.contents[offset]))
            parts.update(shard.sentences[offset].as_py())
        sets = [pa.array(sorted(contents), pa.int64()) for contents in (whole, parts)]
        found = [held_out]
        for index, rows in enumerate(self.each_shard(lambda shard: _related(shard, *sets))):
            found.append(rows + index * self._rows_per_shard)
        pa.default_memory_pool().release_unused()  # a pool of each thread keeps memory otherwise
        return np.unique(np.concatenate(found))

    def _kept(self, name: str, choose: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return chosen rows; a store that is large or elsewhere keeps them in a file, because a pass takes minutes."""
        if self.rows <= _MOST_CHOSEN_AGAIN and self._remote is None:
            return choose()
        path = self.folder / f"{name}-{self.digest}.npy"
        write_once(path, lambda temporary: _save(temporary, choose()))
        rows: NDArray[np.int64] = np.load(path)
        return rows

    def _selecting_ids(self, shard: Shard) -> NDArray[np.int64]:
        """Return the hashes of the texts of ``shard`` that select the held-out rows and find equal texts."""
        if self.header["held_out_by"] != HELD_OUT_BY_CONTENT:
            return shard.ids
        assert shard.contents is not None  # the header says so
        return shard.contents

    def damaged(self) -> list[Path]:
        """Read every shard; return the shards that are missing or whose checksum is wrong.

        Shards that are elsewhere are compared when they are fetched, and only the fetched ones are read here.
        """
        paths = [path for path in self.paths if self._remote is None or path.is_file()]
        with ThreadPoolExecutor() as readers:
            intact = readers.map(lambda path: path.is_file() and is_intact(path), paths)
            return [path for path, is_whole in zip(paths, intact, strict=True) if not is_whole]

    def require_intact(self) -> None:
        """Compare the checksums of all shards, unless they were compared before or have more than 64 GiB of vectors.

        Raises:
            InputError: If a shard is missing or damaged.
        """
        if self._verified:
            return
        if self.vector_bytes > _COMPARED_AT_START:
            size = f"{self.vector_bytes / 1e9:,.0f} GB"
            _logger.info("%s: %s are not compared with their checksums; `leaf-st store verify` does", self.folder, size)
            return
        if damaged := self.damaged():
            raise InputError(f"{damaged[0]} is damaged: {REPAIR}")
        self._verified = True

    def to_dataset(self, with_lengths: bool = True) -> "datasets.Dataset":
        """Return the rows as a data set for a trainer: ``text``, with its prompt, and ``label``, a float32 vector.

        Texts and vectors are read from the shards when a batch is made. The table of the data set is one file with the
        number of each row, which is written at the first call, so the number of mapped files does not grow with the
        store.

        Args:
            with_lengths: Whether the table also has the length of each text, for a sampler of another trainer. All
                texts are read once.
        """
        path = self.folder / f"{LENGTHS if with_lengths else ROWS}-{self.digest}.arrow"
        write_once(path, self._write_lengths if with_lengths else self._write_rows)
        import datasets  # imports pandas, which embedding does not need

        return datasets.Dataset.from_file(str(path)).with_transform(self._read, columns=["row"])

    def _write_lengths(self, path: Path) -> None:
        """Write number and length in characters of each row to ``path``, a record batch for each shard."""
        schema = pa.schema([("row", pa.int64()), ("length", pa.int32())])
        with pa.ipc.new_stream(str(path), schema) as writer:
            for index, lengths in enumerate(self.each_shard(lambda shard: pc.utf8_length(shard.texts))):
                rows = np.arange(len(lengths)) + index * self._rows_per_shard
                writer.write_batch(pa.record_batch([pa.array(rows), lengths], schema=schema))

    def _write_rows(self, path: Path) -> None:
        """Write the number of each row to ``path``."""
        schema = pa.schema([("row", pa.int64())])
        with pa.ipc.new_stream(str(path), schema) as writer:
            for start in range(0, self.rows, _ROWS_AT_ONCE):
                rows = np.arange(start, min(start + _ROWS_AT_ONCE, self.rows))
                writer.write_batch(pa.record_batch([pa.array(rows)], schema=schema))

    def _read(self, batch: dict[str, list[int]]) -> dict[str, Any]:
        """Return the texts of n rows, and their vectors of shape (n, d) in float32."""
        import torch

        vectors = self.embeddings(batch["row"]).astype(np.float32, copy=False)
        return {"text": self.prompted(batch["row"]), "label": torch.from_numpy(vectors)}

    def _locate(self, rows: Sequence[int]) -> Iterator[tuple[Shard, int]]:
        """Yield the shard of each row and the row's place in the shard; a list of them would keep all shards mapped."""
        for row in rows:
            if isinstance(row, bool | np.bool_):  # int() would give the rows 0 and 1
                raise InputError("rows: expected row numbers, found a mask of booleans: pass np.flatnonzero(mask)")
            index, offset = divmod(int(row), self._rows_per_shard)
            yield self.shard(index), offset


def digest_of_ids(blocks: Iterable[NDArray[np.int64] | np.int64]) -> NDArray[np.int64]:
    """Return the hash of the `text_id` of all texts, in order and in blocks of any size, as an array of one number."""
    digest = hashlib.blake2b(digest_size=8)
    for ids in blocks:
        digest.update(ids.tobytes())
    return np.frombuffer(digest.digest(), np.int64)


def intact_store(folder: Path, fingerprint: Fingerprint | None = None) -> EmbeddingStore:
    """Open a store, as `EmbeddingStore`, whose shards are compared with their checksums first.

    Raises:
        InputError: As `EmbeddingStore`, or if a shard is missing or damaged.
    """
    store = EmbeddingStore(folder, fingerprint)
    store.require_intact()
    return store


def _save(path: Path, rows: NDArray[np.int64]) -> None:
    with path.open("wb") as file:  # numpy would change another name
        np.save(file, rows)


def _related(shard: Shard, whole: pa.Array, parts: pa.Array) -> NDArray[np.int64]:
    """Return the rows of ``shard`` whose text is one of ``parts``, or with a sentence that is one of ``whole``."""
    assert shard.contents is not None
    assert shard.sentences is not None
    among_whole = pc.is_in(pc.list_flatten(shard.sentences), value_set=whole)
    documents = pc.filter(pc.list_parent_indices(shard.sentences), among_whole).to_numpy()
    among_parts = pc.is_in(pa.array(shard.contents), value_set=parts)
    return np.union1d(pc.indices_nonzero(among_parts).to_numpy(), documents).astype(np.int64)


def read_header(folder: Path) -> dict[str, Any]:
    """Return the content of ``fingerprint.json`` in ``folder``.

    Raises:
        InputError: If the file is missing or damaged, or has a format that this version does not read.
    """
    header = _read_json(folder / FINGERPRINT, {"format": int}, _NO_STORE)
    if header["format"] != FORMAT:
        raise InputError(f"store {folder}: expected format {FORMAT}, found {header['format']}: embed again")
    return _read_json(
        folder / FINGERPRINT,
        _HEADER,
        _NO_STORE,
        {"unique_by": UNIQUE_BY_KIND, "held_out_by": HELD_OUT_BY_TEXT, ROUNDING: None, CUT_AT: None},
    )


def _read_json(
    path: Path, shape: Mapping[str, Any], otherwise: str, defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    try:
        value: dict[str, Any] = {**(defaults or {}), **read_sealed(path)}
        for key, hint in shape.items():
            TypeAdapter(hint).validate_python(value[key])
        return {key: value[key] for key in (*shape, *(defaults or {}))}
    except InputError:  # a ValueError too
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {otherwise}") from None
    except ValidationError as error:
        raise InputError(f"{path} is damaged ({key}: {error.errors()[0]['msg']}): delete it and embed again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): delete it and embed again") from error
