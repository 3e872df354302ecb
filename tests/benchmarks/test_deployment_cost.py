"""A static student without torch, and the measurement of a form."""

import json
from pathlib import Path

import numpy as np
import pytest

from leaf_st.models.portable import save_portable
from leaf_st.student.static import build_static

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
FILES = ("model.safetensors", "tokenizer.json")


@pytest.fixture
def static(tiny_teacher_folder, tmp_path):
    student = build_static(tiny_teacher_folder, dimension=32, normalized=True, device="cpu")
    save_portable(student, tmp_path / "static")
    return student


def test_numpy_computes_the_vectors_of_a_static_student(static, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    from static_query import open_static

    texts = ["a b c", "d", " ".join("abcdefgh" * 100)]
    found = open_static(str(tmp_path / "static"))(texts)
    np.testing.assert_allclose(found, static.encode_query(texts), atol=1e-6)
    assert not np.isnan(open_static(str(tmp_path / "static"))([""])).any()


def test_numpy_reads_a_static_student_that_sentence_transformers_saved(static, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    from static_query import open_static

    static.save_pretrained(str(tmp_path / "plain"), create_model_card=False)
    np.testing.assert_allclose(open_static(str(tmp_path / "plain"))(["a b"]), static.encode_query(["a b"]), atol=1e-6)


@pytest.mark.usefixtures("static")
def test_a_form_is_measured_in_a_process_of_its_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    import deployment_cost

    (tmp_path / "given.json").write_text(json.dumps({"queries": ["a", "b c"], "prompt": ""}))
    forms = {name: (size, code) for name, size, code in deployment_cost._forms(tmp_path / "static")}
    assert list(forms) == ["sentence-transformers", "NumPy"]
    size, code = forms["NumPy"]
    assert size == sum((tmp_path / "static" / "0_StaticEmbedding" / name).stat().st_size for name in FILES)
    monkeypatch.setattr(deployment_cost, "STARTS", 1)
    memory, start, query = deployment_cost._measure(code, tmp_path / "given.json")
    assert 20 < float(memory.removesuffix(" MB")) < 300  # torch would need more
    assert 0 < float(query.removesuffix(" ms")) < 1000 * float(start.removesuffix(" s"))
