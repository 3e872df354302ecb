import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir

CORPUS = [{"_id": "d1", "title": "A title", "text": "a text"}, {"_id": "d2", "title": "", "text": "another"}]
QUERIES = [{"_id": "q1", "text": "judged"}, {"_id": "q2", "text": "not judged"}]
QRELS = [{"query-id": "q1", "corpus-id": "d1", "score": 2}, {"query-id": "q1", "corpus-id": "d2", "score": 0}]


def _write(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
    """Write the files of a BEIR set; a part that is None is left out."""
    for name, rows in (("corpus", corpus), ("queries", queries)):
        if rows is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if qrels is not None:
        lines = ["\t".join(qrels[0]), *("\t".join(map(str, row.values())) for row in qrels)]
        (folder / "qrels").mkdir()
        (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_jsonl_and_parquet_hold_the_same_set(tmp_path):
    folders = [tmp_path / form / "tiny" for form in ("jsonl", "parquet")]
    for folder in folders:
        folder.mkdir(parents=True)
    _write(folders[0])
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES), ("qrels", QRELS)):
        pq.write_table(pa.Table.from_pylist(rows), folders[1] / f"{name}.parquet")
    beir, same = map(load_beir, folders)
    assert beir == same
    assert beir.name == "tiny"
    assert beir.corpus[0] == {"id": "d1", "title": "A title", "text": "a text"}
    assert beir.queries == [{"id": "q1", "text": "judged"}]
    assert beir.qrels == {"q1": {"d1": 2, "d2": 0}}


def _write_like_nanobeir(folder, parts=("train-00000-of-00001",)):
    pairs = [{"query-id": "q1", "corpus-id": "d1"}]
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES), ("qrels", pairs)):
        (folder / name).mkdir(parents=True)
        for part in parts:
            pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{part}.parquet")
    return folder


def test_a_data_set_of_the_hub_has_a_folder_for_each_part(tmp_path):
    beir = load_beir(_write_like_nanobeir(tmp_path / "NanoNFCorpus"))
    assert beir.name == "NanoNFCorpus"
    assert [row["id"] for row in beir.corpus] == ["d1", "d2"]
    assert beir.qrels == {"q1": {"d1": 1}}


def test_several_files_for_a_part_are_reported(tmp_path):
    with pytest.raises(InputError, match=r"expected one file corpus/\*\.parquet, found 2: merge them"):
        load_beir(_write_like_nanobeir(tmp_path / "large", ("a", "b")))


def test_title_may_be_absent_and_ids_numbers(tmp_path):
    corpus = [{"_id": 7, "text": "no title", "metadata": {}}]
    qrels = [{"query-id": "q1", "corpus-id": "7", "score": 1}]
    assert load_beir(_write(tmp_path, corpus, qrels=qrels)).corpus == [{"id": "7", "title": "", "text": "no title"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": None}, r"expected corpus\.parquet or corpus\.jsonl or corpus/\*\.parquet, found none"),
        ({"qrels": None}, r"expected qrels\.parquet or qrels/test\.tsv or qrels\.tsv or qrels/\*\.parquet"),
        ({"queries": [{"_id": "q1", "query": "?"}]}, r"queries\.jsonl: row 1 has no 'text'"),
        ({"queries": [{"_id": "q9", "text": "?"}]}, r"test\.tsv: query-id 'q1' is not in queries\.jsonl"),
        ({"corpus": CORPUS[:1]}, r"test\.tsv: corpus-id 'd2' is not in corpus\.jsonl"),
        ({"corpus": [*CORPUS, CORPUS[0]]}, r"corpus\.jsonl: _id 'd1' is not unique"),
        ({"corpus": [{"_id": "d1", "text": None}]}, r"corpus\.jsonl: text of _id 'd1' is None"),
        ({"corpus": [{"_id": "d1", "title": 3, "text": "a"}]}, r"corpus\.jsonl: title of _id 'd1' is 3"),
        ({"corpus": [{"_id": "d1", "text": "\ud800"}]}, r"text of _id 'd1' contains a lone surrogate"),
        ({"queries": [None]}, r"queries\.jsonl: row 1 is None, expected an object"),
        ({"qrels": [{"query-id": "q1", "corpus-id": "d1"}]}, r"test\.tsv: row 1 has no 'score'"),
        ({"qrels": QRELS[1:]}, r"test\.tsv: no score is above 0"),
        ({"qrels": [{**QRELS[0], "score": "high"}]}, r"test\.tsv: score of query 'q1' is 'high'"),
        ({"qrels": [{**QRELS[0], "score": 0.5}]}, r"test\.tsv: score of query 'q1' is '0\.5', expected an integer"),
    ],
)
def test_bad_sets_are_reported(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_beir(_write(tmp_path, **change))


@pytest.mark.parametrize("score", [0.5, float("inf"), float("nan")])
def test_scores_in_parquet_are_integers(tmp_path, score):
    _write(tmp_path)
    (tmp_path / "qrels" / "test.tsv").unlink()
    pq.write_table(pa.Table.from_pylist([{**QRELS[0], "score": score}]), tmp_path / "qrels.parquet")
    with pytest.raises(InputError, match=rf"qrels\.parquet: score of query 'q1' is {score}, expected an integer"):
        load_beir(tmp_path)


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.parquet"])
def test_a_damaged_file_is_reported(tmp_path, name):
    _write(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        load_beir(tmp_path)
