"""Search in an index, against exact search by NumPy."""

import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from letters import TOLERANCES, load_models, ndcg_at_10, open_model, save_set, similarities, vectors
from sentence_transformers import SentenceTransformer
from usearch.index import Index

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.measurements.compression import measure_compression
from leaf_st.evaluation.measurements.index import INDEX, INDEX_MODES, draw_index, measure_index
from leaf_st.evaluation.modes import CODINGS

EXPANSIONS = (10, 20, 400)
DOCUMENTS = 300


@pytest.fixture(scope="module")
def models(tiny_teacher_folder):
    return load_models(tiny_teacher_folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_set(tmp_path_factory.mktemp("indexed"), documents=DOCUMENTS, queries=12)


@pytest.fixture(scope="module")
def rows(folder, models):
    return measure_index(folder, **models, expansions=EXPANSIONS, connectivity=4)


@pytest.fixture(scope="module")
def sides(folder, models):
    """The vectors of the queries by mode, and the vectors of the documents."""
    beir = load_beir(folder)
    queries, documents = vectors(models["teacher"], beir)
    return {"teacher": queries, "asymmetric": vectors(models["student"], beir)[0]}, documents


def _of(rows, **values):
    return [row for row in rows if all(getattr(row, name) == value for name, value in values.items())]


def test_there_is_a_row_for_each_search(rows):
    places = [(row.precision, row.mode, row.expansion) for row in rows]
    assert places == [(p, mode, e) for p in CODINGS for mode in INDEX_MODES for e in (None, *EXPANSIONS)]
    assert {(row.connectivity, row.expansion_add, row.documents, row.queries) for row in rows} == {(4, 128, 300, 12)}
    assert {row.model for row in _of(rows, mode="teacher")} == {rows[0].teacher}
    json.dumps([asdict(row) for row in rows])


def test_exact_search_equals_numpy_and_compression(folder, rows, sides, models):
    beir = load_beir(folder)
    compressed = measure_compression(folder, **models, modes=INDEX_MODES, dimensions=[32])
    for row in _of(rows, expansion=None):
        expected = ndcg_at_10(beir, similarities(sides[0][row.mode], sides[1], row.precision))
        (other,) = _of(compressed, mode=row.mode, precision=row.precision)
        assert row.score == pytest.approx(expected, abs=TOLERANCES[row.precision])
        assert row.score == pytest.approx(other.score, abs=1e-6)
        assert (row.recall, row.comparisons) == (100, DOCUMENTS)


def test_recall_and_ndcg_equal_those_of_a_second_index(folder, rows, sides):
    """A second index, built here, against NumPy's order of all documents."""
    beir, (queries, documents) = load_beir(folder), sides
    index = Index(ndim=32, metric="cos", dtype="f32", connectivity=4, expansion_add=128)
    index.add(np.arange(DOCUMENTS), documents.astype(np.float32), threads=1)
    for row in _of(rows, precision="float32"):
        if row.expansion is None:
            continue
        index.expansion_search = row.expansion
        scores = similarities(queries[row.mode], documents, "float32")
        nearest = np.argsort(-scores, axis=1)[:, :10]
        found = index.search(queries[row.mode].astype(np.float32), 10, threads=1).keys
        shared = [len(set(ours.tolist()) & set(best.tolist())) for ours, best in zip(found, nearest, strict=True)]
        assert row.recall == pytest.approx(10 * np.mean(shared))
        seen = np.full_like(scores, -2)
        np.put_along_axis(seen, found.astype(int), np.take_along_axis(scores, found.astype(int), axis=1), axis=1)
        assert row.score == pytest.approx(ndcg_at_10(beir, seen), abs=1e-6)


def test_a_wider_search_compares_more_and_finally_finds_all(rows):
    for precision in CODINGS:
        for mode in INDEX_MODES:
            exact, *walked = _of(rows, precision=precision, mode=mode)
            recalls, comparisons = ([getattr(row, name) for row in walked] for name in ("recall", "comparisons"))
            assert recalls[0] < 100
            assert recalls == sorted(recalls)
            assert comparisons == sorted(comparisons)
            assert comparisons[0] < DOCUMENTS / 2
            assert recalls[-1] == 100
            if precision != "binary":  # many documents are as near as the tenth, and each is right
                assert walked[-1].score == pytest.approx(exact.score)


def test_the_same_vectors_give_the_same_numbers(folder, models, rows):
    again = measure_index(folder, **models, expansions=EXPANSIONS, connectivity=4)
    assert again == rows


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_the_index_compares_as_the_teacher_does(folder, tiny_unnormalized_folder, similarity):
    teacher = SentenceTransformer(str(tiny_unnormalized_folder), similarity_fn_name=similarity, device="cpu")
    beir = load_beir(folder)
    queries, documents = vectors(teacher, beir)
    if similarity == "dot":
        scores = queries @ documents.T
    else:
        scores = -np.linalg.norm(queries[:, None] - documents[None], axis=2)
    for precision in ("float32", "int8"):
        exact, walked = _of(
            measure_index(
                folder, teacher=open_model(teacher), student=teacher, precisions=[precision], expansions=[300]
            ),
            mode="teacher",
        )
        assert walked.recall > 99
        assert walked.score == pytest.approx(exact.score, abs=0.5)
        if precision == "float32":
            assert exact.score == pytest.approx(ndcg_at_10(beir, scores), abs=1e-6)


def test_one_query_and_fewer_than_ten_documents(tmp_path, models):
    found = measure_index(save_set(tmp_path, documents=4, queries=1), **models, expansions=[10])
    assert {row.recall for row in found} == {100}


def test_documents_that_are_equally_near_are_equally_right(tmp_path, models):
    folder = save_set(tmp_path, documents=40, queries=2)
    lines = (json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines())
    same = [json.dumps({**row, "title": "", "text": "one text"}) for row in lines]
    (folder / "corpus.jsonl").write_text("\n".join(same))
    assert {row.recall for row in measure_index(folder, **models, expansions=[10])} == {100}


def test_without_usearch_the_error_names_the_package(folder, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *_, **__: pytest.fail("texts were encoded"))
    with pytest.raises(InputError, match=r"needs usearch: pip install 'leaf-st\[index\]'"):
        measure_index(folder, **models)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precisions": ["float16"]}, "precision 'float16' is unknown"),
        ({"expansions": [10, 0]}, "expansion 0: expected at least 1"),
        ({"connectivity": 1}, "connectivity 1: expected at least 2"),
    ],
)
def test_bad_values_are_refused_before_encoding(folder, models, monkeypatch, changed, message):
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *_, **__: pytest.fail("texts were encoded"))
    with pytest.raises(InputError, match=message):
        measure_index(folder, **{**models, **changed})


