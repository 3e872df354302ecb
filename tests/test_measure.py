"""What the measurements of several sets keep, and of whom."""

import pytest
from letters import save_set
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation import compression, samples
from leaf_st.evaluation.compression import Compressed
from leaf_st.evaluation.rows import COMPRESSION, SAMPLES, read_rows
from leaf_st.measure import export, measure_compression, measure_latency, measure_samples
from leaf_st.student.portable import save_portable


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return [save_set(folder / name, documents=12, queries=3, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture
def student(tiny_student, tmp_path):
    save_portable(tiny_student, tmp_path / "student")
    return str(tmp_path / "student")


@pytest.fixture
def asked(monkeypatch):
    """The folders that compression was asked to measure; asked for a folder "two" the first time, it is stopped."""
    asked, measure = [], compression.measure_compression

    def measure_compression(folder, **models):
        asked.append(folder.name)
        if asked == ["one", "two"]:
            raise KeyboardInterrupt
        return measure(folder, **models)

    monkeypatch.setattr(compression, "measure_compression", measure_compression)
    return asked


def test_a_stopped_measurement_goes_on_with_the_next_set(student, tiny_teacher_folder, sets, asked, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    with pytest.raises(KeyboardInterrupt):
        measure_compression(student, teacher, sets, results)
    assert not (results / COMPRESSION).exists()  # half of it would give a mean over other sets
    table = measure_compression(student, teacher, sets, results)
    assert asked == ["one", "two", "two"]
    rows = read_rows(results / COMPRESSION, Compressed)
    assert list(dict.fromkeys(row.set for row in rows)) == ["one", "two"]
    fresh = tmp_path / "fresh"
    assert measure_compression(student, teacher, sets, fresh) == table
    assert read_rows(fresh / COMPRESSION, Compressed) == rows
    measure_samples(student, teacher, sets[:1], results)  # another measurement of the same set
    assert read_rows(results / SAMPLES, samples.Sampled)


def test_another_student_finds_the_folder_taken(student, tiny_teacher, tiny_teacher_folder, sets, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    measure_compression(student, teacher, sets[:1], results)
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    for measure in (
        lambda: measure_compression(teacher, teacher, sets[:1], results),
        lambda: measure_latency([teacher], teacher, None, results),
        lambda: export(teacher, None, [], results),
    ):
        with pytest.raises(InputError, match=r"holds results of the student .*, not of .*: name another --output"):
            measure()
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before
    other = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    other.prompts = {"query": "find: ", "document": ""}
    save_portable(other, tmp_path / "other")
    with pytest.raises(InputError, match="holds results of the teacher"):
        measure_compression(student, str(tmp_path / "other"), sets[:1], results)
