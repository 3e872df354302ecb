import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

import leaf_st

ROOT = Path(leaf_st.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
STAGES = ["texts", "teacher", "student", "training", "export", "evaluation", "publishing"]  # imports go to the left
GROUND_FLOOR = {
    "errors",
    "atomic",
    "lock",
    "sealed",
    "recipe",
    "tables",
    "zoo",
    "run_folder",
    "models",
    "hub",
}  # imported by all, imports no stage
KNOW_THE_PATH = {"pipeline", "cli", "__main__", "__init__"}


@pytest.mark.parametrize("name", leaf_st.__all__)
def test_public_names(name):
    value = getattr(leaf_st, name)
    assert name in dir(leaf_st)
    assert name == "__version__" or importlib.import_module(f"leaf_st.{_place(name)}").__dict__[name] is value


def _place(name):
    return leaf_st._PUBLIC[name].removeprefix("leaf_st.")


def test_the_stage_of_export_does_not_hide_the_function():
    importlib.import_module("leaf_st.export.onnx")
    assert leaf_st.export is importlib.import_module("leaf_st.pipeline.export").export


def test_a_function_that_uses_the_package_passes_to_workers():
    job = cloudpickle.loads(cloudpickle.dumps(lambda: leaf_st))  # as joblib and Ray do
    assert job() is leaf_st


def test_distill_comes_first():
    assert leaf_st.__all__[0] == "distill"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Leaf'"):
        _ = leaf_st.Leaf


def test_importing_costs_nothing():
    code = "import sys, leaf_st; print(sorted({'torch', 'numpy', 'sentence_transformers'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent, timeout=60
    )
    assert done.stdout == "[]\n"


def test_no_module_is_for_everything():
    assert not [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "common", "misc"}]


def _imported(path):
    """Return the first name below leaf_st of everything of this package that the module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module else []
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("leaf_st."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stage_imports_only_stages_to_its_left(path):
    place = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if place in KNOW_THE_PATH:
        return
    assert place in GROUND_FLOOR or place in STAGES, f"{place} is no stage: add it here with the stages that import it"
    left = STAGES[: STAGES.index(place) + 1] if place in STAGES else []
    assert set(_imported(path)) <= {*GROUND_FLOOR, *left}


def test_only_open_knows_the_kinds_of_teachers():
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in SOURCES}
    kind = re.compile(r"from leaf_st\.teacher\.\w+\.kind import")
    assert [str(path) for path, text in texts.items() if kind.search(text)] == ["teacher/open.py"]
    # Other stages ask `kind_of(spec)` or `TeacherSpec`, and read no field that only one kind has.
    field = re.compile(r"teacher\.(api|ensemble|dimensions|axes|vector_column|table)\b")
    others = {path: text for path, text in texts.items() if path.parts[0] not in ("teacher", "recipe")}
    assert [str(path) for path, text in others.items() if field.search(text)] == []


def test_no_module_imports_itself_through_others():
    names = {".".join(("leaf_st", *path.relative_to(ROOT).with_suffix("").parts)): path for path in SOURCES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    imports = {name: set(_modules(path, names)) - {name} for name, path in names.items()}
    while leaves := {name for name, others in imports.items() if not others & imports.keys()}:
        imports = {name: others for name, others in imports.items() if name not in leaves}
    assert not imports


def _modules(path, names):
    """Return the modules of this package that the module imports, also in functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (found for alias in node.names if (found := f"{node.module}.{alias.name}") in names)
            if node.module in names and not all(f"{node.module}.{alias.name}" in names for alias in node.names):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)


def test_onnxruntime_stores_no_id_of_the_machine(tmp_path):
    pytest.importorskip("onnxruntime")
    code = "import leaf_st, onnxruntime"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent, env=environment, timeout=60)
    assert list(tmp_path.rglob("*")) == []
