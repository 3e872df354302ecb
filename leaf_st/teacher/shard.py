"""One shard of a store: an Arrow IPC stream of one record batch, in a file that is complete or missing.

The file name holds the number and the checksum of the shard (``shard-00000012-9f86d081884c7d65.arrow``), so the rename
that makes the file visible also records its checksum.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.texts import Text
from leaf_st.texts.fold import content_id, text_id
from leaf_st.texts.sentence import sentences_of

# A name in another form is a copy that another program made, such as "shard-... (1).arrow", or no shard.
SHARD_NAME = re.compile(r"shard-(?P<number>\d{8})-[0-9a-f]{16}\.arrow")
_LEFTOVER = re.compile(rf"\.{SHARD_NAME.pattern}\.[0-9a-f]{{8}}\.tmp")  # see `leaf_st.atomic.write_whole`
# What to do about a missing or damaged shard. Who pulled a store has neither its texts nor, perhaps, its teacher.
REPAIR = "run `leaf-st embed` again, or `leaf-st store pull` again for a pulled store"
_SMALL_NORM = 1e-3  # of a vector that float16 may not hold
_LARGEST_LOSS = 0.01


@dataclass(frozen=True)
class Shard:
    """One mapped shard; entry i of every column belongs to text i.

    Attributes:
        texts: The n texts.
        kinds: Kind of each text.
        ids: `text_id` of each text, shape (n,).
        contents: `content_id` of each text, shape (n,); None in shards of earlier versions.
        sentences: `content_id` of the sentences of each document; None in shards of earlier versions.
        embeddings: The teacher's vectors, shape (n, d), float16 or float32, a view of the mapped file.
    """

    texts: pa.StringArray
    kinds: pa.StringArray
    ids: NDArray[np.int64]
    contents: NDArray[np.int64] | None
    sentences: pa.ListArray | None
    embeddings: NDArray[np.floating[Any]]


def find_shards(folder: Path) -> dict[int, Path]:
    """Return the files of the existing shards by shard number."""
    found = ((SHARD_NAME.fullmatch(path.name), path) for path in folder.glob("shard-*-*.arrow"))
    return {int(name["number"]): path for name, path in found if name is not None and path.is_file()}


def find_leftovers(folder: Path) -> dict[int, list[Path]]:
    """Return the temporary files that killed processes left of their shards, by shard number."""
    found: dict[int, list[Path]] = {}
    for path in folder.glob(".shard-*-*.tmp"):
        if (name := _LEFTOVER.fullmatch(path.name)) is not None:
            found.setdefault(int(name["number"]), []).append(path)
    return found


def write_shard(
    folder: Path,
    index: int,
    first_row: int,
    rows: Sequence[Text],
    vectors: NDArray[np.float32],
    dtype: str,
    remedy: str,
    leftovers: Sequence[Path] = (),
) -> Path:
    """Write shard ``index``, completely or not at all, and return its file.

    Args:
        folder: The store.
        index: Number of the shard.
        first_row: Number of the shard's first row in the store.
        rows: n texts.
        vectors: The vectors of the texts, shape (n, d).
        dtype: "float16" or "float32".
        remedy: What to do if a vector is not finite, for the error.
        leftovers: Temporary files of this shard, to remove. Looking for them at each shard would list all shards.

    Raises:
        InputError: If a vector is not finite in that dtype, or too small for it. Nothing is written then
            (docs/architecture.md, contract 3).
    """
    with np.errstate(over="ignore"):
        values = vectors.astype(dtype)
    bad = _not_finite(vectors, values)
    if bad.size:
        found = f"values too large for {dtype}" if np.isfinite(vectors).all() else "NaN or infinite values"
        raise InputError(
            f"teacher: expected finite values as {dtype}, found {found} for {bad.size:,} of the {len(rows):,} texts in "
            f"rows {first_row} to {first_row + len(rows) - 1} of the store, first for row {first_row + int(bad[0])}, "
            f"{rows[bad[0]].text[:80]!r}{remedy}"
        )
    _require_precise(vectors, values, first_row, rows)
    batch = _record_batch(first_row, rows, values)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = sink.getvalue()
    path = folder / f"shard-{index:08d}-{_checksum(content)}.arrow"
    write_whole(path, lambda temporary: _write_bytes(temporary, content), leftovers)
    return path


def _not_finite(vectors: NDArray[np.float32], values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the rows of ``values``, the rounded ``vectors``, that are not finite."""
    largest = np.finfo(values.dtype).max
    # This check of the vectors takes a tenth of the time of isfinite on float16 numbers. It fails for NaN.
    if not vectors.size or (vectors.max() <= largest and vectors.min() >= -largest):
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(values).all(axis=1))


