"""Embedding of texts into a store (paper 2.2: targets are computed once and kept).

The texts are cut into blocks, in order. A block is embedded, then written as one shard. A shard is determined by its
number, so any number of workers, on one machine or many, make the same store; `workers` decides who makes which shard,
and a `maker` makes it. A kill loses the blocks in flight, and the same command makes the missing shards. The texts of a
block are read while previous blocks are embedded or written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from leaf_st.atomic import is_temporary, make_folder
from leaf_st.errors import InputError, require_kind
from leaf_st.recipe.types import local_folder
from leaf_st.sealed import write_sealed
from leaf_st.teacher.blocks import blocks, read_ahead
from leaf_st.teacher.maker import Block, LocalMaker, Maker
from leaf_st.teacher.protocol import GIVEN, Fingerprint, Service, Targets
from leaf_st.teacher.remote_shards import SOURCE
from leaf_st.teacher.rounding import record_rounding
from leaf_st.teacher.service_errors import or_train
from leaf_st.teacher.shard import find_leftovers, find_shards, is_intact, open_shard
from leaf_st.teacher.shard_rows import ROWS_PER_SHARD, default_rows_per_shard
from leaf_st.teacher.store import (
    CUT_AT,
    FINGERPRINT,
    FORMAT,
    HELD_OUT_BY_CONTENT,
    STORE_MANIFEST,
    UNIQUE_BY_PROMPT,
    EmbeddingStore,
    read_header,
)
from leaf_st.texts import Text
from leaf_st.texts.check import left_out
from leaf_st.texts.fold import text_id

Total = int | Callable[[int], int | None] | None


def precompute(
    texts: Iterable[Text],
    teacher: Targets,
    folder: Path,
    *,
    dtype: str = "float16",
    own: Callable[[int], bool] = lambda number: True,
    skipped: Counter[str] | None = None,
    total: Total = None,
    rows_per_shard: int | None = None,
    cut_at: int | None = None,
    maker: Maker | None = None,
) -> EmbeddingStore | None:
    """Embed ``texts`` with ``teacher`` into the store at ``folder``.

    Args:
        texts: Training texts without duplicates, in the same order at every call.
        teacher: The teacher, which gives the vectors.
        folder: A new or empty folder, or a complete or incomplete store of the same texts and teacher.
        dtype: Dtype of the stored vectors, "float16" or "float32".
        own: Whether this worker makes the shard of a number; all shards by default.
        skipped: Reasons and counts of the rows that ``texts`` leaves out, for the manifest.
        total: Number of all texts, or a function that estimates it from the number of texts read. The progress bar and
            the default of ``rows_per_shard`` need this number.
        rows_per_shard: Rows of a shard; if None, those of the existing store or, for a new one, a number that follows
            from ``total`` (see `default_rows_per_shard`).
        cut_at: Tokens to which ``texts`` were cut, for the header of the store; None if they are complete.
        maker: Makes the shards; by default, this process embeds with ``teacher``.

    Returns:
        The store, or None if shards of other workers are missing.

    Raises:
        InputError: If an item is no `Text`, if the folder is a URL or holds something else, another teacher's vectors
            or other texts, or if the teacher gives vectors that are not finite or the same for all texts, has changed,
            or is not paid for.
    """
    folder = local_folder(folder)
    require_kind("teacher", teacher, Targets, "a Teacher: pass what leaf_st.open_teacher returns")
    texts = _checked(texts)
    if rows_per_shard is None:
        rows_per_shard, texts = _choose_rows_per_shard(texts, teacher, folder, dtype, total)
    _prepare(folder, teacher, dtype, rows_per_shard, cut_at)
    service = teacher if isinstance(teacher, Service) else None
    if service is not None:
        with or_train(folder):
            service.require_unchanged(folder)
    there, leftovers = find_shards(folder), find_leftovers(folder)
    shards: list[Path | None] = []
    signatures: list[int] = []
    rows = 0
    read = blocks(texts, rows_per_shard)
    with (
        tqdm(unit=" texts", desc="embedding", smoothing=0.1) as progress,
        closing(read if maker is None else read_ahead(read)) as all_blocks,
        maker or LocalMaker(teacher, folder) as making,
    ):
        for number, block in enumerate(all_blocks):
            if number == 0 and own(number):
                record_rounding(folder, teacher, block)
            progress.total = _expected(total, rows + len(block))
            signatures.append(_signature([text_id(row.text) for row in block], [row.kind for row in block]))
            shards.append(_existing(there.get(number), signatures[number], verify=own(number)))
            if shards[number] is not None:
                if not progress.disable:  # a disabled bar has no attribute `initial`
                    progress.initial += len(block)  # earlier shards must not count in the rate
                progress.update(len(block))
            elif own(number):
                remedy = _remedy(teacher.fingerprint, dtype, skipped or Counter())
                whole = len(block) < rows_per_shard
                making.make(
                    Block(number, rows, block, dtype, whole, remedy, leftovers.get(number, ())),
                    partial(_made, shards, number, progress, len(block)),
                )
            rows += len(block)
    if not shards:
        reasons = skipped or Counter[str]()
        remedy = "correct these rows, or name other texts or vectors" if reasons else "name other texts"
        raise InputError(f"store {folder}: expected texts, found none{left_out(reasons)}: {remedy}")
    if service is not None:
        service.require_unchanged(folder)
    # Other workers may have written shards in the meantime. The last worker must find all of them, with these texts.
    there = find_shards(folder)
    if beyond := there.get(len(shards)):
        raise _other_texts(beyond)
    paths = [
        shard or _existing(there.get(number), signatures[number], verify=False) for number, shard in enumerate(shards)
    ]
    if not all(paths):
        return None
    manifest = {"rows": rows, "skipped": dict(skipped or {}), "shards": [path.name for path in paths if path]}
    write_sealed(folder / STORE_MANIFEST, manifest)
    return EmbeddingStore(folder)


def _checked(texts: Iterable[Text]) -> Iterator[Text]:
    """Yield ``texts``; items of another type, such as plain strings, which `leaf_st.distill` takes, are refused."""
    for row in texts:
        require_kind("texts", row, Text, "items of leaf_st.Text: write leaf_st.Text('a text', 'document')")
        yield row


def _expected(total: Total, rows: int) -> int | None:
    """Return the expected number of all texts, of which ``rows`` have been read."""
    return total(rows) if callable(total) else total


def _choose_rows_per_shard(
    texts: Iterable[Text], teacher: Targets, folder: Path, dtype: str, total: Total
) -> tuple[int, Iterable[Text]]:
    """Return the rows per shard of the store at ``folder``, or a number for a new store; and the texts, from the first.

    The number depends only on the texts, so workers that start at the same time choose the same.
    """
    if (folder / FINGERPRINT).is_file():
        return read_header(folder)["rows_per_shard"], texts
    rest = iter(texts)
    first = list(islice(rest, ROWS_PER_SHARD))
    rows = _expected(total, len(first)) if len(first) == ROWS_PER_SHARD else len(first)
    size = default_rows_per_shard(rows, first, teacher.fingerprint.dimension * np.dtype(dtype).itemsize)
    return size, chain(first, rest)


def _remedy(fingerprint: Fingerprint, dtype: str, skipped: Counter[str]) -> str:
    """Return what to do if vectors are not finite, to follow the texts that have them."""
    if not fingerprint.revision.startswith(GIVEN):
        remedies = ["name another teacher"]
        if "float16" in fingerprint.precision:  # perhaps that of a member of an ensemble
            remedies.insert(0, "set the precision of the teacher to float32")
        if dtype == "float16":
            remedies.insert(0, "set teacher.store_dtype='float32' if the values are too large")
        return f": {', or '.join(remedies)}"
    # No model is loaded, and vectors with NaN are left out. What remains is too large, often because it was misread.
    return (
        f"{left_out(skipped)}: correct the vectors, whose binary or base64 form must be little-endian float32, or set "
        "teacher.store_dtype='float32' if such large numbers are meant"
    )


def _made(shards: list[Path | None], number: int, progress: tqdm, texts: int, path: Path) -> None:
    """Take note of a shard that was made."""
    shards[number] = path
    progress.update(texts)


def _prepare(folder: Path, teacher: Targets, dtype: str, rows_per_shard: int, cut_at: int | None) -> None:
    """Create the folder, or check that it is a store of this teacher with these settings."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": teacher.fingerprint.to_dict(),
        "dtype": dtype,
        "rows_per_shard": rows_per_shard,
        "unique_by": UNIQUE_BY_PROMPT,
        "held_out_by": HELD_OUT_BY_CONTENT,
        CUT_AT: cut_at,
    }
    if (folder / SOURCE).is_file():
        raise InputError(f"{folder}: expected all shards, found a store whose shards are fetched: run `leaf-st train`")
    # Read before the fingerprint is looked up, because another worker may be creating the same store.
    used = folder.exists() and (not folder.is_dir() or not all(map(is_temporary, folder.iterdir())))
    if not (folder / FINGERPRINT).is_file():
        if used:
            raise InputError(f"{folder} is not empty and is not a store of vectors: name another output folder")
        make_folder(folder)
        write_sealed(folder / FINGERPRINT, header)
    found = read_header(folder)
    teacher.fingerprint.require_same(found["fingerprint"], f"store {folder}")
    for key in ("dtype", "rows_per_shard", CUT_AT):
        if found[key] != header[key]:
            raise InputError(
                f"store {folder}: expected {key} {header[key]}, found {found[key]}: name another output folder"
            )


