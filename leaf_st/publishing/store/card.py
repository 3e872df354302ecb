"""The card of a store as a data set on the hub. It shows the use of the vectors without this package."""

import re

from leaf_st.publishing.store.summary import rows_by_kind, settings_of, teacher_is_prompted
from leaf_st.teacher.store import EmbeddingStore

UNKNOWN = "unknown"
# The classes of size by which the hub lists data sets.
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
_LARGER = ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"))

_CARD = """\
---
license: {licence}
tags:
- embeddings
- leaf-st
task_categories:
- feature-extraction
size_categories:
- {size}
configs:
- config_name: default
  data_files: shard-*.arrow
---

# {name}

{rows:,} texts ({kinds}) and their vectors by `{teacher}`. A small model can learn from them to reproduce the teacher's
vectors, and the vectors can be searched as they are.

{settings}

## Licence of the texts

{licence_text}

## Use without leaf_st

```python
from datasets import load_dataset

rows = load_dataset("{repo_id}", split="train").with_format("numpy")
texts, vectors = rows["text"], rows["embedding"]  # {rows:,} texts; vectors of {dimension:,} numbers
```

`load_dataset(..., streaming=True)` reads the rows without a download of all files. A query must be embedded by the same
teacher, {as_before}, or by a student of the teacher.

| column | content |
| --- | --- |
| `text` | text without prompt |
| `kind` | `query` or `document`, which determines the prompt |
| `embedding` | vector of the teacher, {dtype} |
| `row` | number of the text |
| `id`, `content`, `sentences` | hashes of the text, of its words, and of the words of its sentences |

## Train a student

```bash
leaf-st store pull {repo_id} --output runs/mine/store
leaf-st train RECIPE --output runs/mine
```

The recipe names the same teacher. The teacher is not asked for these texts again. The name of each file contains the
checksum of its content, which `leaf-st store verify` compares.
"""


def store_card(store: EmbeddingStore, repo_id: str, licence: str) -> str:
    """Return the card of ``store`` as the data set ``repo_id``, with the ``licence`` of its texts."""
    settings = settings_of(store.header)
    is_prompted = teacher_is_prompted(store.header)
    kinds = ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in rows_by_kind(store).items())
    return _CARD.format(
        licence=licence,
        licence_text=_licence_text(licence),
        size=next((name for most, name in (*_SIZES, *_LARGER) if len(store) < most), "n>1T"),
        name=repo_id.partition("/")[2],
        repo_id=repo_id,
        rows=len(store),
        kinds=kinds,
        teacher=store.header["fingerprint"]["teacher"],
        settings="\n".join(["| setting | value |", "| --- | --- |", *(f"| {a} | {_cell(b)} |" for a, b in settings)]),
        as_before="after its prompt" if is_prompted else "with the settings in the revision above",
        dimension=store.dimension,
        dtype=store.header["dtype"],
    )


def _cell(value: str) -> str:
    """Return ``value`` as code in a table, where a bar would end the cell."""
    value = value.replace("|", "\\|")
    longest = max(map(len, re.findall("`+", value)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{value}{space}{fence}"


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else {"query": "queries"}.get(kind, f"{kind}s")


def _licence_text(licence: str) -> str:
    if licence == UNKNOWN:
        return (
            "Unknown: whoever published this data set did not name the licence. Name the licence with `leaf-st store "
            "push --licence`, and do not use the texts before you know the licence."
        )
    return f"`{licence}`, as stated by whoever published this data set. The terms of the teacher apply to the vectors."
