"""Which sets `leaf-st export` searches, and what the command says of the limit on nDCG@10."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from leaf_st.evaluation.measurements.export import ExportRow, format_export
from leaf_st.evaluation.measurements.export_sets import sets_to_search
from leaf_st.evaluation.measurements.judged_by_teacher import judged_by_teacher
from leaf_st.evaluation.ranking import exact_ndcg
from leaf_st.models.load import load_model
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.store import EmbeddingStore


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run whose recipe names no set that exists."""
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    for path in (folder / "recipe.json", folder / "model" / "recipe.json"):
        write_sealed(path, json.loads(json.dumps(read_sealed(path)).replace('/letters"', '/gone"')))
    return folder


@pytest.fixture
def judged(trained):
    return judged_by_teacher(trained.folder, 1000)


def _encode(encoder, beir):
    queries, documents = ([row["text"] for row in rows] for rows in (beir.queries, beir.corpus))
    return (np.asarray(vectors) for vectors in (encoder.encode_query(queries), encoder.encode_document(documents)))


def test_the_teacher_finds_all_documents_that_it_judges_relevant_and_the_student_fewer(trained, judged):
    teacher, student = open_teacher(trained.recipe.teacher), load_model(str(trained.folder / "model"))
    assert {len(documents) for documents in judged.qrels.values()} == {10}
    assert exact_ndcg(judged, *_encode(teacher, judged), student) == pytest.approx(100)
    assert exact_ndcg(judged, *_encode(student, judged), student) < 99


def test_the_teacher_judges_for_held_out_queries(trained, judged):
    store = EmbeddingStore(trained.folder / "store")
    held_out = {row.text for row in store.texts(store.held_out(len(store) // 10).tolist()) if row.kind == "query"}
    assert {row["text"] for row in judged.queries} == held_out
    few = judged_by_teacher(trained.folder, 12)
    assert len(few.corpus) == 12
    assert len(few.queries) <= 12


def test_a_run_without_a_set_searches_its_held_out_texts(run, caplog):
    caplog.set_level(logging.INFO)
    (found,) = sets_to_search(str(run), [])
    assert found.name == "held-out texts judged by the teacher"
    assert f"{len(found.queries)} held-out queries, {len(found.corpus)} documents of the store" in caplog.text


def test_the_search_set_of_the_demo_comes_before_held_out_texts(run, search_set, caplog):
    caplog.set_level(logging.INFO)
    shutil.copytree(search_set, run / "held_out")
    (found,) = sets_to_search(str(run / "model"), [])
    assert (found.name, len(found.corpus)) == ("held_out", 20)
    assert "a sample of 20 documents of held_out" in caplog.text


def test_named_sets_come_first(trained, beir):
    assert [found.name for found in sets_to_search(str(trained.folder), [])] == ["letters"]
    assert [found.name for found in sets_to_search(str(trained.folder), [beir])] == ["tiny"]


def test_a_model_without_a_run_says_that_ndcg_is_not_measured(run, tmp_path, caplog):
    model = shutil.copytree(run / "model", tmp_path / "model")
    assert sets_to_search(str(model), []) == []
    assert "nDCG@10 is not measured: expected BEIR folders or a run with a store" in caplog.text


def test_the_table_names_the_limits_that_were_checked():
    row = ExportRow("torch float32", "model.safetensors", 1.0, None, None, None, {}, "CPU", 1)
    row = replace(row, rates={f"{kind} {size}": 1.0 for kind in ("query", "document") for size in (1, 16)})
    assert format_export([row]).endswith(
        "limits: float32, error 1e-05; quantized, cosine 0.99; nDCG@10 was not checked, because no set was searched"
    )
    sampled = replace(row, sets=["a", "b"], sampled=True)
    assert format_export([sampled]).endswith("quantized, cosine 0.99 and 97% of nDCG@10 on a sample of a, b")
    assert format_export([replace(sampled, sampled=False)]).endswith("and 99% of nDCG@10 on a, b")
