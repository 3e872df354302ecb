"""The recipe that compares agreement with retention, with tiny models."""

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from letters import save_set

from leaf_st.evaluation.measurements.agreement import AGREEMENT
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.rows import read_rows
from leaf_st.models.portable import save_portable
from leaf_st.student.build import build_student

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import agreement_and_retention

    return agreement_and_retention


def _run(recipe, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["agreement_and_retention.py", *map(str, arguments)])
    recipe.main()


def _teacher_of(run):
    return json.loads((run / "recipe.json").read_text())["resolved"]["teacher"]["model"]


def test_it_prints_both_values_of_each_model_and_set(recipe, whole, tmp_path, monkeypatch, capsys, search_set):
    other = save_set(tmp_path / "other", documents=40, queries=9, seed=5)
    second = shutil.copytree(whole / "model", tmp_path / "second")
    student = build_student(_teacher_of(whole), dimension=32, normalized=True, layers=(0, 1), device="cpu")
    save_portable(student, tmp_path / "first")
    arguments = [whole, tmp_path / "first", second, "--teacher", _teacher_of(whole), "--data", search_set, other]
    _run(recipe, monkeypatch, *arguments, "--output", tmp_path / "out")
    printed = capsys.readouterr().out
    points = read_rows(tmp_path / "out" / "agreement_and_retention.json", recipe.Point)
    assert [(point.set, point.model, point.mode) for point in points] == [
        (folder.name, str(model), mode)
        for folder in (search_set, other)
        for model in (whole, tmp_path / "first", second)
        for mode in ("standard", "asymmetric")
    ]
    scores = {row.mode: row.score for row in read_rows(whole / "results" / "tasks.json", Result)}
    for point in points[:2]:
        # mteb rounds its scores.
        assert point.score == pytest.approx(scores[point.mode], abs=1e-3)
        assert point.teacher_score == pytest.approx(scores["teacher"], abs=1e-3)
        assert f"{100 * point.score / point.teacher_score:.1f}%" in printed
    lines = printed.splitlines()
    assert len(lines) == 1 + 6 + 1 + 2
    assert lines[-2].startswith("standard: 6 points, Pearson ")
    known = [(point.agreement, point.retention) for point in points if point.mode == "standard"]
    assert f"Pearson {np.corrcoef(*zip(*known, strict=True))[0, 1]:.3f}" in lines[-2]
    options = Namespace(model=str(whole), output=tmp_path / "rows", texts=[search_set], teacher=_teacher_of(whole))
    rows = {row.mode: row for row in AGREEMENT.measure(options) if row.group == "all"}
    for point in points[:2]:
        assert point.agreement == pytest.approx(rows[point.mode].recall_10)
        assert point.overlap == pytest.approx(rows[point.mode].overlap)


def test_a_stopped_command_resumes_with_the_next_pair(recipe, whole, tmp_path, monkeypatch, capsys, search_set):
    measured, measure = [], recipe._measure

    def stopping(beir, name, *others):
        measured.append(name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(beir, name, *others)

    monkeypatch.setattr(recipe, "_measure", stopping)
    second = shutil.copytree(whole / "model", tmp_path / "second")
    arguments = [whole, second, "--data", search_set, "--output", tmp_path / "out"]
    with pytest.raises(KeyboardInterrupt):
        _run(recipe, monkeypatch, *arguments)
    _run(recipe, monkeypatch, *arguments)
    assert measured == [str(whole), str(second), str(second)]
    assert "standard: 2 points: a correlation needs three points that differ" in capsys.readouterr().out
