import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.text import Text

texts = st.builds(Text, st.text(st.characters(codec="utf-8"), max_size=3), st.sampled_from(["query", "document"]))


@given(st.lists(texts))
def test_keeps_first_occurrences_in_order(stream):
    with Deduplicator() as seen:
        assert [text for text in stream if seen.is_new(text)] == list(dict.fromkeys(stream))


def test_kind_is_part_of_the_identity():
    with Deduplicator() as seen:
        assert seen.is_new(Text("leaf", "query"))
        assert seen.is_new(Text("leaf", "document"))
        assert not seen.is_new(Text("leaf", "query"))


def test_deduplicators_share_nothing():
    with Deduplicator() as one, Deduplicator() as other:
        assert one.is_new(Text("leaf", "query"))
        assert other.is_new(Text("leaf", "query"))


def test_a_full_disk_is_named():
    with Deduplicator() as seen:
        seen._database.execute("PRAGMA max_page_count = 4")
        stream = (Text(str(number), "query") for number in range(10_000))
        with pytest.raises(OSError, match="texts cannot be compared: database or disk is full"):
            list(filter(seen.is_new, stream))
