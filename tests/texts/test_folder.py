import gzip
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.precompute import precompute
from leaf_st.texts import Text
from leaf_st.texts.files import read_file


def write(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": list(texts)}), path)


def rows(path, **spec):
    skipped = Counter()
    blocks = read_file(TextsSpec(source=str(path), **spec), skipped)
    return [row for block in blocks for row in zip(block.texts, block.kinds, strict=True)], skipped


def texts(path):
    return [text for text, _ in rows(path)[0]]


def test_a_missing_piece_is_logged_once(tmp_path, caplog):
    for number in (0, 2):
        write(tmp_path / f"train-{number:05d}-of-00003.parquet", f"cats {number}")
    write(tmp_path / "test-00000-of-00001.parquet", "dogs")
    for _ in range(2):
        assert texts(tmp_path) == ["dogs", "cats 0", "cats 2"]
    expected = (
        f"{tmp_path}/train-*-of-00003.parquet: 2 of 3 files are here; the texts of the missing files are not read"
    )
    assert caplog.messages == [expected]


def test_a_missing_piece_with_a_hash_in_its_name_is_logged(tmp_path, caplog):
    write(tmp_path / "train-00000-of-00003-0a1b2c3d4e5f6071.parquet", "cats 0")
    write(tmp_path / "train-00002-of-00003-1a1b2c3d4e5f6072.parquet", "cats 2")
    assert texts(tmp_path) == ["cats 0", "cats 2"]
    assert f"{tmp_path}/train-*-of-00003.parquet: 2 of 3 files are here" in caplog.text


@pytest.mark.parametrize("name", ["c4.{}-of-00003", "train-{}-of-3", "part-{}-of-000003"])
def test_a_missing_piece_is_logged_however_it_is_numbered(tmp_path, caplog, name):
    for number in ("00000", "00002"):
        write(tmp_path / f"{name.format(number)}.parquet", f"cats {number}")
    assert len(texts(tmp_path)) == 2
    assert "2 of 3 files are here" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names of bytes")
def test_names_of_files_may_be_no_utf_8_and_look_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "en:2024.parquet", "cats")
    assert texts("en:2024.parquet") == ["cats"]
    (tmp_path / "en:2024.parquet").rename(tmp_path / os.fsdecode(b"gr\xf6\xdfe.parquet"))
    assert texts(tmp_path) == ["cats"]


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


@pytest.mark.parametrize("column", ["text", "body"])
def test_folders_of_documents_and_queries_are_a_beir_folder_without_judgements(tmp_path, column):
    for name, table in (
        ("corpus", {"_id": ["1", "2"], "title": ["Cats", None], column: ["sleep", "dogs"]}),
        ("queries", {"_id": ["a"], column: ["animals"]}),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(table), tmp_path / name / "train-00000-of-00001.parquet")
    assert rows(tmp_path, text_column=column)[0] == [
        ("Cats sleep", "document"),
        ("animals", "query"),
        ("dogs", "document"),
    ]


def test_beir_folder_with_tables_of_several_files(tmp_path):
    write(tmp_path / "corpus.parquet" / "part.0.parquet", "cats")
    write(tmp_path / "corpus.parquet" / "part.1.parquet", "dogs")
    write(tmp_path / "queries.parquet", "animals")
    assert rows(tmp_path)[0] == [("cats", "document"), ("animals", "query"), ("dogs", "document")]


def test_a_store_is_the_shards_that_its_manifest_lists(tmp_path, tiny_teacher):
    given = [Text(f"text {row}", ("query", "document")[row % 2]) for row in range(10)]
    teacher = LocalTeacher(tiny_teacher, "tiny", "0")
    store = precompute(given, teacher, tmp_path / "store", rows_per_shard=4)
    for with_lengths in (True, False):  # writes an Arrow file beside the shards, as a training does
        store.to_dataset(with_lengths)
    assert len(list(store.folder.glob("*.arrow"))) == 5
    found, skipped = rows(store.folder)
    assert found == [tuple(row) for row in given]
    assert skipped == Counter({"not a file that the table lists": 2, "not a file of the form that is read": 2})
    store.paths[1].unlink()
    with pytest.raises(InputError, match=r"shard-00000001-.*: expected the file, which .*manifest\.json lists"):
        rows(store.folder)


def _saved(path, *texts, shards=1):
    datasets.Dataset.from_dict({"text": list(texts)}).save_to_disk(path, num_shards=shards)
    return datasets.load_from_disk(path)


