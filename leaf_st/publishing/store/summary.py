"""What a store contains: for `leaf-st store info` and the card of the data set."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from leaf_st.errors import InputError
from leaf_st.recipe import KINDS
from leaf_st.run_folder import STORE
from leaf_st.tables import aligned
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.store import CUT_AT, FINGERPRINT, ROUNDING, STORE_MANIFEST, EmbeddingStore, read_header
from leaf_st.texts.check import in_words

# In the revision of an ensemble, or of an API with different input types for queries and documents.
_OWN_INPUT = re.compile(r'^[\d.e+-]+ x |"input_type": \{(?!"document": ("(?:[^"\\]|\\.)*"), "query": \1\})')


def store_folder(folder: Path) -> Path:
    """Return ``folder`` if it is a store, or the store of the run ``folder``.

    Raises:
        InputError: If the folder is neither.
    """
    for place in (folder, folder / STORE):
        if (place / FINGERPRINT).is_file():
            return place
    raise InputError(
        f"{folder}: expected a store with {FINGERPRINT}, or a run folder with {STORE}/, found neither: name another "
        "folder"
    )


def describe_store(folder: Path) -> str:
    """Return a table of the teacher, the rows and the files of the store at ``folder``, complete or not.

    Raises:
        InputError: If the folder is no store.
    """
    header, shards = read_header(folder), find_shards(folder)
    lines = settings_of(header)
    if (folder / STORE_MANIFEST).is_file():
        store = EmbeddingStore(folder)
        lines.append(("texts", f"{len(store):,}"))
        lines.append(("rows left out", in_words(Counter(store.skipped)) or "none"))
    else:
        lines.append(("texts", f"incomplete, about {len(shards) * header['rows_per_shard']:,} so far"))
    lines.append(("shards", f"{len(shards):,}, each of at most {header['rows_per_shard']:,} texts"))
    lines.append(("bytes", f"{sum(path.stat().st_size for path in shards.values()):,}"))
    return aligned(lines, left=2)


def settings_of(header: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the settings in ``header``, the value of `read_header`, that shape the vectors."""
    teacher = header["fingerprint"]
    prompts = ", ".join(f"{kind}: {prompt!r}" for kind, prompt in teacher["prompts"].items())
    lengths = {"tokens the teacher reads": teacher.get("max_length"), "texts cut at tokens": header[CUT_AT]}
    return [
        ("teacher", teacher["teacher"]),
        ("revision", teacher["revision"]),
        ("prompts" if teacher_is_prompted(header) else "prompts of a student", prompts or "none"),
        *((name, "no limit known" if value is None else f"{value:,}") for name, value in lengths.items()),
        ("pooling", teacher.get("pooling", "unknown")),
        ("precision of the teacher", teacher.get("precision", "unknown")),
        ("mean distance to float32", "not measured" if header[ROUNDING] is None else f"{header[ROUNDING]:g}"),
        ("vectors", f"{teacher['dimension']:,} x {header['dtype']}{', norm 1' if teacher.get('normalized') else ''}"),
    ]


def teacher_is_prompted(header: dict[str, Any]) -> bool:
    """Return whether the teacher gets the recorded prompts, which only its student may get.

    An API may get an input type for each kind in their place, and each member of an ensemble has its own prompts. Both
    are in the revision.
    """
    return _OWN_INPUT.search(header["fingerprint"]["revision"]) is None


def rows_by_kind(store: EmbeddingStore) -> dict[str, int]:
    """Return the number of texts of each kind that occurs; all shards are read."""
    counts: Counter[str] = Counter()
    for entries in store.each_shard(lambda shard: pc.value_counts(shard.kinds).to_pylist()):
        for entry in entries:
            counts[entry["values"]] += entry["counts"]
    return {kind: counts[kind] for kind in KINDS if counts[kind]}
