"""Texts in, store out (paper 2.2: targets are computed once and kept).

The texts are cut into blocks, in order; a block is embedded, then written as one shard. Partition i of n makes
the shards whose number leaves remainder i, so that any number of workers, on one machine or many, make the same
store. A kill loses the block in flight; the same command goes on behind the last whole shard.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from leaf_st.atomic import is_temporary, write_json
from leaf_st.errors import InputError
from leaf_st.teacher.protocol import Targets
from leaf_st.teacher.shard import find_shards, is_intact, open_shard, text_id, write_shard
from leaf_st.teacher.store import FINGERPRINT, FORMAT, MANIFEST, UNIQUE_BY_PROMPT, EmbeddingStore, read_header
from leaf_st.texts import Text

# What one block, and so a kill, can cost: some seconds on two cores. 1M rows are 977 shards.
ROWS_PER_SHARD = 1024


def precompute(
    texts: Iterable[Text],
    teacher: Targets,
    folder: Path,
    *,
    dtype: str = "float16",
    partition: tuple[int, int] = (0, 1),
    skipped: Counter[str] | None = None,
    total: int | Callable[[int], int | None] | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> EmbeddingStore | None:
    """Embed ``texts`` with ``teacher`` into the store at ``folder``.

    Args:
        texts: Training texts, each once, in the same order every time.
        teacher: Gives the vectors.
        folder: The store: absent, empty, or of the same texts and teacher, finished or not.
        dtype: How vectors are stored, "float16" or "float32".
        partition: (i, n): make only the shards i, i + n, i + 2n, ...
        skipped: Reasons and counts of rows that ``texts`` leaves out; for the manifest.
        total: Number of all texts, for the time left: known, or estimated from the number of texts read so far.
        rows_per_shard: Rows of a block.

    Returns:
        The store, or None while other partitions are still at work.

    Raises:
        InputError: If the folder holds something else, another teacher's vectors or other texts, or the
            teacher gives vectors that are not finite.
    """
    index, count = partition
    if not 0 <= index < count:
        raise InputError(f"partition {index} of {count}: expected 0 <= partition < number of partitions")
    _prepare(folder, teacher, dtype, rows_per_shard)
    there = find_shards(folder)
    names: list[str | None] = []
    rows = 0
    with tqdm(unit=" texts", desc="embedding", smoothing=0.1) as progress:
        for number, block in enumerate(_blocks(texts, rows_per_shard)):
            progress.total = total(rows + len(block)) if callable(total) else total
            path = _existing(there.get(number), block, verify=number % count == index)
            if path is not None:
                progress.initial += len(block)  # keep what was there before out of the rate
            elif number % count == index:
                path = write_shard(folder, number, rows, block, embed_rows(teacher, block), dtype)
            if path is not None:
                progress.update(len(block))
            names.append(path.name if path else None)
            rows += len(block)
    if not names:
        raise InputError(f"store {folder}: expected texts, found none")
    # Other workers may have made theirs while this one was at work: whoever comes last has to see them all.
    there = find_shards(folder)
    if beyond := there.get(len(names)):
        raise _other_texts(beyond)
    names = [name or (there[number].name if number in there else None) for number, name in enumerate(names)]
    if not all(names):
        return None
    manifest = {"rows": rows, "skipped": dict(skipped or {}), "shards": names}
    write_json(folder / MANIFEST, manifest)
    return EmbeddingStore(folder)


def embed_rows(teacher: Targets, rows: list[Text]) -> NDArray[np.float32]:
    """Embed texts of mixed kinds; returns shape (n, d), row i for text i."""
    vectors = np.empty((len(rows), teacher.fingerprint.dimension), dtype=np.float32)
    encoders = {"query": teacher.encode_query, "document": teacher.encode_document}
    for kind, encode in encoders.items():
        places = [place for place, row in enumerate(rows) if row.kind == kind]
        if places:
            vectors[places] = encode([rows[place].text for place in places])
    return vectors


def _prepare(folder: Path, teacher: Targets, dtype: str, rows_per_shard: int) -> None:
    """Make the folder, or check that it is this store's."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": teacher.fingerprint.to_dict(),
        "dtype": dtype,
        "rows_per_shard": rows_per_shard,
        "unique_by": UNIQUE_BY_PROMPT,
    }
    # Looked at before the fingerprint is looked for: another worker may be making the same store at this moment.
    used = folder.exists() and (not folder.is_dir() or not all(map(is_temporary, folder.iterdir())))
    if not (folder / FINGERPRINT).is_file():
        if used:
            raise InputError(f"{folder} holds something that is no embedding store: name another output folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FINGERPRINT, header)
    found = read_header(folder)
    teacher.fingerprint.require_same(found["fingerprint"], f"store {folder}")
    for key in ("dtype", "rows_per_shard"):
        if found[key] != header[key]:
            raise InputError(
                f"store {folder}: expected {key} {header[key]}, found {found[key]}; name another output folder"
            )


def _blocks(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    iterator = iter(texts)
    while block := list(islice(iterator, size)):
        yield block


def _existing(path: Path | None, block: list[Text], verify: bool) -> Path | None:
    """Return the shard at ``path`` if it exists and is intact.

    With ``verify`` the checksum is compared and a damaged shard is removed. Each worker verifies the shards of its own
    partition, so that a store is read once and not once by each worker.

    Raises:
        InputError: If the shard holds other texts than ``block``.
    """
    if path is None:
        return None
    try:
        if verify and not is_intact(path):
            tqdm.write(f"{path} is damaged: making it again")
            path.unlink(missing_ok=True)
            return None
        ids = open_shard(path).ids.tolist()
    except (OSError, pa.ArrowException):  # the worker of that partition removed the shard, or will
        return None
    if ids == [text_id(row.text) for row in block]:
        return path
    if not verify and not is_intact(path):
        return None
    raise _other_texts(path)


def _other_texts(path: Path) -> InputError:
    return InputError(f"{path} holds other texts than those given now: name another output folder, or delete the store")
