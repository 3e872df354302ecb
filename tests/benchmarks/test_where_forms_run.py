"""What the benchmarks of exported forms say, with this Python in place of the environments that they install."""

import sys
from pathlib import Path

import numpy as np
import pytest

from leaf_st.errors import InputError
from leaf_st.export.forms import get_form
from leaf_st.export.packed import write_packed
from leaf_st.export.quantized import write_quantized
from leaf_st.models.portable import save_portable

pytest.importorskip("onnxruntime")

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
WRONG = """
import json, sys
open(sys.argv[3], "w").write(json.dumps({"versions": {}, "milliseconds": 1.0, "vectors": [[float("nan")]]}))
"""


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import _environments
    import where_forms_run
    import without_vnni

    for module in (_environments, without_vnni):
        monkeypatch.setattr(module, "prepare", lambda name, work: [sys.executable])
    return where_forms_run, without_vnni


@pytest.fixture
def model_folder(tiny_student, tmp_path):
    """A model with two exported graphs; a packed graph stands in for the graph that torch takes seconds to export."""
    folder = tmp_path / "student"
    save_portable(tiny_student, folder)
    (folder / "onnx").mkdir()
    graph = folder / get_form("onnx").file
    write_packed(tiny_student, graph)
    write_quantized(tiny_student, folder / get_form("onnx quantized").file, graph)
    (tmp_path / "onnxruntime").mkdir()
    return folder


def _rows(table):
    return {line.split("  ")[0]: line for line in table.splitlines()}


def test_a_row_for_each_form_and_a_cell_for_each_runtime(benchmarks, model_folder, tmp_path, monkeypatch):
    runs, _ = benchmarks
    for name, code in (("crashes", CRASHES), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(code)
    runtimes = [runs.Runtime("onnxruntime", "with_onnxruntime.py", "onnxruntime")]
    runtimes += [runs.Runtime(name, str(tmp_path / f"{name}.py"), "onnxruntime") for name in ("crashes", "wrong")]
    monkeypatch.setattr(runs, "RUNTIMES", runtimes)
    graphs = {name: model_folder / get_form(name).file for name in ("onnx", "onnx quantized")}
    rows = _rows(runs._table(model_folder, graphs, tmp_path))
    assert rows["form"].split()[2:] == ["onnxruntime", "crashes", "wrong"]
    for name in graphs:
        cells = [cell.strip() for cell in rows[name].split("  ") if cell.strip()]
        assert cells[-2:] == ["crashes", "wrong vectors"]
    exact, quantized = (float(rows[name].partition(" L2 ")[2].split()[0]) for name in graphs)
    assert exact < 1e-5 < quantized < 0.2


def test_distances_of_other_shapes_and_of_nan_are_infinite(benchmarks):
    runs, _ = benchmarks
    expected = np.eye(3, dtype=np.float32)
    assert runs.distances(expected, np.eye(3).tolist()).tolist() == [0, 0, 0]
    assert runs.distances(expected, (2 * np.eye(3)).tolist()).tolist() == [1, 1, 1]
    assert np.isinf(runs.distances(expected, np.eye(2).tolist())).all()
    assert np.isinf(runs.distances(expected, np.full((3, 3), np.nan).tolist())).all()


def test_a_model_without_exported_forms(benchmarks, tiny_student, tmp_path, monkeypatch, capsys):
    runs, _ = benchmarks
    save_portable(tiny_student, tmp_path / "student")
    monkeypatch.setattr(sys, "argv", ["where_forms_run", str(tmp_path / "student")])
    with pytest.raises(SystemExit) as ended:
        runs.main()
    assert ended.value.code == 2
    assert "expected exported forms, found none: run `leaf-st export" in capsys.readouterr().err


def test_three_kinds_of_weights_are_compared_with_an_emulator(benchmarks, model_folder, tmp_path, monkeypatch, beir):
    _, vnni = benchmarks
    emulator = tmp_path / "qemu-x86_64"  # runs the program on this processor
    emulator.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    emulator.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(emulator))
    rows = _rows(vnni._table(model_folder, [beir], "Haswell", tmp_path))
    saturate = {name: line.split()[-6] for name, line in rows.items() if name in vnni.NAMES}
    assert saturate == {"signed, 8 bits": "yes", "signed, 7 bits": "no", "unsigned, 8 bits": "no"}
    assert {line.split()[-3] for name, line in rows.items() if name in vnni.NAMES} == {"0"}
    assert all(line.endswith("100.0%") for name, line in rows.items() if name in vnni.NAMES)  # two documents


def test_without_qemu_the_program_names_the_package(benchmarks, model_folder, monkeypatch):
    _, vnni = benchmarks
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="qemu-x86_64 not found: install qemu-user"):
        vnni._table(model_folder, [], "Haswell", model_folder)
