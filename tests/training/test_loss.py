import numpy as np
import pytest
import torch
from torch import nn

from leaf_st.errors import InputError
from leaf_st.training.loss import TeacherAlignedLoss


def _numpy(distance, ours, theirs):
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if distance == "l2":
        return np.mean([np.sqrt(((a - b) ** 2).sum()) for a, b in zip(ours, theirs, strict=True)])
    if distance == "mse":
        return np.mean((ours - theirs) ** 2)
    return np.mean([1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(ours, theirs, strict=True)])


def _vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 32)).astype(np.float32), rng.normal(size=(7, 32)).astype(np.float32)


@pytest.mark.parametrize("distance", ["l2", "mse", "cosine"])
def test_equals_numpy(tiny_student, distance):
    ours, theirs = _vectors()
    loss = TeacherAlignedLoss(tiny_student, distance)
    value = loss.compute_loss_from_embeddings([torch.from_numpy(ours)], [torch.from_numpy(theirs)])
    assert value.item() == pytest.approx(_numpy(distance, ours, theirs), rel=1e-6)


def test_the_paper_s_distance_is_the_default(tiny_student):
    assert TeacherAlignedLoss(tiny_student).get_config_dict()["distance_metric"] == "l2"


def test_of_texts_it_is_the_distance_of_their_vectors(tiny_student):
    texts, targets = ["a small text", "another"], np.ones((2, 32), np.float32)
    features = tiny_student.preprocess(texts)
    value = TeacherAlignedLoss(tiny_student)([features], torch.from_numpy(targets))
    assert value.item() == pytest.approx(_numpy("l2", tiny_student.encode(texts), targets), rel=1e-5)


@pytest.mark.parametrize("distance", ["l2", "mse", "cosine"])
def test_float32_under_bfloat16_autocast(tiny_student, distance):
    ours, theirs = _vectors()
    layer = nn.Linear(32, 32, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(torch.from_numpy(ours))
        assert outputs.dtype == torch.bfloat16
        loss = TeacherAlignedLoss(tiny_student, distance)
        value = loss.compute_loss_from_embeddings([outputs], [torch.from_numpy(theirs)])
    assert value.dtype == torch.float32
    expected = _numpy(distance, outputs.detach().float().numpy(), theirs)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_widths_must_match(tiny_student):
    with pytest.raises(InputError, match=r"expected vectors of the teacher.s 48 dimensions, found 32"):
        TeacherAlignedLoss(tiny_student).compute_loss_from_embeddings([torch.ones(2, 32)], [torch.ones(2, 48)])


def test_an_unknown_distance_is_named(tiny_student):
    with pytest.raises(InputError, match=r"distance: expected one of l2, mse, cosine, found .l3."):
        TeacherAlignedLoss(tiny_student, "l3")
