import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.results import Result, require_same_set, retention, write_results
from leaf_st.evaluation.results_table import format_table
from leaf_st.evaluation.rows import read_rows


def _row(name, mode, score, model="student"):
    model = "teacher" if mode == "teacher" else model
    return Result(name, mode, "ndcg_at_10", score, model, "teacher", 1.5, queries=2, documents=3)


ROWS = [
    _row("one", "teacher", 50.0),
    _row("one", "standard", 45.0),
    _row("one", "asymmetric", 48.0),
    _row("another", "teacher", 30.0),
    _row("another", "standard", 15.0),
    _row("another", "asymmetric", 33.0),
]


def test_retention_is_the_retention_of_the_averages():
    assert retention(ROWS) == {"standard": 75.0, "asymmetric": 100 * 81 / 80}
    assert retention(ROWS[:3]) == {"standard": 90.0, "asymmetric": 96.0}


def test_a_mode_without_every_set_or_without_teacher_has_no_retention():
    assert retention(ROWS[:5]) == {"standard": 75.0}
    assert retention(ROWS[1:3]) == {}
    assert retention([]) == {}


def test_retention_of_two_students_is_refused():
    with pytest.raises(InputError, match="one was measured twice in mode standard"):
        retention([*ROWS, _row("one", "standard", 1.0, model="other")])


def test_results_are_equal_after_reading(tmp_path):
    path = tmp_path / "results" / "retrieval.json"
    rows = [replace(ROWS[0], score=100 / 3), replace(ROWS[1], teacher=None)]
    write_results(path, rows)
    assert read_rows(path, Result) == rows
    assert json.loads(path.read_text())[0]["score"] == 100 / 3


def test_a_new_row_replaces_the_old_row_at_its_position(tmp_path):
    path = tmp_path / "retrieval.json"
    other = _row("one", "standard", 7.0, model="other")
    write_results(path, ROWS[:2])
    write_results(path, [_row("one", "teacher", 51.0), other])
    assert read_rows(path, Result) == [_row("one", "teacher", 51.0), ROWS[1], other]


def test_rows_of_earlier_data_of_a_set_are_removed(tmp_path, caplog):
    path = tmp_path / "retrieval.json"
    write_results(path, [replace(row, data=f"{row.set} before") for row in ROWS])
    new = replace(ROWS[1], score=46.0, data="one after")
    write_results(path, [new])
    assert read_rows(path, Result) == [*(replace(row, data="another before") for row in ROWS[3:]), new]
    assert "the data of the set have changed: one in asymmetric mode, one in teacher mode" in caplog.text
    write_results(path, [replace(ROWS[0], data="one after")])
    assert retention(read_rows(path, Result)[3:]) == {"standard": 92.0}


def test_rows_of_unknown_data_stay(tmp_path, caplog):
    path = tmp_path / "retrieval.json"
    write_results(path, ROWS[:2])  # as earlier versions wrote them
    write_results(path, [new := replace(ROWS[1], data="one")])
    assert read_rows(path, Result) == [ROWS[0], new]
    assert not caplog.records


def test_a_set_with_the_name_of_another_set_is_refused(tmp_path):
    path, place = tmp_path / "retrieval.json", tmp_path / "a" / "one"
    require_same_set(path, "one", "Retrieval", place)
    place.mkdir(parents=True)
    write_results(path, [replace(ROWS[1], path=str(place))])
    (tmp_path / "b").mkdir()
    message = rf"another set with the name one \({place}\): name another --output, or rename one of the sets"
    with pytest.raises(InputError, match=message):
        require_same_set(path, "one", "Retrieval", tmp_path / "b")
    with pytest.raises(InputError, match="another set with the name one"):
        require_same_set(path, "one", "STS", place)
    require_same_set(path, "one", "Retrieval", tmp_path / "a" / ".." / "a" / "one")
    place.rename(tmp_path / "moved")
    require_same_set(path, "one", "Retrieval", tmp_path / "moved")


@pytest.mark.parametrize("content", ["{", "[1]", '[{"set": "one"}]', "{}x"])
def test_another_file_is_not_overwritten(tmp_path, content):
    path = tmp_path / "retrieval.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"retrieval\.json: expected a JSON list of measurements"):
        write_results(path, ROWS)
    assert path.read_text() == content


def test_table():
    assert format_table(ROWS).splitlines() == [
        "task             metric      teacher  standard  asymmetric  standard retention  asymmetric retention",
        "one              ndcg_at_10    50.00     45.00       48.00               90.0%                 96.0%",
        "another          ndcg_at_10    30.00     15.00       33.00               50.0%                110.0%",
        "mean of 2 tasks                40.00     30.00       40.50               75.0%                101.2%",
        "seconds                          3.0       3.0         3.0",
    ]


