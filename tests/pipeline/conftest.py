"""A recipe of tiny models, and a student that a run can start from."""

import json
import shutil
from dataclasses import replace

import pytest

from leaf_st.pipeline.run import Run
from leaf_st.recipe import TEACHER_OF_START, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec


@pytest.fixture(scope="session")
def recipe(tmp_path_factory, tiny_teacher_folder):
    source = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": f"a text, number {number}"}) + "\n" for number in range(60)))
    return Recipe(
        name="tiny",
        texts=TextsSpec(source=str(source)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2), closed_form_rows=8),
        training=TrainingSpec(arguments={"max_steps": 2, "use_cpu": True}),
    )


@pytest.fixture(scope="session")
def untrained(recipe, tmp_path_factory):
    """The folder of a run with embedded texts; tests must not change the folder."""
    folder = tmp_path_factory.mktemp("untrained") / "run"
    Run(recipe, folder).embed()
    return folder


@pytest.fixture
def embedded(untrained, tmp_path):
    """The folder of a run with embedded texts, which the test may change."""
    return shutil.copytree(untrained, tmp_path / "run")


@pytest.fixture(scope="session")
def first(recipe, tmp_path_factory):
    """The folder of a trained run; tests must not change the folder."""
    run = Run(recipe, tmp_path_factory.mktemp("first") / "run")
    run.embed()
    run.train()
    return run.folder


@pytest.fixture
def finished(first, tmp_path):
    """The folder of a student that knows its teacher."""
    return shutil.copytree(first, tmp_path / "first")


@pytest.fixture
def going_on(recipe, finished, tmp_path):
    general = tmp_path / "general.txt"
    general.write_text("".join(f"a text, number {number}\n" for number in range(50, 70)))  # ten of them trained on
    return replace(
        recipe,
        texts=replace(recipe.texts, kind="query"),  # another kind is not another text
        general=TextsSpec(source=str(general), limit=20),
        teacher=TeacherSpec(model=TEACHER_OF_START),
        student=StudentSpec(start=str(finished / "model")),
    )
