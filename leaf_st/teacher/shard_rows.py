"""The default number of rows in a shard, which follows from the number and the size of all rows."""

from collections.abc import Sequence

from leaf_st.texts import Text

# A block of 1,024 texts takes some seconds on two cores. Stores of up to 2M rows have such shards.
ROWS_PER_SHARD = 1024
# A kill loses at most the shard in flight, and the progress bar moves with each shard: larger stores have as many.
_SHARDS = 1024
# Folders and object stores are slow with millions of files. 1e9 vectors of 768 float16 numbers are 31,000 shards.
_BYTES = 64 << 20


def default_rows_per_shard(rows: int | None, first: Sequence[Text], vector_bytes: int) -> int:
    """Return 1,024 for up to 2M rows; for more, the largest power of two with 1,024 shards and at most 64 MiB each.

    A power of two stays the same if the number of rows is an estimate that changes a little.

    Args:
        rows: Expected number of all rows; None if it is unknown.
        first: The first texts, whose mean size stands for that of all texts.
        vector_bytes: Size of a vector.
    """
    if rows is None or not first:
        return ROWS_PER_SHARD
    row_bytes = vector_bytes + sum(len(row.text.encode("utf-8", "surrogatepass")) for row in first) // len(first)
    most = min(rows // _SHARDS, _BYTES // row_bytes)
    return max(ROWS_PER_SHARD, 1 << max(0, most.bit_length() - 1))
