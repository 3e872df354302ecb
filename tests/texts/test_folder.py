from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.files import read_file


def write(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": list(texts)}), path)


def rows(path):
    skipped = Counter()
    blocks = read_file(TextsSpec(source=str(path)), skipped)
    return [row for block in blocks for row in zip(block.texts, block.kinds, strict=True)], skipped


def texts(path):
    return [text for text, _ in rows(path)[0]]


def test_hidden_and_underscore_files_and_folders_are_left_out(tmp_path):
    write(tmp_path / "a.parquet", "cats")
    write(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.parquet", "copy")
    write(tmp_path / "_temporary" / "0" / "a.parquet", "unfinished")
    for name in ("._a.parquet", "_metadata", "_SUCCESS", "_common_metadata.parquet", "sub/.b.parquet.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    assert rows(tmp_path) == ([("cats", "document")], Counter())


def test_a_folder_whose_own_name_begins_with_a_dot_is_read(tmp_path):
    write(tmp_path / ".cache" / "_data" / "a.parquet", "cats")
    assert texts(tmp_path / ".cache" / "_data") == ["cats"]


def test_tables_of_several_files_are_read_in_the_order_of_their_paths(tmp_path):
    write(tmp_path / "x.parquet" / "part.1.parquet", "dogs")
    write(tmp_path / "x.parquet" / "part.0.parquet", "cats")
    write(tmp_path / "y" / "z" / "a.PARQUET", "snow")
    assert texts(tmp_path) == ["cats", "dogs", "snow"]
    assert texts(tmp_path / "x.parquet") == ["cats", "dogs"]


def test_links_to_folders_are_followed_once(tmp_path):
    write(tmp_path / "elsewhere" / "a.parquet", "cats")
    folder = tmp_path / "folder"
    write(folder / "b.parquet", "dogs")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    assert sorted(texts(folder)) == ["cats", "dogs"]


def test_a_link_to_nothing_is_named(tmp_path):
    write(tmp_path / "a.parquet", "cats")
    (tmp_path / "b.parquet").symlink_to(tmp_path / "gone.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: a link to .*gone\.parquet, which does not exist: restore"):
        rows(tmp_path)


def test_tables_of_another_form_are_counted(tmp_path):
    write(tmp_path / "a.parquet", "cats")
    (tmp_path / "b.jsonl").write_text('{"text": "dogs"}\n')
    for name in ("c.pq", "d.parquet.gz", "e.jsonl.gz", "part-0"):
        (tmp_path / name).write_bytes(b"rows")
    for name in ("README.md", "LICENSE", "dataset_infos.json", "_SUCCESS"):
        (tmp_path / name).write_text("about")
    assert rows(tmp_path) == ([("cats", "document")], Counter({"not a file of the form that is read": 5}))


def test_folders_named_after_the_kind_state_the_kind(tmp_path):
    write(tmp_path / "kind=document" / "a.parquet", "cats")
    write(tmp_path / "kind=query" / "lang=en" / "a.parquet", "what is a cat")
    assert rows(tmp_path)[0] == [("cats", "document"), ("what is a cat", "query")]


def test_a_folder_of_rows_without_a_kind_states_no_kind(tmp_path):
    write(tmp_path / "kind=__HIVE_DEFAULT_PARTITION__" / "a.parquet", "cats")
    assert rows(tmp_path) == ([("cats", "document")], Counter())


def test_beir_folder_with_tables_of_several_files(tmp_path):
    write(tmp_path / "corpus.parquet" / "part.0.parquet", "cats")
    write(tmp_path / "corpus.parquet" / "part.1.parquet", "dogs")
    write(tmp_path / "queries.parquet", "animals")
    assert rows(tmp_path)[0] == [("cats", "document"), ("animals", "query"), ("dogs", "document")]
