"""Intervals of retention, against SciPy's bootstrap and a plain NumPy bootstrap with other draws."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import bootstrap

from leaf_st.evaluation.bootstrap import RESAMPLES, resampled_means
from leaf_st.evaluation.results import Result, retention, retention_intervals, write_results
from leaf_st.evaluation.results_table import format_table
from leaf_st.evaluation.rows import read_rows


def _row(name, mode, *parts, **others):
    scores = tuple(tuple(map(float, part)) for part in parts)
    row = Result(name, mode, "ndcg_at_10", 0.0, "student", "teacher", 1.0, queries=2, documents=3, query_scores=scores)
    return replace(row, score=float(np.mean([np.mean(part) for part in scores])), **others)


def _scores(count, seed):
    """The scores of a teacher, and of a student whose scores are near."""
    draw = np.random.default_rng(seed)
    teacher = draw.uniform(0, 100, count).round(4)
    return teacher, np.clip(teacher + draw.normal(-3, 15, count), 0, 100).round(4)


def _pair(name, count, seed, **others):
    teacher, student = _scores(count, seed)
    return [_row(name, "teacher", teacher, **others), _row(name, "standard", student, **others)]


def _reference(*parts, count=20_000):
    """The interval of the ratio of the means over weighted ``parts``, by how often each query is drawn."""
    draw, means = np.random.default_rng(99), np.zeros((2, count))
    for weight, teacher, student in parts:
        drawn = draw.multinomial(len(teacher), np.full(len(teacher), 1 / len(teacher)), size=count)
        means += weight * np.array([drawn @ teacher, drawn @ student]) / len(teacher)
    return pytest.approx(np.percentile(100 * means[1] / means[0], [2.5, 97.5]), abs=0.4)


def test_the_interval_of_a_set_equals_scipy_s():
    teacher, student = _scores(120, 0)
    found = bootstrap(
        (student, teacher),
        lambda ours, theirs, axis: 100 * ours.mean(axis=axis) / theirs.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    low, high = retention_intervals(_pair("one", 120, 0))["standard"]
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.4)
    assert high - low > 3
    assert low < retention(_pair("one", 120, 0))["standard"] < high


def test_the_queries_are_paired():
    """The means of student and teacher vary together, and their ratio hardly varies."""
    teacher = np.linspace(5, 100, 200)
    rows = [_row("one", "teacher", teacher), _row("one", "standard", 0.9 * teacher + np.tile([0.1, -0.1], 100))]
    low, high = retention_intervals(rows)["standard"]
    assert 89.9 < low < 90 < high < 90.1


def test_the_interval_of_a_mean_draws_each_set_by_itself():
    rows = [*_pair("one", 60, 1), *_pair("two", 60, 2), *_pair("three", 25, 3)]
    expected = _reference((1, *_scores(60, 1)), (1, *_scores(60, 2)), (1, *_scores(25, 3)))
    assert retention_intervals(rows)["standard"] == expected


def test_each_part_of_a_task_counts_alike():
    teachers, students = zip(_scores(80, 4), _scores(20, 5), strict=True)
    rows = [_row("one", "teacher", *teachers), _row("one", "standard", *students)]
    assert retention_intervals(rows)["standard"] == _reference((1, *_scores(80, 4)), (1, *_scores(20, 5)))


def test_each_type_of_task_counts_alike():
    rows = [*_pair("one", 60, 1), *_pair("two", 60, 2), *_pair("three", 25, 3, type="Reranking")]
    expected = _reference((1, *_scores(60, 1)), (1, *_scores(60, 2)), (2, *_scores(25, 3)))
    assert retention_intervals(rows, over_types=True)["standard"] == expected
    assert retention_intervals(rows)["standard"] != expected


def test_equal_scores_have_an_interval_without_width():
    teacher, _ = _scores(50, 6)
    rows = [_row("one", "teacher", teacher), _row("one", "standard", teacher)]
    assert retention_intervals(rows) == {"standard": (100, 100)}
    assert format_table(rows).splitlines()[1].endswith("100.0% (100.0 to 100.0)                     -")


def test_the_same_rows_give_the_same_interval():
    rows = _pair("one", 40, 8)
    before = retention_intervals(rows)
    resampled_means.cache_clear()
    assert retention_intervals(rows) == before
    assert resampled_means("one", rows[0].query_scores).shape == (RESAMPLES,)


def test_sets_of_equal_size_are_drawn_independently():
    scores = (tuple(map(float, range(50))),)
    assert abs(np.corrcoef(resampled_means("one", scores), resampled_means("two", scores))[0, 1]) < 0.1


_SCORES = _scores(30, 9)


@pytest.mark.parametrize(
    "rows",
    [
        [_row("one", "teacher", [50]), _row("one", "standard", [40])],
        [_row("one", "teacher", _SCORES[0], [50]), _row("one", "standard", _SCORES[1], [40])],
        [_row("one", "teacher", _SCORES[0]), replace(_row("one", "standard", _SCORES[1]), query_scores=None)],
        [_row("one", "teacher", _SCORES[0]), _row("one", "standard", _SCORES[1][:-1])],  # measured on other queries
        [_row("one", "teacher", [0, 0, 60]), _row("one", "standard", [0, 0, 50])],  # a resample of zeros has no ratio
        [replace(row, query_scores=()) for row in _pair("one", 30, 9)],
    ],
    ids=["one query", "a part with one query", "unknown", "other queries", "no ratio", "no part"],
)
def test_a_retention_without_an_interval(rows):
    assert retention(rows)
    assert retention_intervals(rows) == {}
    line, *_ = format_table(rows).splitlines()[1:]
    assert line.split()[-2].endswith("%")
    assert "brackets" not in format_table(rows)


def test_a_mean_with_a_task_without_queries_has_no_interval():
    alike = [
        replace(row, set="alike", type="STS", metric="cosine_spearman", query_scores=None) for row in _pair("x", 9, 0)
    ]
    rows = [*_pair("one", 40, 8), *alike]
    assert retention_intervals(rows) == retention_intervals(rows, over_types=True) == {}
    assert [line.count("(") for line in format_table(rows).splitlines()[1:6]] == [1, 0, 2, 1, 0]


def test_the_table_shows_intervals():
    rows = [*_pair("one", 40, 8), *_pair("two", 40, 7)]
    _, *lines, _, note = format_table(rows).splitlines()
    for line, of_line in zip(lines, (rows[:2], rows[2:], rows), strict=True):
        kept, (low, high) = retention(of_line)["standard"], retention_intervals(of_line)["standard"]
        assert f" {kept:.1f}% ({low:.1f} to {high:.1f}) " in line
    assert note == "in brackets: the 95 % interval over the queries (paired bootstrap)"


def test_scores_of_queries_are_equal_after_reading(tmp_path):
    rows = _pair("one", 5, 0)
    write_results(tmp_path / "tasks.json", rows)
    assert read_rows(tmp_path / "tasks.json", Result) == rows
    assert "query_scores" not in repr(rows[0])
    older = [{name: value for name, value in asdict(row).items() if name != "query_scores"} for row in rows]
    assert [Result(**row).query_scores for row in older] == [None, None]
