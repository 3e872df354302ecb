import json
import pickle

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from leaf_st.errors import InputError
from leaf_st.student.projection import Projection


def test_no_bias_and_no_activation():
    projection = Projection(3, 5)
    assert projection.linear.bias is None
    assert isinstance(projection.activation_function, nn.Identity)
    pooled = torch.randn(2, 3)
    projected = projection({"sentence_embedding": pooled})["sentence_embedding"]
    assert torch.equal(projected, pooled @ projection.linear.weight.T)


def test_it_is_saved_under_the_stock_type(tmp_path, tiny_student):
    tiny_student.save_pretrained(str(tmp_path), create_model_card=False)
    saved = json.loads((tmp_path / "modules.json").read_text())[2]
    assert saved["path"] == "2_Dense"
    assert saved["type"] == f"{Dense.__module__}.Dense"
    loaded = SentenceTransformer(str(tmp_path), device="cpu")[2]
    assert type(loaded) is Dense
    assert torch.equal(loaded.linear.weight, tiny_student[2].linear.weight)


@pytest.mark.parametrize("change", [{"bias": True}, {"activation_function": nn.Tanh()}])
def test_bias_and_activation_are_refused(change):
    with pytest.raises(InputError, match="no bias and no activation"):
        Projection(3, 5, **change)


@pytest.mark.parametrize(("rows", "ridge"), [(50, 0.0), (50, 0.1), (4, 0.1)])
def test_fit_is_a_ridge_regression(rows, ridge):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 6)), rng.normal(size=(rows, 9))
    projection = Projection(6, 9)
    projection.fit(torch.from_numpy(x), torch.from_numpy(y), ridge)
    strength = ridge * np.mean((x**2).sum(axis=0))
    # Ridge regression is least squares with d' more rows, which ask for zero weights.
    stretched = np.concatenate([x, np.sqrt(strength) * np.eye(6)])
    expected, *_ = np.linalg.lstsq(stretched, np.concatenate([y, np.zeros((6, 9))]), rcond=None)
    np.testing.assert_allclose(projection.linear.weight.detach().numpy(), expected.T, rtol=1e-5, atol=1e-6)


def test_strength_does_not_depend_on_scale_or_number_of_rows():
    x, y = torch.randn(40, 6), torch.randn(40, 9)
    projections = [Projection(6, 9) for _ in range(3)]
    projections[0].fit(x, y, 0.1)
    projections[1].fit(torch.cat([x, x]), torch.cat([y, y]), 0.1)
    projections[2].fit(100 * x, y, 0.1)
    torch.testing.assert_close(projections[1].linear.weight, projections[0].linear.weight)
    torch.testing.assert_close(100 * projections[2].linear.weight, projections[0].linear.weight)


def test_a_pickled_student_is_the_student(tiny_student):
    copied = pickle.loads(pickle.dumps(tiny_student))  # as for processes of encode, or of a trainer
    assert isinstance(copied[2], Projection)
    np.testing.assert_array_equal(copied.encode("a text"), tiny_student.encode("a text"))
