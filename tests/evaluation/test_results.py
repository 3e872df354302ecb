import json
from dataclasses import replace

import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.results import Result, format_table, read_results, retention, write_results


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


def test_retention_is_that_of_the_averages():
    assert retention(ROWS) == {"standard": 75.0, "asymmetric": 100 * 81 / 80}
    assert retention(ROWS[:3]) == {"standard": 90.0, "asymmetric": 96.0}


def test_a_mode_without_every_set_or_without_teacher_has_no_retention():
    assert retention(ROWS[:5]) == {"standard": 75.0}
    assert retention(ROWS[1:3]) == {}
    assert retention([]) == {}


def test_retention_of_two_students_is_refused():
    with pytest.raises(InputError, match="one was measured twice in mode standard"):
        retention([*ROWS, _row("one", "standard", 1.0, model="other")])


def test_results_survive_the_file(tmp_path):
    path = tmp_path / "results" / "retrieval.json"
    rows = [replace(ROWS[0], score=100 / 3), replace(ROWS[1], teacher=None)]
    write_results(path, rows)
    assert read_results(path) == rows
    assert json.loads(path.read_text())[0]["score"] == 100 / 3


def test_a_new_measurement_replaces_the_old_one_in_its_place(tmp_path):
    path = tmp_path / "retrieval.json"
    other = _row("one", "standard", 7.0, model="other")
    write_results(path, ROWS[:2])
    write_results(path, [_row("one", "teacher", 51.0), other])
    assert read_results(path) == [_row("one", "teacher", 51.0), ROWS[1], other]


@pytest.mark.parametrize("content", ["{", "[1]", '[{"set": "one"}]', "{}x"])
def test_another_file_is_not_overwritten(tmp_path, content):
    path = tmp_path / "retrieval.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"retrieval\.json: expected a JSON list of measurements"):
        write_results(path, ROWS)
    assert path.read_text() == content


def test_table():
    assert format_table(ROWS).splitlines() == [
        "set      teacher  standard  asymmetric  standard retention  asymmetric retention",
        "one        50.00     45.00       48.00               90.0%                 96.0%",
        "another    30.00     15.00       33.00               50.0%                110.0%",
        "average    40.00     30.00       40.50               75.0%                101.2%",
    ]


def test_table_shows_what_is_missing():
    other_metric = replace(ROWS[0], metric="recall_at_10", set="elsewhere")
    lines = format_table([ROWS[0], ROWS[1], ROWS[4], other_metric]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["one", "50.00", "45.00", "-", "90.0%", "-"],
        ["another", "-", "15.00", "-", "-", "-"],
        ["average", "-", "30.00", "-", "-", "-"],
    ]
