"""Any vector in each form, and any value in place of a vector."""

import base64
import io
import json
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.teacher.vectors.array import Array
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


def _npy(shape="(40, 8)", descr="'<f4'"):
    """Return a .npy file of 40 vectors whose header names ``shape`` and ``descr``."""
    file = io.BytesIO()
    np.save(file, np.ones((40, 8), dtype=np.float32))
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return file.getvalue()[:10] + header.encode() + file.getvalue()[128:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 127), content=st.binary(min_size=1, max_size=4))
def test_a_damaged_header_of_a_npy_file_is_an_error_or_read(place, content, tmp_path):
    file = bytearray(_npy())
    file[place : place + len(content)] = content
    (tmp_path / "v.npy").write_bytes(file)
    with suppress(InputError):
        vectors = Array(tmp_path / "v.npy")
        assert sum(len(raw.widths) for raw in vectors.read(0)) == vectors.rows


@pytest.mark.parametrize("shape", ["(40, 8", "(9" + "9" * 30 + ", 8)", "(-1, 8)", "(4000000000, 8)", "40"])
def test_an_impossible_shape_of_a_npy_file_is_an_error(shape, tmp_path):
    (tmp_path / "v.npy").write_bytes(_npy())
    assert Array(tmp_path / "v.npy").rows == 40
    (tmp_path / "v.npy").write_bytes(_npy(shape))
    with pytest.raises(InputError, match=r"v\.npy"):
        Array(tmp_path / "v.npy")


def test_a_pipe_or_an_archive_is_no_npy_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    np.savez(tmp_path / "archive", np.ones((4, 4)))
    os.rename(tmp_path / "archive.npz", tmp_path / "archive.npy")
    for name in ("pipe.npy", "archive.npy"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            Array(tmp_path / name)
