"""The registry: what all measurements have in common, and what only some of them do."""

import argparse
import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from letters import save_set, save_texts

from leaf_st.cli.measurements import add_commands
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.registry import MEASUREMENTS
from leaf_st.evaluation.measurements.speed import Rates
from leaf_st.evaluation.measurements.tasks import retention_figure
from leaf_st.evaluation.measurements.training import LogRow
from leaf_st.evaluation.results import Result
from leaf_st.export import export, forms
from leaf_st.export.forms import FORMS, Limits
from leaf_st.models.portable import save_portable

PUBLISHED = Path(__file__).parents[3] / "model_cards" / "leaf-mini" / "results"
BY_NAME = {measurement.name: measurement for measurement in MEASUREMENTS}


def test_names_and_commands_are_unique():
    assert len(BY_NAME) == len(MEASUREMENTS)
    assert len({measurement.command for measurement in MEASUREMENTS}) == len(MEASUREMENTS)


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.json")), ids=lambda path: path.stem)
def test_published_results_are_read_and_presented(path):
    if path.stem == "models":
        return
    measurement = BY_NAME[path.stem]
    rows = measurement.read(PUBLISHED)
    assert len(rows) == len(json.loads(path.read_text()))
    assert measurement.table(rows)
    section = measurement.section(rows)
    assert section.text
    assert section.tables
    assert all(isinstance(word, str) for word in measurement.words(rows))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.name)
def test_a_file_of_another_kind_is_refused(measurement, tmp_path):
    assert measurement.read(tmp_path) == []
    (tmp_path / measurement.file).write_text("[1]")
    with pytest.raises(InputError, match=rf"{measurement.name}\.json: expected a JSON list of measurements"):
        measurement.read(tmp_path)


def test_the_registry_loads_no_library():
    script = "import sys, leaf_st.evaluation.measurements.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pyarrow", "transformers", "mteb", "matplotlib"} & set(loaded)


def test_each_measurement_that_can_be_measured_has_a_command():
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    for measurement in MEASUREMENTS:
        words = [*measurement.command, "MODEL", *(["--tasks", "one"] if measurement.name == "tasks" else [])]
        if measurement.measure is None:
            with pytest.raises(SystemExit):
                parser.parse_args(words)
        else:
            assert parser.parse_args([*words, "--output", "there"]).output == Path("there")


def test_speeds_of_earlier_versions_are_read(tmp_path):
    speed = BY_NAME["speed"]
    (tmp_path / speed.file).write_text('{"queries": {"teacher": 10.0, "student": 25.0}}')
    rows = speed.read(tmp_path)
    assert rows == [Rates("queries", 10.0, 25.0)]
    assert speed.table(rows).splitlines()[1].split() == ["queries", "10.0", "25.0", "2.50x"]
    (tmp_path / speed.file).write_text('{"queries": {"teacher": 0, "student": 25.0}}')
    with pytest.raises(InputError, match=r"speed\.json: expected .* rates above 0"):
        speed.read(tmp_path)


def _result(name, mode, score, kind="Retrieval"):
    return Result(name, mode, "ndcg_at_10", score, mode, "teacher", 1.0, 2, 3, type=kind, path=f"sets/{name}")


def test_the_time_of_a_training_is_that_of_all_its_steps():
    last = {"step": 9900, "train_runtime": 180.0, "train_loss": 0.3}
    assert LogRow(**last, train_steps_per_second=55.0).whole_runtime == 180.0
    assert LogRow(**last, train_steps_per_second=0.556).whole_runtime is None  # the last session made 100 steps
    assert LogRow(**last).whole_runtime == 180.0
    assert LogRow(step=5, loss=0.3).whole_runtime is None


def test_tasks_name_the_modes_that_were_not_measured():
    rows = [_result("one", "teacher", 50.0), _result("one", "standard", 40.0)]
    section = BY_NAME["tasks"].section(rows)
    assert section.incomplete == ["Not measured: asymmetric mode."]
    assert BY_NAME["tasks"].words(rows) == ["--tasks", "sets/one", "--modes", "teacher", "standard"]
    assert BY_NAME["tasks"].words(rows[1:]) == ["--tasks", "sets/one"]


def test_the_figure_of_many_tasks_has_a_line_per_type():
    rows = [
        _result(f"{kind} {number}", mode, score, kind)
        for kind in ("Retrieval", "STS")
        for number in range(9)
        for mode, score in (("teacher", 50.0), ("standard", 40.0))
    ]
    figure = pytest.importorskip("matplotlib.figure").Figure(layout="constrained")
    retention_figure(rows).draw(figure)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Retrieval", "STS", "mean"]
    few = retention_figure([row for row in rows if row.mode == "standard"][:2])
    assert few.name == "Scores"


def test_an_export_that_is_not_accurate_saves_its_rows_and_names_the_file(
    tiny_student, quick_graph, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO", "leaf_st")
    save_portable(tiny_student, tmp_path / "student")
    options = Namespace(
        model=str(tmp_path / "student"),
        output=tmp_path / "results",
        texts=str(save_texts(tmp_path / "texts.jsonl", 60)),
        data=[save_set(tmp_path / "letters", documents=12, queries=3)],
    )
    strict = [replace(form, limits=Limits(min_cosine=2.0)) if form.recommended else form for form in FORMS]
    for module in (export, forms):
        monkeypatch.setattr(module, "FORMS", tuple(strict))
    with pytest.raises(InputError, match=r"^not written: model_int8\.onnx has a mean cosine of .*; model_quantized"):
        BY_NAME["export"].measure(options)
    rows = BY_NAME["export"].read(tmp_path / "results")
    assert {"onnx int8", "onnx quantized"}.isdisjoint(row.backend for row in rows)
    assert f"saved in {tmp_path / 'results' / 'export.json'}" in caplog.text
