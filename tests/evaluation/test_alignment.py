import copy

import numpy as np
import pytest
import torch

from leaf_st.errors import InputError
from leaf_st.evaluation.alignment import AlignmentEvaluator
from leaf_st.evaluation.measurements.alignment import alignment_row

TEXTS = ["a small text", "another one", "and a third which is longer", "z"]


def _numpy(ours, theirs):
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    distances = [np.sqrt(((a - b) ** 2).sum()) for a, b in zip(ours, theirs, strict=True)]
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(ours, theirs, strict=True)]
    return np.mean(distances), np.mean(cosines)


def test_equals_numpy(tiny_student):
    targets = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float16)
    metrics = AlignmentEvaluator(TEXTS, targets)(tiny_student)
    l2, cosine = _numpy(tiny_student.encode(TEXTS), targets)
    assert metrics == pytest.approx({"l2": l2, "cosine": cosine}, rel=1e-5)


def test_a_row_holds_the_distribution(tiny_student):
    targets = tiny_student.encode(TEXTS) + np.array([[0.1], [0.2], [0.3], [0.3]]) * np.eye(32)[:4]
    evaluator = AlignmentEvaluator(TEXTS, targets)
    kept = alignment_row("held-out texts", *evaluator.compare(tiny_student))
    assert (kept.set, kept.rows) == ("held-out texts", 4)
    assert {"l2": kept.l2, "cosine": kept.cosine} == evaluator(tiny_student)
    histogram = kept.l2_histogram
    assert (histogram.low, histogram.high) == pytest.approx((0.1, 0.3), abs=1e-5)
    assert [histogram.counts[place] for place in (0, -1)] == [1, 2]
    assert sum(histogram.counts) == sum(kept.cosine_histogram.counts) == 4
    assert kept.cosine_histogram.low < kept.cosine < kept.cosine_histogram.high


def test_the_teacher_is_aligned_with_itself(tiny_teacher):
    metrics = AlignmentEvaluator(TEXTS, tiny_teacher.encode(TEXTS), batch_size=2)(tiny_teacher)
    assert metrics["l2"] == pytest.approx(0, abs=1e-5)
    assert metrics["cosine"] == pytest.approx(1, abs=1e-5)


def test_name_is_a_prefix_and_smaller_is_better(tiny_student):
    evaluator = AlignmentEvaluator(TEXTS, np.ones((4, 32)), name="held_out")
    assert not evaluator.greater_is_better
    assert evaluator.primary_metric == "held_out_l2"
    metrics = evaluator(tiny_student, output_path=None, epoch=1, steps=10)
    assert set(metrics) == {"held_out_l2", "held_out_cosine"}
    assert evaluator.primary_metric == "held_out_l2"


def test_the_default_prompt_is_not_added_twice(tiny_student):
    prompted = copy.deepcopy(tiny_student)
    prompted.prompts, prompted.default_prompt_name = {"query": "query "}, "query"
    targets = np.ones((4, 32))
    assert AlignmentEvaluator(TEXTS, targets)(prompted) == AlignmentEvaluator(TEXTS, targets)(tiny_student)


def test_widths_must_match(tiny_student):
    with pytest.raises(InputError, match="teacher's vectors have 48 dimensions, the student's have 32"):
        AlignmentEvaluator(TEXTS, np.ones((4, 48)))(tiny_student)


@pytest.mark.parametrize(("texts", "rows"), [(TEXTS, 3), ([], 0)])
def test_one_target_for_each_text(texts, rows):
    with pytest.raises(InputError, match=f"found {len(texts)} texts and {rows} targets"):
        AlignmentEvaluator(texts, np.ones((rows, 32)))


def test_the_cosine_of_a_zero_vector_is_0(tiny_student):
    targets = tiny_student.encode(TEXTS)
    targets[1] = 0  # as a static teacher gives for a text without a known token
    evaluator = AlignmentEvaluator(TEXTS, targets)
    assert evaluator(tiny_student) == pytest.approx({"l2": 1 / 4, "cosine": 3 / 4}, abs=1e-5)
    counts = alignment_row("held-out texts", *evaluator.compare(tiny_student)).cosine_histogram.counts
    assert (counts[0], sum(counts)) == (1, 4)


def test_a_student_that_gives_nan_is_named(tiny_student):
    torch.nn.init.constant_(tiny_student[2].linear.weight, torch.nan)
    with pytest.raises(InputError, match="the student returns NaN or infinite numbers for 4 of 4 texts"):
        AlignmentEvaluator(TEXTS, np.ones((4, 32)))(tiny_student)


def test_the_distribution_of_nearly_equal_cosines():
    cosines = np.array([1, 1, np.nextafter(np.float32(1), np.float32(0))], dtype=np.float32)
    histogram = alignment_row("held-out texts", np.zeros(3, dtype=np.float32), cosines).cosine_histogram
    assert (histogram.low, histogram.high) == (float(cosines[2]), 1)
    assert (len(histogram.counts), histogram.counts[0], histogram.counts[-1]) == (40, 1, 2)
