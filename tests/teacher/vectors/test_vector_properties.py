"""Any vector in each form, and any value in place of a vector."""

import base64
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.teacher.vectors.parse import joined, parse

NUMBERS = st.lists(st.floats(width=32), min_size=1, max_size=40)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _float32(numbers):
    return np.array(numbers, dtype=np.float32)


@given(NUMBERS)
def test_all_forms_hold_the_same_vector(numbers):
    vector = _float32(numbers)
    content = vector.astype("<f4").tobytes()
    forms = [numbers, json.dumps(numbers), content, base64.b64encode(content).decode(), f" {json.dumps(numbers)}\n"]
    for form in forms:
        np.testing.assert_array_equal(parse(form), vector)


@given(st.lists(NUMBERS, max_size=5))
def test_joined_vectors_keep_their_widths(rows):
    raw = joined([parse(row) for row in rows])
    assert raw.widths.tolist() == [len(row) for row in rows]
    np.testing.assert_array_equal(raw.values, _float32([number for row in rows for number in row]))


@given(ANY | st.text("[]0123456789.,eE+-NaInfity \"'{}=/ABab"))
def test_any_value_is_a_vector_or_empty(value):
    vector = parse(value)
    assert vector.ndim == 1
    assert vector.dtype == np.float32


def test_numbers_beyond_every_type_and_deep_lists_are_no_vectors():
    assert parse([10**400]).size == 0
    assert parse(f"[{10**400}]").size == 0
    assert parse(f"[{'9' * 5000}]").size == 0
    assert parse("[" * 100_000 + "]" * 100_000).size == 0
    assert parse("[[1, 2]]").size == 0