def test_a_saved_data_set_is_what_its_state_lists(tmp_path):
    _saved(tmp_path / "old", "old cats", "old dogs", "old snow", shards=3)
    data = _saved(tmp_path / "new", "cats", "dogs")
    for shard in (tmp_path / "old").glob("*.arrow"):  # as copying the new data set over the old one leaves them
        shutil.copy(shard, tmp_path / "new")
    data.map(lambda row: {"text": row["text"].upper()})
    data.shuffle(seed=1)
    caches = len(list((tmp_path / "new").glob("cache-*.arrow")))
    assert caches
    unlisted = Counter({"not a file that the table lists": 3, "a file that `datasets` cached": caches})
    assert rows(tmp_path / "new") == ([("cats", "document"), ("dogs", "document")], unlisted)
    (tmp_path / "new" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001\.arrow: expected the file, which .*state\.json lists"):
        rows(tmp_path / "new")


def test_results_that_datasets_cached_beside_the_data_are_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("cats", "dogs")))
    data = datasets.load_dataset(
        "json", data_files=str(tmp_path / "a.jsonl"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    folder = Path(data.cache_files[0]["filename"]).parent
    data.map(lambda row: {"text": row["text"].upper()})
    (copy,) = folder.glob("cache-*.arrow")
    copy.rename(folder / f"{copy.stem}_00000_of_00002.arrow")  # as with several processes
    data.filter(lambda row: row["text"] == "dogs")
    left_out = Counter({"a file that `datasets` cached": 2})
    assert rows(folder) == ([("cats", "document"), ("dogs", "document")], left_out)
    (folder / "dataset_info.json").unlink()  # then the names may be the user's
    with pytest.raises(InputError, match=r"expected a column 'text' in .*cache-[0-9a-f]{16}\.arrow, found indices"):
        rows(folder)


def test_saved_splits_are_those_that_the_data_set_names(tmp_path):
    split = datasets.Dataset.from_dict({"text": ["cats"]})
    datasets.DatasetDict({"train": split, "test": split.map(lambda _: {"text": "dogs"})}).save_to_disk(tmp_path)
    _saved(tmp_path / "removed", "snow")
    assert rows(tmp_path) == (
        [("dogs", "document"), ("cats", "document")],
        Counter({"not a file that the table lists": 1}),
    )


def test_a_selection_of_rows_of_an_early_version_is_refused(tmp_path):
    _saved(tmp_path, "cats", "dogs")
    state = json.loads((tmp_path / "state.json").read_text()) | {"_indices_data_files": [{"filename": "indices.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"found rows and a selection of them, .*: save the data set again"):
        rows(tmp_path)


def _commit(table, number, *actions):
    path = table / "_delta_log" / f"{number:020}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_deleted_rows_of_a_delta_table_are_not_read(tmp_path):
    write(tmp_path / "old.parquet", "cats", "dogs")
    write(tmp_path / "kind=query" / "a b.parquet", "what is a cat")
    write(tmp_path / "new.parquet", "cats")
    write(tmp_path / "uncommitted.parquet", "snow")
    _commit(tmp_path, 0, {"metaData": {"configuration": {}}}, {"add": {"path": "old.parquet"}})
    _commit(tmp_path, 1, {"commitInfo": {}}, {"remove": {"path": "old.parquet"}}, {"add": {"path": "new.parquet"}})
    _commit(tmp_path, 2, {"add": {"path": "kind=query/a%20b.parquet"}})
    unlisted = Counter({"not a file that the table lists": 2})
    assert rows(tmp_path) == ([("what is a cat", "query"), ("cats", "document")], unlisted)


@pytest.mark.parametrize(
    ("number", "action", "found"),
    [
        (2, {"add": {"path": "a.parquet"}}, "a log without its first commits, which checkpoints replace"),
        (0, {"add": {"path": "a.parquet", "deletionVector": {"storageType": "u"}}}, r"\(deletion vectors\)"),
        (0, {"add": {"path": "s3://bucket/a.parquet"}}, r"a file outside its folder \(s3://bucket/a\.parquet\)"),
        (0, {"metaData": {"configuration": {"delta.columnMapping.mode": "name"}}}, r"\(column mapping\)"),
    ],
)
def test_a_delta_table_that_needs_more_than_its_commits_is_refused(tmp_path, number, action, found):
    write(tmp_path / "a.parquet", "cats")
    _commit(tmp_path, number, action)
    with pytest.raises(InputError, match=rf"Delta table .*found .*{found}.*: write the current rows .*deltalake$"):
        rows(tmp_path)


@pytest.mark.parametrize("content", [b"[1]\n{", b"\xff", b'{"add": {"size": 1}}', b'{"remove": {"path": 1}}'])
def test_a_damaged_commit_of_a_delta_table_is_named(tmp_path, content):
    _commit(tmp_path, 0)
    (tmp_path / "_delta_log" / f"{0:020}.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{0:020}\.json is damaged .*: copy the table again"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        (".hoodie/hoodie.properties", "hoodie.table.name=a\n", "Apache Hudi"),
        ("metadata/v1.metadata.json", '{"format-version": 2, "table-uuid": "1"}', "Apache Iceberg"),
        ("_versions/1.manifest", "", "Lance"),
    ],
)
def test_tables_of_other_formats_are_refused(tmp_path, name, content, format):
    write(tmp_path / "data" / "a.parquet", "cats")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("{}")
    if format == "Apache Iceberg":  # another file of this name is no table
        assert texts(tmp_path) == ["cats"]
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"found a table of {format}, which is not read: write the current rows"):
        rows(tmp_path)


@pytest.mark.parametrize("name", ["00001-6f1e.gz.metadata.json", "v1.metadata.json.gz"])
def test_compressed_metadata_of_iceberg_is_recognised(tmp_path, name):
    write(tmp_path / "data" / "a.parquet", "cats")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / name).write_bytes(gzip.compress(b'{"format-version": 2}'))
    with pytest.raises(InputError, match="found a table of Apache Iceberg, which is not read"):
        rows(tmp_path)


def test_a_repository_in_the_hub_s_cache_needs_one_revision(tmp_path):
    write(tmp_path / "snapshots" / "aaa" / "a.parquet", "cats")
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "main").write_text("aaa")
    assert texts(tmp_path) == ["cats"]
    write(tmp_path / "snapshots" / "bbb" / "a.parquet", "dogs")
    with pytest.raises(InputError, match="expected one revision of a data set, found several in a folder of the hub's"):
        rows(tmp_path)
    assert texts(tmp_path / "snapshots" / "bbb") == ["dogs"]
