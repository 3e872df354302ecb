from collections import Counter

import numpy as np
import pytest
from letters import load_models, save_set, vectors

from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.measurements.samples import Sampled, by_query, format_samples, measure_samples
from leaf_st.evaluation.rows import read_rows, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_set(tmp_path_factory.mktemp("sampled"), documents=30, queries=8)


@pytest.fixture(scope="module")
def models(tiny_teacher_folder):
    return load_models(tiny_teacher_folder)


@pytest.fixture(scope="module")
def rows(folder, models):
    return measure_samples(folder, **models)


def test_each_mode_lists_its_nearest_documents(rows, folder, models):
    beir = load_beir(folder)
    sides = {role: vectors(model, beir) for role, model in models.items()}
    places = {row["id"]: place for place, row in enumerate(beir.queries)}
    roles = {
        "teacher": ("teacher", "teacher"),
        "standard": ("student", "student"),
        "asymmetric": ("student", "teacher"),
    }
    assert Counter(row.mode for row in rows) == dict.fromkeys(roles, 50)
    for (name, query), modes in by_query(rows).items():
        assert name == folder.name
        for mode, found in modes.items():
            ours, theirs = roles[mode]
            scores = sides[theirs][1] @ sides[ours][0][places[query]]
            assert [row.score for row in found] == pytest.approx(sorted(scores, reverse=True)[:10], abs=1e-5)
            assert [row.rank for row in found] == list(range(1, 11))
            assert {row.document for row in found} == {beir.corpus[row]["id"] for row in np.argsort(-scores)[:10]}


def test_rows_hold_query_text_and_grade(rows, folder):
    beir = load_beir(folder)
    asked = {row["id"]: row["text"] for row in beir.queries}
    texts = {row["id"]: f"{row['title']} {row['text']}".strip() for row in beir.corpus}
    for row in rows:
        assert (row.asked, row.text) == (asked[row.query], texts[row.document])
        assert row.grade == beir.qrels[row.query].get(row.document, 0)
    assert {row.grade for row in rows} == {0, 1, 2}
    assert {row.teacher for row in rows} == {row.model for row in rows if row.mode == "teacher"}


def test_the_queries_are_drawn_with_a_fixed_seed(rows, folder, models):
    drawn = list(dict.fromkeys(row.query for row in rows))
    assert len(drawn) == 5
    assert drawn != [row["id"] for row in load_beir(folder).queries[:5]]
    again = measure_samples(folder, **models, queries=2)
    assert list(dict.fromkeys(row.query for row in again)) == drawn[:2]


def test_few_documents_are_all_found_and_long_texts_are_cut(tmp_path, models):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "%s"}\n{"_id": "b", "text": "e"}\n' % ("abc " * 60))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "abc"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    rows = measure_samples(tmp_path, **models)
    assert len(rows) == 6
    (text,) = {row.text for row in rows if row.document == "a"}
    assert text == ("abc " * 60)[:119].rstrip() + "…"


def test_rows_are_equal_after_reading_and_shown_side_by_side(rows, tmp_path):
    write_rows(tmp_path / "samples.json", rows)
    assert read_rows(tmp_path / "samples.json", Sampled) == rows
    first, *lines = format_samples(rows).splitlines()
    assert first == rows[0].asked
    assert lines[0].startswith("teacher ")
    assert "standard: " in lines[0]
    assert lines[1].startswith(f" 1 {rows[0].score:.3f} {rows[0].text[:20]}")
