import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.texts.dedupe import Deduplicator

pairs = st.tuples(st.sampled_from(["query: ", ""]), st.text(st.characters(codec="utf-8"), max_size=3))


@given(st.lists(pairs))
def test_keeps_first_occurrences_in_order(stream):
    with Deduplicator() as seen:
        assert [pair for pair in stream if seen.is_new(*pair)] == list(dict.fromkeys(stream))


@given(st.lists(st.lists(pairs)))
def test_blocks_keep_first_occurrences_in_order(blocks):
    with Deduplicator() as seen:
        kept = [pair for block in blocks for pair, new in zip(block, seen.are_new(block), strict=True) if new]
    assert kept == list(dict.fromkeys(pair for block in blocks for pair in block))


def test_the_prompt_is_part_of_the_identity():
    with Deduplicator() as seen:
        assert seen.is_new("query: ", "leaf")
        assert seen.is_new("", "leaf")
        assert not seen.is_new("query: ", "leaf")


def test_deduplicators_share_nothing():
    with Deduplicator() as one, Deduplicator() as other:
        assert one.is_new("", "leaf")
        assert other.is_new("", "leaf")


def test_a_full_disk_is_named():
    with Deduplicator() as seen:
        seen._database.execute("PRAGMA max_page_count = 4")
        stream = map(str, range(10_000))
        with pytest.raises(OSError, match="texts cannot be compared: database or disk is full"):
            list(filter(lambda text: seen.is_new("", text), stream))


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, SQLite chooses the folder")
def test_the_file_is_in_the_folder_of_temporary_files_and_has_no_name(tmp_path, monkeypatch):
    folder = tmp_path / "a b%20?#c"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("leaf_st.texts.dedupe._CACHE_KIB", 16)
    texts = [("", str(number)) for number in range(10_000)]
    with Deduplicator() as seen:
        assert list(folder.iterdir()) == []
        assert seen.are_new(texts) == [True] * 10_000
        assert seen.are_new(texts) == [False] * 10_000
        ((_, _, file),) = seen._database.execute("PRAGMA database_list")
        assert Path(file).parent == folder.resolve()
        assert list(folder.iterdir()) == []
