import numpy as np
import pytest

from leaf_st.errors import InputError
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.projection import fit_projection


def _l2(student, texts, targets):
    return np.linalg.norm(student.encode(texts) - targets, axis=1).mean()


def test_it_helps_on_texts_it_has_not_seen(tiny_teacher, tiny_student):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefgh "), size=rng.integers(5, 40))) for _ in range(300)]
    targets = tiny_teacher.encode(texts)
    before = _l2(tiny_student, texts[200:], targets[200:])
    fit_projection(tiny_student, texts[:200], targets[:200].astype(np.float16))
    assert _l2(tiny_student, texts[200:], targets[200:]) < before / 2


def test_widths_must_match(tiny_student):
    with pytest.raises(InputError, match=f"teacher gives 48 dimensions, projection gives {WIDTH}"):
        fit_projection(tiny_student, ["one", "two"], np.ones((2, 48)))
