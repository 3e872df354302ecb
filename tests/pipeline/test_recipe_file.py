"""Recipes in files: those of the repository load, and a file that is no recipe is named."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import load_recipe, override
from leaf_st.recipe import (
    DOCSTRINGS,
    PAPER,
)

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "plain_trainer")  # that one is a script


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("source", ["texts.jsonl", PAPER, DOCSTRINGS])
def test_recipes_with_open_texts_take_another_source(source, offline, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    recipe = load_recipe(FOLDER / "leaf_mini.py")
    assert recipe.texts.source == (DOCSTRINGS if offline else PAPER)
    assert override(recipe, [f"texts.source={source}"]).texts.source == source


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_repository_s_recipes_load(path):
    assert load_recipe(path, ["name=other"]).name == "other"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("recipe = ", "recipe.py, line 1 fails with SyntaxError: invalid syntax"),
        ("\n\nrecipe = (", "recipe.py, line 3 fails with SyntaxError: '(' was never closed"),
        ("import no_such_module", "line 1 fails with ModuleNotFoundError: No module named 'no_such_module'"),
        ("\nopen('no such file')", "line 2 fails with FileNotFoundError: [Errno 2] No such file or directory"),
        ("def f():\n    1 / 0\n\nf()", "recipe.py, line 2 fails with ZeroDivisionError: division by zero"),
        ("import json\n\njson.loads('{')", "recipe.py, line 3 fails with JSONDecodeError: Expecting property name"),
        ("raise SystemExit('no texts')", "recipe.py, line 1 fails with SystemExit: no texts"),
        ("\0", "recipe.py fails with "),
        ("", "expected a module-level `recipe = Recipe(...)`, found none"),
        ("recipe = {'name': 'a'}", "found dict"),
        ("from leaf_st import Recipe\nrecipe = Recipe(name='')", "recipe.py, line 2: name: expected a plain name"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, message):
    path = tmp_path / "recipe.py"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        load_recipe(path)
    assert message in str(raised.value)


def test_a_missing_recipe_is_named(tmp_path):
    expected = r"recipe .*none\.py: no such file: name a Python file .* in a clone of the repository .*, or call "
    with pytest.raises(InputError, match=expected):
        load_recipe(tmp_path / "none.py")


def test_the_paper_s_recipes_train_alike():
    ir, mt = (load_recipe(RECIPES[0].with_name(f"leaf_{name}.py")) for name in ("ir", "mt"))
    assert (ir.texts, ir.student, ir.training) == (mt.texts, mt.student, mt.training)
    assert (ir.training.end_learning_rate, ir.training.arguments["learning_rate"]) == (1e-5, 1e-4)  # paper 2.2
    assert ir.teacher != mt.teacher


def test_another_backbone_of_the_paper_s_student_has_no_pull_request():
    student = load_recipe(FOLDER / "leaf_ir.py", ["student.backbone=us/other"]).student
    assert (student.backbone, student.revision, student.closed_form_rows) == ("us/other", None, 0)


def _recipe_file(folder, content=""):
    path = folder / "recipe.py"
    path.write_text(f"from leaf_st.recipe import *\nrecipe = Recipe('tiny', {content})\n")
    return path


def test_sets_of_a_setting_have_to_exist(tmp_path):
    path = _recipe_file(tmp_path, "evaluate_on=['not here']")
    assert load_recipe(path).evaluate_on == ("not here",)
    (tmp_path / "one").mkdir()
    assert load_recipe(path, [f"evaluate_on={tmp_path / 'one'}"]).evaluate_on == (str(tmp_path / "one"),)
    with pytest.raises(InputError, match=r"evaluate_on: expected existing .*, found no .*two: correct the path"):
        load_recipe(path, [f"evaluate_on={tmp_path / 'one'},{tmp_path / 'two'}"])


@pytest.mark.parametrize("name", ["recipe.json", "recipe.yaml"])
def test_a_file_of_another_language_is_no_recipe(name, tmp_path):
    (tmp_path / name).write_text('{"name": null}')
    with pytest.raises(InputError, match=rf"expected a Python file with .*, found a {Path(name).suffix} file: name"):
        load_recipe(tmp_path / name)
