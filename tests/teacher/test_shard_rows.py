import pytest

from leaf_st.teacher.shard_rows import default_rows_per_shard
from leaf_st.texts import Text

_SHORT, _LONG = [Text("x" * 100, "query")], [Text("é" * 5000, "document")]  # 100 and 10,000 bytes


@pytest.mark.parametrize(
    ("rows", "first", "vector_bytes", "expected"),
    [
        (None, _SHORT, 1536, 1024),
        (0, [], 1536, 1024),
        (1_000_000, _SHORT, 1536, 1024),
        (2**21 - 1, _SHORT, 1536, 1024),
        (2**21, _SHORT, 1536, 2048),
        (10_000_000, _SHORT, 1536, 8192),
        (10**9, _SHORT, 1536, 32768),
        (10**9, _LONG, 1536, 4096),
        (10**9, _LONG, 1 << 20, 1024),
    ],
)
def test_rows_of_a_shard_follow_from_the_count_and_the_size(rows, first, vector_bytes, expected):
    size = default_rows_per_shard(rows, first, vector_bytes)
    assert size == expected
    if size > 1024:
        assert rows // size >= 1024
        assert size * (vector_bytes + len(first[0].text.encode())) <= 64 << 20
