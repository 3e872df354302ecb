import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from fixed import FixedTeacher, embed
from sentence_transformers import SentenceTransformer

from leaf_st import InputError, Text, open_teacher, precompute
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher import local
from leaf_st.teacher.ensemble.paid import PaidEnsemble
from leaf_st.teacher.store import ROUNDING

ROWS = [Text(f"{'word ' * (number % 9)}{number}", ("query", "document")[number % 2]) for number in range(300)]


class Rough(FixedTeacher):
    """A teacher whose vectors are longer than those in float32 by a factor."""

    def __init__(self, factor):
        super().__init__(precision="bfloat16")
        self.factor, self.loaded = factor, 0

    def vector(self, text, kind):
        return super().vector(text, kind) * np.float32(self.factor)

    def in_float32(self):
        self.loaded += 1
        return FixedTeacher()


def test_the_error_of_bfloat16_is_measured_on_the_first_256_texts(tiny_unnormalized_folder, tmp_path):
    spec = TeacherSpec(model=str(tiny_unnormalized_folder), precision="bfloat16")
    store = precompute(ROWS, open_teacher(spec, "cpu"), tmp_path, dtype="float32")
    exact = SentenceTransformer(str(tiny_unnormalized_folder), device="cpu").encode([row.text for row in ROWS[:256]])
    distances = np.linalg.norm(store.embeddings(range(256)) - exact, axis=1)
    expected = distances.mean() / np.linalg.norm(exact, axis=1).mean()
    assert store.header[ROUNDING] == pytest.approx(expected, abs=1e-4)
    assert 1e-3 < expected < 0.1


def test_a_teacher_in_float32_has_no_error(tiny_teacher_folder, tmp_path):
    spec = TeacherSpec(model=str(tiny_teacher_folder), precision="float32")
    assert precompute(ROWS[:3], open_teacher(spec, "cpu"), tmp_path).header[ROUNDING] is None


@pytest.mark.parametrize(("factor", "distance", "warns"), [(1.019, 0.019, False), (1.03, 0.03, True)])
def test_an_error_above_two_percent_is_a_warning(factor, distance, warns, tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="leaf_st")
    store = embed(tmp_path, teacher=Rough(factor))
    assert store.header[ROUNDING] == pytest.approx(distance, abs=1e-4)
    assert [record.message.split(": set")[0] for record in caplog.records] == [
        "teacher fixed: expected vectors within 0.02 of its vectors in float32, found a mean distance of 0.03 in "
        "bfloat16 (4 texts, relative to the norm)"
    ] * warns


class Zeros(Rough):
    def vector(self, text, kind):
        return np.zeros_like(super().vector(text, kind))

    def in_float32(self):
        return self


def test_vectors_of_zeros_have_no_error_to_divide_by_their_norm(tmp_path, caplog):
    with pytest.raises(InputError, match="found zeros for all"):
        embed(tmp_path, teacher=Zeros(1))
    assert not caplog.records


def test_the_error_is_measured_once_by_the_worker_of_the_first_shard(tmp_path):
    first, second = Rough(1.01), Rough(1.01)
    assert embed(tmp_path, teacher=second, partition=(1, 2)) is None
    assert second.loaded == 0
    embed(tmp_path, teacher=first, partition=(0, 2))
    header = (tmp_path / "fingerprint.json").read_bytes()
    assert json.loads(header)[ROUNDING] == 0.01
    embed(tmp_path, teacher=first)
    assert first.loaded == 1
    assert (tmp_path / "fingerprint.json").read_bytes() == header


def test_a_model_that_does_not_fit_twice_is_not_measured(tiny_teacher_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(local, "free_memory", lambda _: 1000)
    spec = TeacherSpec(model=str(tiny_teacher_folder), precision="bfloat16")
    store = precompute(ROWS[:3], open_teacher(spec, "cpu"), tmp_path)
    assert store.header[ROUNDING] is None
    assert "the rounding error of bfloat16 was not measured: expected 0.0 GB of free memory" in caplog.text


def test_an_ensemble_is_measured_with_all_members_in_float32(tiny_teacher_folder, tiny_unnormalized_folder, tmp_path):
    members = [TeacherSpec(model=str(folder)) for folder in (tiny_teacher_folder, tiny_unnormalized_folder)]
    spec = TeacherSpec(ensemble=members)
    rough, exact = (open_teacher(spec.with_models(precision=precision), "cpu") for precision in ("bfloat16", "float32"))
    store = precompute([row for row in ROWS if row.kind == "query"], rough, tmp_path)
    texts = [row.text for row in ROWS if row.kind == "query"]
    expected = np.linalg.norm(rough.encode_query(texts) - exact.encode_query(texts), axis=1).mean()
    assert store.header[ROUNDING] == pytest.approx(expected, abs=1e-4)
    assert exact.in_float32() is None


def test_an_api_is_not_paid_twice(tiny_teacher_folder):
    model = TeacherSpec(model=str(tiny_teacher_folder), precision="bfloat16")
    spec = TeacherSpec(ensemble=[model, replace(model, weight=2)])
    paid = PaidEnsemble(spec, [open_teacher(model, "cpu"), open_teacher(model, "cpu")])
    assert paid.in_float32() is None