def _require_precise(
    vectors: NDArray[np.float32], values: NDArray[np.floating[Any]], first_row: int, rows: Sequence[Text]
) -> None:
    """Check that rounding keeps small vectors: below 6e-5, a number in float16 has fewer than three digits.

    Raises:
        InputError: If a vector loses more than ``_LARGEST_LOSS`` of its length.
    """
    if values.dtype == vectors.dtype:
        return
    norms = np.linalg.norm(vectors, axis=1)
    small = np.flatnonzero((norms > 0) & (norms < _SMALL_NORM))
    if not small.size:
        return
    lost = np.linalg.norm(values[small].astype(np.float32) - vectors[small], axis=1) / norms[small]
    if lost.max() > _LARGEST_LOSS:
        worst = small[int(lost.argmax())]
        raise InputError(
            f"teacher: expected vectors that {values.dtype} can hold, found a vector of norm {norms[worst]:.1e} that "
            f"loses {lost.max():.0%} of its length, in row {first_row + int(worst)} of the store, "
            f"{rows[worst].text[:80]!r}: set teacher.store_dtype='float32'"
        )


def open_shard(path: Path) -> Shard:
    """Map the shard at ``path``; the columns are views of the file, which is not read yet.

    Raises:
        InputError: If the file is no shard.
    """
    try:
        return _mapped(path)
    except (pa.ArrowException, OSError, KeyError, AttributeError, ValueError, StopIteration) as error:
        raise InputError(f"shard {path} is damaged ({error}): {REPAIR}") from error


def _mapped(path: Path) -> Shard:
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_stream(source).read_next_batch()
    column = batch.column("embedding")
    vectors = column.values.to_numpy(zero_copy_only=True)
    has_contents = "content" in batch.schema.names
    return Shard(
        texts=batch.column("text"),
        kinds=batch.column("kind"),
        ids=batch.column("id").to_numpy(zero_copy_only=True),
        contents=batch.column("content").to_numpy(zero_copy_only=True) if has_contents else None,
        sentences=batch.column("sentences") if has_contents else None,
        embeddings=vectors.reshape(len(batch), column.type.list_size),
    )


def is_intact(path: Path) -> bool:
    """Read the shard at ``path`` and return whether its content has the checksum in its name."""
    with pa.memory_map(str(path)) as source:
        return _checksum(source.read_buffer()) == path.stem.rpartition("-")[2]


def _record_batch(first_row: int, rows: Sequence[Text], values: NDArray[np.floating[Any]]) -> pa.RecordBatch:
    flat = pa.array(values.reshape(-1))
    sentences = [list(map(content_id, sentences_of(row.text))) if row.kind == "document" else [] for row in rows]
    return pa.record_batch(
        {
            "row": pa.array(np.arange(first_row, first_row + len(rows))),
            "id": pa.array(np.array([text_id(row.text) for row in rows])),
            "content": pa.array([content_id(row.text) for row in rows], pa.int64()),
            "sentences": pa.array(sentences, pa.list_(pa.int64())),
            "kind": pa.array([row.kind for row in rows], pa.string()),
            "text": pa.array([row.text for row in rows], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, values.shape[1]),
        }
    )


def _checksum(content: pa.Buffer) -> str:
    return hashlib.blake2b(memoryview(content), digest_size=8).hexdigest()


def _write_bytes(path: Path, content: pa.Buffer) -> None:
    with path.open("wb") as handle:
        handle.write(memoryview(content))
