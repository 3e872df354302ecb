"""The texts of tasks, for each type of local set and for mteb's own layouts."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.aggregate_task_metadata import AggregateTaskMetadata
from mteb.abstasks.aggregated_task import AbsTaskAggregate

from leaf_st.errors import InputError
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.local import LocalRetrieval
from leaf_st.evaluation.tasks.texts import texts_of


def _texts(path):
    return set(texts_of(find_tasks([str(path)])[0]))


def _rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_queries_and_documents_with_and_without_their_titles(retrieval):
    corpus, queries = _rows(retrieval / "corpus.jsonl"), _rows(retrieval / "queries.jsonl")
    expected = {row["text"] for row in (*corpus, *queries)}
    expected |= {f"{row['title']} {row['text']}" for row in corpus if row["title"]}
    assert _texts(retrieval) == expected


def test_both_texts_of_a_pair(sts, pairs):
    for path in (sts, pairs):
        columns = pq.read_table(path).to_pydict()
        assert _texts(path) == {*columns["sentence1"], *columns["sentence2"]}


def test_texts_with_a_class_but_not_the_names_of_the_classes(classification, clustering):
    train, test = (
        set(pq.read_table(classification / f"{name}.parquet")["text"].to_pylist()) for name in ("train", "test")
    )
    assert _texts(classification) == train | test
    assert _texts(clustering) == set(pq.read_table(clustering)["text"].to_pylist())


def test_an_aggregated_task_has_the_texts_of_its_parts(retrieval):
    class Whole(AbsTaskAggregate):
        metadata = AggregateTaskMetadata(
            name="Whole",
            description="One part.",
            tasks=[LocalRetrieval(retrieval)],
            main_score="ndcg_at_10",
            type="Retrieval",
            eval_splits=["test"],
        )

    assert set(texts_of(Whole())) == _texts(retrieval)


def test_lists_subsets_and_splits_as_in_mteb(sts, monkeypatch):
    task = find_tasks([str(sts)])[0]
    rows = {"id": ["a"], "label_text": ["joy"], "lang": ["de"], "sentences": [["one", "two"]], "text": ["three"]}
    splits = DatasetDict({"test": Dataset.from_dict(rows), "train": Dataset.from_dict({"text": ["of no measurement"]})})
    monkeypatch.setattr(type(task), "read", lambda self: {"de": splits, "en": splits})
    assert list(texts_of(task)) == ["one", "two", "three"] * 2


def test_data_missing_on_the_hub_are_one_error():
    with pytest.raises(InputError, match=r"task STSBenchmark: its data, mteb/stsbenchmark-sts on the hub, cannot be"):
        list(texts_of(find_tasks(["STSBenchmark"])[0]))
