"""Records of runs: a damaged record is named before anything is made from the record."""

import json
import os

import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe
from leaf_st.run_folder import RECIPE, known_record, read_record, read_run

RECORD = {key: Recipe(name="tiny").to_dict() for key in ("recipe", "resolved")}
DAMAGED = [
    "[]",
    "{}",
    json.dumps({**RECORD, "recipe": None}),
    json.dumps({**RECORD, "resolved": [1]}),
    json.dumps({**RECORD, "recipe": {**RECORD["recipe"], "texts": "texts.jsonl"}}),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_named(content, tmp_path):
    (tmp_path / RECIPE).write_text(content)
    for read in (lambda: read_run(tmp_path), lambda: known_record(tmp_path, Recipe(name="tiny"))):
        with pytest.raises(InputError, match=RECIPE):
            read()
    assert isinstance(read_record(tmp_path), dict)


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_record_that_is_no_json_is_named(content, tmp_path):
    (tmp_path / RECIPE).write_text(content)
    for read in (lambda: read_record(tmp_path), lambda: read_run(tmp_path)):
        with pytest.raises(InputError, match=f"{RECIPE} is damaged"):
            read()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_pipe_in_place_of_the_record_is_named(make, tmp_path):
    make(tmp_path / RECIPE)
    with pytest.raises(InputError, match=f"{RECIPE} is damaged .*not a file"):
        known_record(tmp_path, Recipe(name="tiny"))


@pytest.mark.parametrize("part", ["texts", "teacher", "student", "training"])
def test_a_part_that_is_no_mapping_is_an_error_of_the_recipe(part):
    with pytest.raises(InputError, match="recipe of another version"):
        Recipe.from_dict({**RECORD["recipe"], part: "text"})
