"""nDCG@10 in fewer bytes, against NumPy and the definitions."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from letters import TOLERANCES, load_models, ndcg_at_10, normalized, save_set, similarities, vectors
from sentence_transformers import SentenceTransformer
from sentence_transformers.util.quantization import quantize_embeddings

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.measurements.compression import (
    COMPRESSION,
    draw_compression,
    halves,
    measure_compression,
)
from leaf_st.evaluation.modes import CODINGS, ROLES
from leaf_st.evaluation.ranking import code, compare, cut
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks

DIMENSIONS = (32, 12, 8)  # 12 bits do not fill two bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_set(tmp_path_factory.mktemp("tiny"), documents=40, queries=6)


@pytest.fixture(scope="module")
def models(tiny_teacher_folder):
    return load_models(tiny_teacher_folder)


@pytest.fixture(scope="module")
def rows(folder, models):
    return measure_compression(folder, **models, dimensions=DIMENSIONS)


def test_scores_equal_the_definition(folder, rows, models):
    beir = load_beir(folder)
    sides = {role: vectors(model, beir) for role, model in models.items()}
    places = [(row.mode, row.dimension, row.precision) for row in rows]
    assert places == [
        (mode, dimension, precision) for mode in ROLES for dimension in DIMENSIONS for precision in CODINGS
    ]
    for row in rows:
        queries = sides[ROLES[row.mode]["query"]][0][:, : row.dimension]
        documents = sides[ROLES[row.mode]["document"]][1][:, : row.dimension]
        expected = ndcg_at_10(beir, similarities(normalized(queries), normalized(documents), row.precision))
        assert row.score == pytest.approx(expected, abs=TOLERANCES[row.precision]), row
    assert len({row.score for row in rows}) > len(rows) / 2


def test_all_dimensions_in_float32_equal_mteb(folder, rows, models):
    whole = {row.mode: row for row in rows if (row.dimension, row.precision) == (32, "float32")}
    for result in evaluate_tasks(find_tasks([str(folder)]), **models, modes=tuple(ROLES)):
        row = whole[result.mode]
        assert row.score == pytest.approx(result.score, abs=1e-3)  # mteb rounds to five digits
        for name in ("set", "model", "teacher", "queries", "documents"):
            assert getattr(row, name) == getattr(result, name)


def test_bytes_are_the_size_of_a_stored_vector(rows):
    sizes = {(row.dimension, row.precision): row.bytes for row in rows}
    assert sizes == {
        **{(32, "float32"): 128, (32, "int8"): 32, (32, "binary"): 4},
        **{(12, "float32"): 48, (12, "int8"): 12, (12, "binary"): 2},
        **{(8, "float32"): 32, (8, "int8"): 8, (8, "binary"): 1},
    }
    json.dumps([asdict(row) for row in rows])


def test_each_text_is_encoded_once(folder, tiny_teacher, tiny_student, counting, counting_teacher):
    models = {"teacher": counting_teacher(tiny_teacher), "student": counting(tiny_student)}
    measure_compression(folder, **models, dimensions=DIMENSIONS)
    for model in models.values():
        seen = model.seen["query"] + model.seen["document"]
        assert len(seen) == 46
        assert set(seen.values()) == {1}


def test_int8_has_a_range_for_each_coordinate_of_the_documents():
    documents = np.array([[0, 100, 7], [255, 610, 7], [9.6, 101, 7]], np.float32)
    queries = np.array([[0.25, -2000, 7.7]], np.float32)
    same, decoded = code(queries, documents, "int8")
    assert same is queries
    assert decoded.tolist() == [[0.5, 101, 7], [255.5, 611, 7], [9.5, 101, 7]]
    assert decoded.dtype == np.float32


def test_one_coordinate_of_large_values_leaves_int8_its_steps_for_the_others(models):
    draw = np.random.default_rng(0)
    queries, documents = (draw.normal(size=(count, 64)).astype(np.float32) for count in (50, 2000))
    documents[:, 0] += 30
    queries, documents = normalized(queries), normalized(documents)
    scale = 127 / np.abs(documents).max()
    one_range = similarities(np.rint(scale * queries), np.rint(scale * documents), "float32")
    own_ranges = compare(*code(queries, documents, "int8"), models["teacher"])
    exact = queries @ documents.T
    assert _recall(one_range, exact) < 0.92
    assert _recall(own_ranges, exact) > 0.97


def _recall(scores, exact):
    """Return the share of the ten best documents by ``exact`` among the ten best by ``scores``."""
    ours, theirs = (np.argsort(-side, axis=1)[:, :10] for side in (scores, exact))
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])


def test_bits_equal_sentence_transformers_and_the_hamming_distance(models):
    draw = np.random.default_rng(0)
    queries, documents = (draw.normal(size=(count, 20)).astype(np.float32) for count in (3, 5))
    coded = code(queries, documents, "binary")
    for side, vectors_ in zip(coded, (queries, documents), strict=True):
        np.testing.assert_array_equal(side, quantize_embeddings(vectors_, "ubinary"))
    hamming = np.bitwise_count(coded[0][:, None] ^ coded[1][None]).sum(axis=2)
    np.testing.assert_array_equal(compare(*coded, models["teacher"]), 24 - 2 * hamming.astype(int))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_vectors_of_any_length(folder, tiny_unnormalized_folder, similarity):
    """For cosine, vectors are normalised before coding; for a dot product, their length is kept."""
    model = SentenceTransformer(str(tiny_unnormalized_folder), similarity_fn_name=similarity, device="cpu")
    beir = load_beir(folder)
    queries, documents = (side[:, :12] for side in vectors(model, beir))
    assert np.linalg.norm(documents, axis=1).max() > 1.1 * np.linalg.norm(documents, axis=1).min()
    if similarity == "cosine":
        expected = [similarities(normalized(queries), normalized(documents), precision) for precision in CODINGS]
    else:
        coarse = code(queries, np.float32(documents), "int8")[1]
        expected = [queries @ documents.T, queries @ coarse.T, similarities(queries, documents, "binary")]
    found = measure_compression(folder, teacher=None, student=model, modes=["standard"], dimensions=[12])
    for row, scores in zip(found, expected, strict=True):
        assert row.score == pytest.approx(ndcg_at_10(beir, scores), abs=TOLERANCES[row.precision])
    assert {row.teacher for row in found} == {None}


def test_cut_unit_vectors_are_normalised_again_for_a_dot_product(folder, tiny_teacher):
    beir = load_beir(folder)
    queries, documents = (normalized(side[:, :8]) for side in vectors(tiny_teacher, beir))
    tiny_teacher.similarity_fn_name = "dot"
    (row,) = measure_compression(
        folder, teacher=None, student=tiny_teacher, modes=["standard"], dimensions=[8], precisions=["float32"]
    )
    assert row.score == pytest.approx(ndcg_at_10(beir, queries @ documents.T), abs=1e-6)


def test_a_zero_vector_stays_finite():
    assert cut(np.array([[0, 0, 1]], np.float32), 2, unit=True).tolist() == [[0, 0]]
    nothing = np.zeros((1, 2), np.float32)
    assert code(nothing, nothing, "int8")[1].tolist() == [[0, 0]]


def test_a_zero_document_stays_zero_in_int8():
    draw = np.random.default_rng(0)
    documents = np.vstack([draw.normal(size=(20, 8)), np.zeros((1, 8))]).astype(np.float32)
    _, coded = code(documents[:3], documents, "int8")
    assert not coded[-1].any()  # a cosine would scale the rounding to norm 1
    np.testing.assert_allclose(coded, documents, atol=0.02)


def test_fewer_than_ten_documents_and_one_query(tmp_path, models):
    folder = save_set(tmp_path, documents=4, queries=1)
    student = models["student"]
    found = measure_compression(folder, teacher=None, student=student, modes=["standard"], dimensions=[8])
    beir = load_beir(folder)
    queries, documents = (normalized(side[:, :8]) for side in vectors(student, beir))
    for row in found:
        expected = ndcg_at_10(beir, similarities(queries, documents, row.precision))
        assert row.score == pytest.approx(expected, abs=TOLERANCES[row.precision])


def test_dimensions_are_halved():
    assert halves(384) == [384, 192, 96, 48, 24]
    assert halves(768) == [768, 384, 192, 96, 48, 24]
    assert halves(1024) == [1024, 512, 256, 128, 64, 32]
    assert halves(32) == [32]
    assert halves(16) == [16]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dimensions": [32, 33]}, "dimension 33: expected 1 to 32"),
        ({"dimensions": [0]}, "dimension 0: expected 1 to 32"),
        ({"precisions": ["int4"]}, "precision 'int4' is unknown: expected some of float32, int8, binary"),
        ({"modes": ["both"]}, "mode 'both' is unknown"),
        ({"teacher": None}, "mode teacher needs the teacher"),
    ],
)
def test_bad_values_are_refused_before_encoding(folder, models, monkeypatch, changed, message):
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *_, **__: pytest.fail("texts were encoded"))
    with pytest.raises(InputError, match=message):
        measure_compression(folder, **{**models, **changed})


def test_a_narrow_student_is_measured_only_in_standard_mode(folder, models, narrow_student):
    both = {**models, "student": narrow_student}
    found = measure_compression(folder, **both, modes=["teacher", "standard"])
    assert {row.dimension for row in found} == {16}
    with pytest.raises(InputError, match="teacher's vectors have 32 dimensions, the student's have 16"):
        measure_compression(folder, **both)


def test_the_table_has_means_over_sets_and_shares(rows):
    other = [replace(row, set="other", score=row.score / 2) for row in rows]
    header, *lines = (line.split() for line in COMPRESSION.table([*rows, *other]).splitlines())
    assert " ".join(header) == (
        "dimension precision bytes teacher standard asymmetric teacher kept standard kept asymmetric kept"
    )
    scores = {(row.mode, row.dimension, row.precision): 0.75 * row.score for row in rows}
    for line in lines:
        found = [scores[mode, int(line[0]), line[1]] for mode in ROLES]
        whole = [scores[mode, 32, "float32"] for mode in ROLES]
        assert line[3:6] == [f"{score:.2f}" for score in found]
        assert line[6:] == [f"{100 * part / full:.1f}%" for part, full in zip(found, whole, strict=True)]
    assert [line[:3] for line in lines[:3]] == [["32", "float32", "128"], ["32", "int8", "32"], ["32", "binary", "4"]]
    assert len(lines) == 9


@pytest.mark.parametrize(("full", "cut", "kept"), [(0.3, 4.0, "-"), (0.0, 1.0, "-"), (40.0, 0.0, "0.0%")])
def test_a_share_without_meaning_is_a_dash(rows, full, cut, kept):
    two = [replace(row, score=score) for row, score in zip(rows, (full, cut), strict=False)]
    assert COMPRESSION.table(two).splitlines()[2].split()[-1] == kept


def test_rows_of_two_students_are_refused_and_incomplete_rows_are_omitted(rows):
    with pytest.raises(InputError, match=f"{rows[0].set} was measured twice"):
        COMPRESSION.table([*rows, *rows])
    table = COMPRESSION.table([*rows, replace(rows[0], set="other")])
    assert table.splitlines()[1].split()[3:] == [f"{rows[0].score:.2f}", "100.0%"]


def test_the_figure_shows_bytes(rows):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    draw_compression(axes, rows)
    assert axes.get_xlabel() == "bytes per document vector (log scale)"
    assert axes.get_ylabel() == "nDCG@10 (%), mean of the sets"
    curves = [line for line in axes.lines if len(line.get_xdata())]
    assert len(curves) == 9
    first = [row for row in rows if (row.mode, row.precision) == ("teacher", "float32")]
    assert list(curves[0].get_xdata()) == [32, 48, 128]
    assert list(curves[0].get_ydata()) == [row.score for row in reversed(first)]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [*ROLES, *CODINGS]
    figure.canvas.draw()
