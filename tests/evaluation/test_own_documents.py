"""Queries that are documents too: no ranking of a judged set contains the query itself."""

import numpy as np
import pytest
from letters import load_models, ndcg_at_10, normalized, save_own_set, vectors

from leaf_st.evaluation.beir import load_beir, revision_of
from leaf_st.evaluation.measurements import collection
from leaf_st.evaluation.measurements.baseline import recall
from leaf_st.evaluation.measurements.compression import measure_compression
from leaf_st.evaluation.measurements.index import measure_index
from leaf_st.evaluation.measurements.samples import measure_samples
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.identity import hash_files


@pytest.fixture(scope="module", params=[30, 4])
def folder(request, tmp_path_factory):
    """A set of more than ten documents, and one of fewer."""
    return save_own_set(tmp_path_factory.mktemp("own"), others=request.param)


@pytest.fixture(scope="module")
def models(tiny_teacher_folder):
    return load_models(tiny_teacher_folder)


@pytest.fixture(scope="module")
def expected(folder, models):
    """The similarities by mode, computed from the definition; the queries themselves are the last documents."""
    beir = load_beir(folder)
    sides = {role: list(map(normalized, vectors(model, beir))) for role, model in models.items()}
    found = {}
    for mode, roles in ROLES.items():
        scores = sides[roles["query"]][0] @ sides[roles["document"]][1].T
        for place in range(3):
            scores[place, len(beir.corpus) - 3 + place] = -np.inf
        found[mode] = scores
    return found


def test_every_score_leaves_the_query_out(folder, models, expected):
    beir = load_beir(folder)
    assert beir.own_places.tolist() == [len(beir.corpus) - 3 + place for place in range(3)] + [-1]
    right = {mode: ndcg_at_10(beir, scores) for mode, scores in expected.items()}
    by_mteb = evaluate_tasks(find_tasks([str(folder)]), **models, modes=tuple(ROLES))
    assert {row.mode: row.score for row in by_mteb} == pytest.approx(right, abs=1e-3)
    rows = measure_compression(folder, **models, dimensions=[32], precisions=["float32"])
    assert {row.mode: row.score for row in rows} == pytest.approx(right, abs=1e-6)
    for row in measure_index(folder, **models, precisions=["float32"], expansions=[400]):
        assert (row.score, row.recall) == (pytest.approx(right[row.mode], abs=1e-6), 100)


def test_samples_and_recall_leave_the_query_out(folder, models, expected):
    beir = load_beir(folder)
    for row in measure_samples(folder, **models, queries=4):
        assert row.document != row.query or row.query == "d0"
    sides = [tuple(part.astype(np.float32) for part in vectors(models[role], beir)) for role in ("student", "teacher")]
    found = recall(*sides, models["teacher"], beir.own_places)
    ours, theirs = (
        [set(np.argsort(-row)[: min(10, np.isfinite(row).sum())]) for row in expected[mode]]
        for mode in ("standard", "teacher")
    )
    shared = sum(len(a & b) for a, b in zip(ours, theirs, strict=True))
    assert found == pytest.approx(100 * shared / sum(map(len, theirs)))


def test_a_judged_collection_leaves_the_query_out(folder, models, tmp_path):
    found = collection.embed_collection(collection.survey(folder), models["teacher"], tmp_path / "store")
    queries = [row.text for row in found.store.texts(found.queries.tolist())]
    own = {row["text"]: f"{row['title']} {row['text']}" for row in load_beir(folder).corpus[-3:]}
    documents = [row.text for row in found.store.texts(found.documents.tolist())]
    assert [place >= 0 and documents[place] for place in found.own] == [own.get(text, False) for text in queries]


def test_the_revision_differs_from_that_of_rankings_with_the_query(folder, retrieval):
    names = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
    assert revision_of(folder) == hash_files([folder / name for name in names]) + "-own"
    assert revision_of(retrieval) == hash_files([retrieval / name for name in names])