def _signature(ids: list[int], kinds: list[str]) -> int:
    """Return a hash of the texts of a shard by `text_id`, and of their kinds, which choose prompt and input type."""
    return hash((*ids, *kinds))


def _existing(path: Path | None, expected: int, verify: bool) -> Path | None:
    """Return the shard at ``path`` if it exists and is intact.

    With ``verify``, the checksum is compared and a damaged shard is removed. Each worker verifies its own shards, so a
    store is read once in total.

    Raises:
        InputError: If the `_signature` of the shard is not ``expected``.
    """
    if path is None:
        return None
    try:
        if verify and not is_intact(path):
            tqdm.write(f"{path} is damaged: embedding its texts again")
            path.unlink(missing_ok=True)
            return None
        shard = open_shard(path)
        shard.kinds.validate(full=True)  # a damaged column could be read beyond its end
        found = _signature(shard.ids.tolist(), shard.kinds.to_pylist())
    except (OSError, ValueError):  # the worker of that shard removed it, or will
        return None
    if found == expected:
        return path
    if not verify and not is_intact(path):
        return None
    raise _other_texts(path)


def _other_texts(path: Path) -> InputError:
    return InputError(
        f"{path} holds texts other than the given ones, or other kinds of them: name another output folder, or delete "
        "this one"
    )
