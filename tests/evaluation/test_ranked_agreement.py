"""Agreement of rankings against their definitions, computed query by query in plain Python."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaf_st.evaluation.measurements.list_agreement import CUTOFFS, DEPTH, Search, rank_biased_overlap, terciles
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES

FEW = settings(max_examples=40, deadline=None)


def _search(scores, own, blocks):
    search = Search(own, scores["teacher"].shape[1])
    for first, last in zip([0, *blocks], [*blocks, None], strict=True):
        search.add({mode: of_mode[:, first:last] for mode, of_mode in scores.items()})
    return search


def _ranked(scores, own):
    """Return the indices of the documents without ``own``, the most similar first."""
    return [place for place in sorted(range(len(scores)), key=lambda place: (-scores[place], place)) if place != own]


def _overlap(first, second, p=0.9):
    """RBO_EXT as the expected agreement of a user who continues with probability p, the last agreement repeated."""
    depth = len(first)
    agreements = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, depth + 1)]
    seen = sum((1 - p) * p ** (d - 1) * agreement for d, agreement in enumerate(agreements, 1))
    return seen + p**depth * agreements[-1]


@st.composite
def _cases(draw):
    seed, queries, documents = (draw(st.integers(*ends)) for ends in ((0, 10**6), (1, 6), (2, 250)))
    random = np.random.default_rng(seed)
    teacher = random.normal(size=(queries, documents))
    scores = {"teacher": teacher}
    for mode in STUDENT_MODES:
        scores[mode] = teacher + draw(st.sampled_from([0.0, 0.1, 1.0, 10.0])) * random.normal(size=teacher.shape)
    if draw(st.booleans()):  # equal scores
        scores = {mode: of_mode.round(1) for mode, of_mode in scores.items()}
    scores = {mode: of_mode.astype(np.float32) for mode, of_mode in scores.items()}
    own = random.integers(documents, size=queries) if draw(st.booleans()) else np.full(queries, -1)
    blocks = sorted(draw(st.sets(st.integers(1, documents - 1), max_size=3)))
    return scores, own, blocks


@FEW
@given(_cases())
def test_lists_are_those_of_a_full_sort(case):
    scores, own, blocks = case
    lists = _search(scores, own, blocks).nearest()
    for mode in ROLES:
        for query, excluded in enumerate(own.tolist()):
            expected = _ranked(scores[mode][query], excluded)[:DEPTH]
            found = lists[mode].documents[query]
            assert len(set(found.tolist())) == len(expected)
            assert excluded not in found
            # Of equally near documents at the end of the list, any may be kept.
            np.testing.assert_array_equal(scores[mode][query][found], scores[mode][query][expected])
            for other in ROLES:
                np.testing.assert_array_equal(lists[mode].scores[other][query], scores[other][query][found])


@FEW
@given(_cases())
def test_values_are_those_of_their_definitions(case):
    scores, own, blocks = case
    search = _search(scores, own, blocks)
    lists = search.nearest()
    available = scores["teacher"].shape[1] - int((own >= 0).any())
    for mode in STUDENT_MODES:
        compared = search.compare(lists, mode)
        assert list(compared.recalls) == [k for k in CUTOFFS if k < available]
        for query in range(len(own)):
            teacher, student = (lists[name].documents[query].tolist() for name in ("teacher", mode))
            expected = scores["teacher"][query]
            for k, recalls in compared.recalls.items():
                least = expected[teacher[k - 1]]
                assert recalls[query] == sum(expected[place] >= least for place in student[:k]) / k
            assert compared.overlap[query] == pytest.approx(_overlap(teacher, student))
            union = sorted({*teacher, *student})
            pair = [scores[name][query][union].astype(np.float64) for name in ("teacher", mode)]
            if min(np.ptp(side) for side in pair) > 0:
                correlation = np.mean(np.prod([(side - side.mean()) / side.std() for side in pair], axis=0))
                assert compared.correlation[query] == pytest.approx(correlation, abs=1e-6)
            else:
                assert np.isnan(compared.correlation[query])


@FEW
@given(st.permutations(range(30)), st.permutations(range(30)), st.sampled_from([0.5, 0.9, 0.98]))
def test_overlap_is_symmetric_and_between_0_and_1(first, second, p):
    pair = np.array([first[:20]]), np.array([second[:20]])
    (value,) = rank_biased_overlap(*pair, p)
    assert value == pytest.approx(_overlap(first[:20], second[:20], p))
    assert value == pytest.approx(rank_biased_overlap(*reversed(pair), p)[0])
    assert 0 <= value <= 1 + 1e-12
    assert rank_biased_overlap(pair[0], pair[0], p)[0] == pytest.approx(1)
    assert rank_biased_overlap(pair[0], pair[0] + 30, p)[0] == 0


def test_overlap_of_a_published_example():
    # https://github.com/b4ny4n/rankmeasures: RBO.eval(List(1,2,3,4,5), List(2,3,4,1,5), 0.9)
    first, second = np.array([[1, 2, 3, 4, 5]]), np.array([[2, 3, 4, 1, 5]])
    assert rank_biased_overlap(first, second)[0] == pytest.approx(0.828, abs=1e-3)


@FEW
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_terciles_cover_all_values_once(values):
    masks = terciles(np.array(values))
    assert np.sum(masks, axis=0).tolist() == [1] * len(values)
    groups = [np.array(values)[mask] for mask in masks]
    assert all(before.max() < after.min() for before, after in pairwise(groups))
    if len(set(values)) == len(values) and len(values) >= 3:
        assert max(map(len, groups)) - min(map(len, groups)) <= 2
