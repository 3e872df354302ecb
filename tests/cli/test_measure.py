"""What the measurements of several sets keep, and of whom."""

import shutil

import pytest
from letters import save_set, save_texts
from sentence_transformers import SentenceTransformer

from leaf_st.cli.measure import export, measure_compression, measure_latency, measure_samples
from leaf_st.errors import InputError
from leaf_st.evaluation import compression, samples
from leaf_st.evaluation.compression import Compressed
from leaf_st.evaluation.latency import LatencyRow
from leaf_st.evaluation.rows import COMPRESSION, EXPORT, LATENCY, MODELS, SAMPLES, read_rows
from leaf_st.evaluation.sizes import Size
from leaf_st.export.export import ExportRow
from leaf_st.models.portable import save_portable
from leaf_st.zoo import ARCHITECTURES, ARCTIC, Architecture

TINY = Architecture(32, 2, 2, 64, vocab_size=100, max_position_embeddings=40)


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


@pytest.fixture
def texts(tmp_path):
    return str(save_texts(tmp_path / "texts.jsonl", 60))


@pytest.mark.parametrize("first", ["latency", "export"])
def test_whose_times_are_first_has_the_folder(first, student, tiny_teacher_folder, texts, sets, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    if first == "latency":
        measure_latency([student], teacher, texts, results)
        assert {row.texts for row in read_rows(results / LATENCY, LatencyRow)} == {texts}
    else:
        export(student, texts, sets[:1], results)
        assert {(row.texts, *row.sets) for row in read_rows(results / EXPORT, ExportRow)} == {(texts, "one")}
    (size,) = read_rows(results / MODELS, Size)
    assert (size.role, size.model) == ("student", "local/student")
    with pytest.raises(InputError, match=r"holds results of the student .*, not of .*: name another --output"):
        measure_latency([teacher], teacher, texts, results)
    measure_compression(student, teacher, sets[:1], results)


def test_random_weights_are_of_no_model(texts, tmp_path, monkeypatch):
    for name in ("leaf-ir", ARCTIC.hub_id):
        monkeypatch.setitem(ARCHITECTURES, name, TINY)
    measure_latency(["leaf-ir"], None, texts, tmp_path / "results")
    assert [path.name for path in (tmp_path / "results").iterdir()] == [LATENCY]


def test_a_set_that_cannot_be_used_is_named_before_the_first_is_measured(student, tiny_teacher_folder, sets, tmp_path):
    bad = shutil.copytree(sets[1], tmp_path / "bad")
    (bad / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tnone\t1\n")
    results = tmp_path / "results"
    with pytest.raises(InputError, match="corpus-id 'none' is not in corpus"):
        measure_compression(student, str(tiny_teacher_folder), [sets[0], bad], results)
    assert not results.exists()


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
