import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.tasks.local import local_task

SENTENCES = {"sentence1": ["a", "b"], "sentence2": ["c", "d"]}


def _write(path, columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_the_layout_determines_the_type(retrieval, sts, pairs, classification, clustering):
    paths = {
        "Retrieval": retrieval,
        "STS": sts,
        "PairClassification": pairs,
        "Classification": classification,
        "Clustering": clustering,
    }
    for kind, path in paths.items():
        task = local_task(path)
        assert (task.metadata.type, task.metadata.name) == (kind, path.stem)
        assert not task.data_loaded


def test_labels_may_be_texts_or_numbers(tmp_path):
    texts = ["a", "b", "c"]
    for name, labels in (("texts", ["x", "y", "x"]), ("numbers", [7, -1, 7])):
        task = local_task(_write(tmp_path / f"{name}.parquet", {"text": texts, "label": labels}))
        task.load_data()
        first, second, third = task.dataset["test"]["label"]
        assert first == third != second
        assert min(first, second) == 0


def test_a_class_has_the_same_number_in_both_files(tmp_path):
    folder = tmp_path / "classes"
    _write(folder / "train.parquet", {"text": ["a", "b", "e"], "label": ["y", "z", "x"]})
    _write(folder / "test.parquet", {"text": ["c", "d"], "label": ["z", "y"]})
    task = local_task(folder)
    task.load_data()
    assert list(task.dataset["train"]["label"]) == [1, 2, 0]
    assert list(task.dataset["test"]["label"]) == [2, 1]


def test_the_revision_is_the_hash_of_the_files(tmp_path):
    path = _write(tmp_path / "set.parquet", {**SENTENCES, "score": [1.0, 2.0]})
    before = local_task(path).metadata
    assert local_task(path).metadata == before
    _write(path, {**SENTENCES, "score": [1.0, 3.0]})
    assert local_task(path).metadata.revision != before.revision


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**SENTENCES, "score": [1.0, None]}, r"score of row 2 is None, expected a number"),
        ({**SENTENCES, "score": [1.0, float("nan")]}, r"score of row 2 is nan, expected a number"),
        ({**SENTENCES, "score": [1.0, 1.0]}, r"expected at least two different values of score, found \[1\.0\]"),
        (
            {**SENTENCES, "sentence1": ["a", None], "score": [1, 2]},
            r"sentence1 of row 2 is None, expected a string: correct the row",
        ),
        ({**SENTENCES, "label": [1, 2]}, r"label of row 2 is 2, expected 0 or 1"),
        ({**SENTENCES, "label": [0, 0]}, r"expected at least two different values of label, found \[0\]"),
        (
            {"text": ["a", "b"], "label": [0.5, 1.0]},
            r"label of row 1 is 0\.5, expected a string or an integer: correct the row",
        ),
        ({"text": ["a", "b"], "label": ["x", "x"]}, r"expected at least two different values of label"),
        (
            {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())},
            r"expected rows with text and label, found no row",
        ),
    ],
)
def test_bad_data_are_reported(columns, message, tmp_path):
    path = _write(tmp_path / "set.parquet", columns)
    with pytest.raises(InputError, match=rf"set\.parquet: .*{message}"):
        local_task(path).load_data()


def test_an_unknown_layout_is_reported(tmp_path):
    known = "expected a folder with BEIR's files or with train.parquet and test.parquet"
    path = _write(tmp_path / "set.parquet", {"a": [1], "b": [2]})
    with pytest.raises(
        InputError, match=rf"set\.parquet: {known}.*; found a, b: convert the set to one of these layouts$"
    ):
        local_task(path)
    inside = rf"name the folder {tmp_path}/beir$"
    for name, remedy in {"set.zip": "unpack the file", "beir/qrels/test.tsv": inside}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        with pytest.raises(InputError, match=rf"{known}.*: {remedy}"):
            local_task(tmp_path / name)
    (tmp_path / "set.csv").write_text("text,label\n")
    for other in (tmp_path, tmp_path / "set.csv"):
        with pytest.raises(InputError, match=known):
            local_task(other)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1\0")
    with pytest.raises(InputError, match=r"broken\.parquet cannot be read as parquet"):
        local_task(tmp_path / "broken.parquet")


def test_a_file_of_another_content_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(InputError, match=r"pipe\.parquet cannot be read \(not a file\): name a file"):
        local_task(tmp_path / "pipe.parquet")
    folder = tmp_path / "classes"
    _write(folder / "train.parquet", {"text": ["a", "b"], "label": ["y", "z"]})
    (folder / "test.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(InputError, match=r"test\.parquet: expected a parquet file, found a git-LFS pointer"):
        local_task(folder).load_data()


def test_the_beginning_of_a_long_text_is_read(tmp_path, caplog):
    texts = ["a" * 1_000_001, "b", "c"]
    path = _write(tmp_path / "pairs.parquet", {"sentence1": texts, "sentence2": texts, "score": [0.1, 0.2, 0.3]})
    task = local_task(path)
    task.load_data()
    assert [len(text) for text in task.dataset["test"]["sentence1"]] == [1_000_000, 1, 1]
    assert "pairs.parquet: 2 texts have 1,000,000 characters or more: the first 1,000,000 are read" in caplog.text


def test_labels_of_different_types_are_reported(tmp_path):
    folder = tmp_path / "classes"
    _write(folder / "train.parquet", {"text": ["a", "b"], "label": [0, 1]})
    _write(folder / "test.parquet", {"text": ["c", "d"], "label": ["0", "1"]})
    with pytest.raises(InputError, match=r"test\.parquet: expected labels of the type int, as in .*, found str: write"):
        local_task(folder).load_data()


def test_a_test_class_without_training_texts_is_reported(tmp_path):
    folder = tmp_path / "classes"
    _write(folder / "train.parquet", {"text": ["a", "b"], "label": ["y", "z"]})
    _write(folder / "test.parquet", {"text": ["c", "d"], "label": ["z", "x"]})
    with pytest.raises(
        InputError, match=r"test\.parquet: label of row 2 is 'x', expected one of the labels in train\.par"
    ):
        local_task(folder).load_data()


def test_a_column_that_is_missing_in_one_file_is_reported(tmp_path):
    folder = tmp_path / "classes"
    _write(folder / "train.parquet", {"text": ["a", "b"], "label": ["y", "z"]})
    _write(folder / "test.parquet", {"text": ["c", "d"], "class": ["z", "x"]})
    with pytest.raises(InputError, match=r"test\.parquet: expected a column label, found text, class"):
        local_task(folder).load_data()


def test_decimals_and_texts_of_numbers_are_scores_and_labels(tmp_path):
    score = local_task(_write(tmp_path / "score.parquet", {**SENTENCES, "score": ["1.0", "2.5"]}))
    pair = local_task(_write(tmp_path / "pair.parquet", {**SENTENCES, "label": ["1.0", "0"]}))
    classes = tmp_path / "classes"
    _write(classes / "train.parquet", {"text": ["a", "b"], "label": [3.0, 1.0]})
    _write(classes / "test.parquet", {"text": ["c", "d"], "label": [1, 3]})
    labels = [task.read()["test"] for task in (score, pair, local_task(classes))]
    assert list(labels[0]["score"]) == [1.0, 2.5]
    assert [list(part["label"]) for part in labels[1:]] == [[1, 0], [0, 1]]


def test_a_folder_of_sets_is_named_with_one_of_its_sets(tmp_path):
    for name in ("android", "english"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "corpus.jsonl").write_text("")
    with pytest.raises(InputError, match=rf": name the sets in this folder, such as {tmp_path / 'android'}$"):
        local_task(tmp_path)