def test_an_unsupported_similarity_is_refused(folder, models, tiny_teacher):
    tiny_teacher.similarity_fn_name = "manhattan"
    with pytest.raises(InputError, match="compares by manhattan: expected one of cosine, dot, euclidean"):
        measure_index(folder, teacher=open_model(tiny_teacher), student=models["student"])


def test_a_student_of_another_width_is_refused(folder, models, narrow_student):
    with pytest.raises(InputError, match="teacher's vectors have 32 dimensions, the student's have 16"):
        measure_index(folder, teacher=models["teacher"], student=narrow_student)


def test_the_table_has_means_over_sets(rows):
    other = [replace(row, set="other", recall=row.recall / 2, score=0.0) for row in rows]
    header, *lines = INDEX.table([*rows, *other]).splitlines()
    assert header.split("  ")[0] == "precision"
    assert [name.strip() for name in header.split("  ") if name.strip()][2:] == [
        f"{what}, {whose}" for what in ("recall@10", "nDCG@10", "comparisons") for whose in ("teacher's", "student's")
    ]
    first = [_of(rows, precision="float32", expansion=10, mode=mode)[0] for mode in INDEX_MODES]
    numbers = [f"{0.75 * row.recall:.1f}" for row in first] + [f"{row.score / 2:.2f}" for row in first]
    assert lines[1].split() == ["float32", "10", *numbers, *(f"{row.comparisons:.0f}" for row in first)]
    assert lines[0].split()[:4] == ["float32", "exact", "75.0", "75.0"]
    assert len(lines) == len(CODINGS) * (1 + len(EXPANSIONS))
    with pytest.raises(InputError, match="was measured twice"):
        INDEX.table([*rows, *rows])


@pytest.mark.parametrize(
    ("value", "label"),
    [("recall", "recall@10 (%), mean of the sets"), ("score", "nDCG@10 (%), mean of the sets")],
)
def test_the_figure_shows_the_expansion(rows, value, label):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    draw_index(axes, rows, value)
    assert axes.get_xlabel() == "expansion: candidates that a search keeps (log scale)"
    assert axes.get_ylabel() == label
    curves = [line for line in axes.lines if len(line.get_xdata())]
    assert len(curves) == len(CODINGS) * len(INDEX_MODES)
    assert list(curves[0].get_xdata()) == list(EXPANSIONS)
    assert list(curves[0].get_ydata()) == [
        getattr(row, value) for row in _of(rows, mode="teacher", precision="float32") if row.expansion
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [*INDEX_MODES, *CODINGS]
    figure.canvas.draw()
