"""Any text as the value of any setting."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import override, recipe_fields
from leaf_st.recipe import Recipe
from leaf_st.recipe.values import fits, parse_value

FIELDS = {item.key: item.hint for item in recipe_fields()}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
# Text that a user may type, any text, and literals, which the parser reads in two languages.
TEXTS = (
    st.text()
    | VALUES.map(json.dumps)
    | VALUES.map(repr)
    | st.text("[](){},'\"0123456789.eE-+ ntrufalse:\\", max_size=30)
)


@settings(max_examples=50, deadline=None)  # the first example imports torch
@given(st.sampled_from(sorted(FIELDS)), TEXTS)
def test_a_setting_is_a_value_of_its_field_or_an_error(key, text):
    with suppress(InputError):
        changed = override(Recipe(name="any"), [f"{key}={text}"])
        assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


@pytest.mark.parametrize(("opening", "closing"), ["[]", "()", "{}", ('{"a":', "}")])
@pytest.mark.parametrize("key", ["name", "texts.limit", "student.layers", "teacher.prompts"])
def test_deeply_nested_text_is_an_error_or_text(key, opening, closing):
    with suppress(InputError):
        override(Recipe(name="any"), [f"{key}={opening * 100_000}{closing * 100_000}"])


@given(st.integers())
def test_an_integer_is_read_as_written(number):
    assert parse_value(str(number), int) == number
    assert parse_value(str(number), int | None) == number
    assert parse_value(str(number), str) == str(number)


@given(st.lists(st.integers(min_value=0), min_size=1))
def test_a_list_of_integers_needs_no_brackets(numbers):
    assert parse_value(",".join(map(str, numbers)), list[int]) in (numbers, tuple(numbers), numbers[0])
    assert list(parse_value(json.dumps(numbers), list[int])) == numbers


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_written(number):
    assert parse_value(repr(number), float) == number
    assert fits(parse_value(repr(number), float), float)
