import numpy as np
import pytest

from leaf_st.models.vectors import cosines, have_norm_1, normalized

VECTORS = np.array([[3, 4], [0, 0], [0, -2]], dtype=np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_vectors_stay_zero(dtype):
    found = normalized(VECTORS.astype(dtype))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0, -1]], atol=1e-7)
    assert found.dtype == dtype


def test_the_cosine_of_a_zero_vector_is_0():
    others = np.array([[3, -4], [1, 1], [0, -1]], dtype=np.float32)
    np.testing.assert_allclose(cosines(VECTORS, others), [-7 / 25, 0, 1], atol=1e-7)
    assert cosines(VECTORS, 0 * others).tolist() == [0, 0, 0]


def test_nan_stays_nan():
    broken = np.array([[np.nan, 0]], dtype=np.float32)
    assert np.isnan(cosines(broken, VECTORS[:1])).all()
    assert np.isnan(normalized(broken)).all()
    assert not have_norm_1(broken, 1e-3)


def test_zero_vectors_do_not_count_among_norms():
    assert have_norm_1(normalized(VECTORS), 1e-3)
    assert not have_norm_1(VECTORS, 1e-3)
    assert not have_norm_1(0 * VECTORS, 1e-3)