def _similar(name, mode, score):
    return replace(_row(name, mode, score), type="STS", metric="cosine_spearman", queries=None, documents=None)


def test_a_task_without_queries_counts_with_its_standard_score():
    rows = [
        *ROWS,
        _similar("alike", "teacher", 80.0),
        _similar("alike", "standard", 76.0),
    ]
    assert format_table(rows).splitlines() == [
        "task              metric           teacher  standard  asymmetric  standard retention  asymmetric retention",
        "one               ndcg_at_10         50.00     45.00       48.00               90.0%                 96.0%",
        "another           ndcg_at_10         30.00     15.00       33.00               50.0%                110.0%",
        "alike             cosine_spearman    80.00     76.00           -               95.0%                     -",
        "Retrieval (2)                        40.00     30.00       40.50               75.0%                101.2%",
        "STS (1)                              80.00     76.00           -               95.0%                     -",
        "mean of 2 types                      60.00     53.00       58.25               88.3%                 97.1%",
        "mean of 3 tasks                      53.33     45.33       52.33               85.0%                 98.1%",
        "seconds, 2 tasks                       3.0       3.0         3.0",
        "STS: no queries and documents, so no asymmetric mode; "
        "means of asymmetric mode use the standard scores (paper Table 3)",
    ]
    assert retention(rows) == pytest.approx({"standard": 85.0, "asymmetric": 100 * 157 / 160})


def test_averages_equal_the_paper_s():
    """Table 3: means of leaf-mt over types and datasets, from the means of its types."""
    counts = {"Class.": 8, "Cluster.": 8, "Pair": 3, "Reranking": 2, "Retrieval": 10, "STS": 9, "Summ.": 1}
    standard = dict(zip(counts, (76.9, 46.5, 84.5, 46.9, 47.3, 82.8, 30.9), strict=True))
    rows = [
        replace(_row(f"{kind} {number}", mode, score), type=kind)
        for mode, scores in (("standard", standard), ("asymmetric", {"Reranking": 47.3, "Retrieval": 51.8}))
        for kind, score in scores.items()
        for number in range(counts[kind])
    ]
    lines = {line[:16].strip(): line.split() for line in format_table(rows).splitlines()}
    assert [float(cell) for cell in lines["mean of 7 types"][-4:-2]] == pytest.approx([59.4, 60.1], abs=0.05)
    assert [float(cell) for cell in lines["mean of 41 tasks"][-4:-2]] == pytest.approx([63.0, 64.1], abs=0.05)


def test_the_table_marks_missing_values():
    lines = format_table([ROWS[0], replace(ROWS[1], seconds=None), ROWS[4]]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["one", "ndcg_at_10", "50.00", "45.00", "-", "90.0%", "-"],
        ["another", "ndcg_at_10", "-", "15.00", "-", "-", "-"],
        ["mean", "of", "2", "tasks", "-", "30.00", "-", "-", "-"],
        ["seconds,", "1", "tasks", "1.5", "-", "-"],
    ]


def test_one_task_has_no_mean():
    one = [_row("a", mode, 50.0) for mode in ("teacher", "standard")]
    assert "mean" not in format_table(one)


@pytest.mark.parametrize(("teacher", "standard"), [(0.3, 4.0), (0.0, 1.0), (-2.0, -3.0), (40.0, -1.0)])
def test_a_ratio_without_meaning_is_a_dash(teacher, standard):
    rows = [_row("one", "teacher", teacher), _row("one", "standard", standard)]
    assert retention(rows) == {}
    assert format_table(rows).splitlines()[1].split()[-2:] == ["-", "-"]


def test_sets_of_one_name_are_told_apart_from_any_current_folder(tmp_path, monkeypatch):
    results = tmp_path / "run" / "results" / "tasks.json"
    for project in ("a", "b"):
        (tmp_path / project / "one").mkdir(parents=True)
    results.parent.mkdir(parents=True)
    row = replace(ROWS[1], path="one", place=os.path.relpath(tmp_path / "a" / "one", results.parent))
    write_results(results, [row])
    monkeypatch.chdir(tmp_path / "a")
    require_same_set(results, "one", "Retrieval", Path("one"))
    monkeypatch.chdir(tmp_path / "a" / "one")
    require_same_set(results, "one", "Retrieval", Path("."))
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(InputError, match="contains results of another set with the name one"):
        require_same_set(results, "one", "Retrieval", Path("one"))
