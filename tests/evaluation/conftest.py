"""Small sets of each type, of random letters."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from letters import open_model, words
from sentence_transformers import SentenceTransformer


@pytest.fixture(scope="session")
def retrieval(tmp_path_factory):
    """40 documents and 6 queries, with random grades from 0 to 2."""
    folder, draw = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)
    # Every third document has no title, and two documents are equal.
    corpus = [{"_id": f"d{i}", "title": words(draw, 1) if i % 3 else "", "text": words(draw, 5)} for i in range(40)]
    corpus[1] = {**corpus[2], "_id": "d1"}
    queries = [{"_id": f"q{i}", "text": words(draw, 2)} for i in range(6)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [(f"q{i}", f"d{j}", draw.integers(3)) for i in range(6) for j in draw.choice(40, 12, replace=False)]
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judged)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def _pairs(value, values, seed):
    draw = np.random.default_rng(seed)
    sentences = {name: [words(draw, 3) for _ in values] for name in ("sentence1", "sentence2")}
    return pa.table({**sentences, value: values})


@pytest.fixture(scope="session")
def sts(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "similar.parquet"
    pq.write_table(_pairs("score", np.random.default_rng(1).uniform(0, 5, 30).tolist(), 1), path)
    return path


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "paired.parquet"
    pq.write_table(_pairs("label", np.random.default_rng(2).integers(2, size=30).tolist(), 2), path)
    return path


def _labelled(count, seed):
    """Texts of three classes, each with its own words."""
    draw, letters = np.random.default_rng(seed), ("abc", "def", "ghi")
    labels = draw.integers(3, size=count)
    texts = [" ".join("".join(draw.choice(list(letters[label]), 3)) for _ in range(2)) for label in labels]
    return pa.table({"text": texts, "label": [letters[label] for label in labels]})


@pytest.fixture(scope="session")
def classification(tmp_path_factory):
    """A training set of at most eight texts per class, so that mteb uses all of them."""
    folder = tmp_path_factory.mktemp("classes")
    pq.write_table(_labelled(12, 3), folder / "train.parquet")
    pq.write_table(_labelled(40, 4), folder / "test.parquet")
    return folder


@pytest.fixture(scope="session")
def clustering(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "clusters.parquet"
    pq.write_table(_labelled(60, 5), path)
    return path


class CountingModel(SentenceTransformer):
    """A model that counts the texts that it encodes, by side."""

    def encode(self, inputs, **kwargs):
        self.seen[kwargs.get("task")].update(inputs)
        return super().encode(inputs, **kwargs)


@pytest.fixture
def counting():
    """Return a counting model with the modules of another model."""

    def count(model):
        made = CountingModel(modules=list(model), device="cpu")
        made.seen = {"query": Counter(), "document": Counter(), None: Counter()}
        return made

    return count


@pytest.fixture
def counting_teacher(counting):
    """Return a counting teacher with the modules of a model."""

    def count(model):
        made = counting(model)
        teacher = open_model(made)
        for seen in made.seen.values():
            seen.clear()  # the teacher's probe
        teacher.seen = made.seen
        return teacher

    return count
