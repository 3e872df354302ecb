"""Measuring through the registry: which rows survive an interruption, and who owns a results folder."""

import importlib
import shutil
from argparse import Namespace

import pytest
from letters import save_set, save_texts
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import compression
from leaf_st.evaluation.measurements.candidates import candidates
from leaf_st.evaluation.measurements.over_sets import load_pair, retrieval_sets
from leaf_st.evaluation.measurements.registry import MEASUREMENTS
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import MODELS, Size
from leaf_st.models.portable import save_portable
from leaf_st.recipe import Recipe, TeacherSpec, TextsSpec
from leaf_st.student.asymmetric import compose
from leaf_st.zoo import ARCHITECTURES, ARCTIC, Architecture

BY_NAME = {measurement.name: measurement for measurement in MEASUREMENTS}
TINY = Architecture(32, 2, 2, 64, vocab_size=100, max_position_embeddings=40)


def _measure(name, model, results, **options):
    """Measure as the command does; returns the table."""
    options = {"teacher": None, "data": [], "texts": None, **options}
    return BY_NAME[name].table(BY_NAME[name].measure(Namespace(model=model, output=results, **options)))


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
    """The folders that compression was asked to measure; the first call with a folder "two" is interrupted."""
    asked, measure = [], compression.measure_compression

    def measure_compression(folder, **models):
        asked.append(folder.name)
        if asked == ["one", "two"]:
            raise KeyboardInterrupt
        return measure(folder, **models)

    monkeypatch.setattr(compression, "measure_compression", measure_compression)
    return asked


def test_an_interrupted_measurement_resumes_with_the_next_set(student, tiny_teacher_folder, sets, asked, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    with pytest.raises(KeyboardInterrupt):
        _measure("compression", student, results, teacher=teacher, data=sets)
    assert not (results / "compression.json").exists()  # a part of the rows would give a mean over other sets
    table = _measure("compression", student, results, teacher=teacher, data=sets)
    assert asked == ["one", "two", "two"]
    rows = BY_NAME["compression"].read(results)
    assert list(dict.fromkeys(row.set for row in rows)) == ["one", "two"]
    fresh = tmp_path / "fresh"
    assert _measure("compression", student, fresh, teacher=teacher, data=sets) == table
    assert BY_NAME["compression"].read(fresh) == rows
    _measure("samples", student, results, teacher=teacher, data=sets[:1])  # another measurement of the same set
    assert BY_NAME["samples"].read(results)


@pytest.mark.parametrize("name", ["compression", "index"])
def test_parts_with_other_codes_are_measured_again(name, student, tiny_teacher_folder, sets, tmp_path, monkeypatch):
    module = importlib.import_module(f"leaf_st.evaluation.measurements.{name}")
    measure, asked = getattr(module, f"measure_{name}"), []
    monkeypatch.setattr(
        module, f"measure_{name}", lambda *args, **options: asked.append(1) or measure(*args, **options)
    )
    for codes in ("old", "old", "new"):
        monkeypatch.setattr(module, "CODES", codes)
        _measure(name, student, tmp_path / "results", teacher=str(tiny_teacher_folder), data=sets[:1])
    assert len(asked) == 2


@pytest.fixture
def texts(tmp_path):
    return str(save_texts(tmp_path / "texts.jsonl", 60))


@pytest.mark.parametrize("first", ["latency", "export"])
def test_the_first_timed_model_owns_the_folder(first, student, quick_graph, tiny_teacher_folder, texts, sets, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    if first == "latency":
        _measure("latency", [student], results, teacher=teacher, texts=texts)
        assert {row.texts for row in BY_NAME["latency"].read(results)} == {texts}
    else:
        _measure("export", student, results, texts=texts, data=sets[:1])
        assert {(row.texts, *row.sets) for row in BY_NAME["export"].read(results)} == {(texts, "one")}
    (size,) = read_rows(results / MODELS, Size)
    assert (size.role, size.model) == ("student", "local/student")
    with pytest.raises(InputError, match=r"contains results of the student .*, not of .*: name another --output"):
        _measure("latency", [teacher], results, teacher=teacher, texts=texts)
    _measure("compression", student, results, teacher=teacher, data=sets[:1])


def test_random_weights_own_no_folder(texts, tmp_path, monkeypatch):
    for name in ("leaf-ir", ARCTIC.hub_id):
        monkeypatch.setitem(ARCHITECTURES, name, TINY)
    _measure("latency", ["leaf-ir"], tmp_path / "results", teacher=None, texts=texts)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["latency.json"]


def test_an_unusable_set_is_reported_before_any_set_is_measured(student, tiny_teacher_folder, sets, tmp_path):
    bad = shutil.copytree(sets[1], tmp_path / "bad")
    (bad / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tnone\t1\n")
    results = tmp_path / "results"
    with pytest.raises(InputError, match="corpus-id 'none' and all other relevant documents are not in corpus"):
        _measure("compression", student, results, teacher=str(tiny_teacher_folder), data=[sets[0], bad])
    assert not results.exists()


def test_sets_of_other_types_in_a_recipe_are_left_out(sets, classification):
    recipe = Recipe(
        name="tiny",
        texts=TextsSpec(source="texts.txt"),
        teacher=TeacherSpec(model="teacher"),
        evaluate_on=[str(classification), str(sets[0]), "NanoBEIR", "missing"],
    )
    assert retrieval_sets(recipe) == sets[:1]


def test_another_student_is_refused(student, tiny_teacher, tiny_teacher_folder, sets, tmp_path):
    results, teacher = tmp_path / "results", str(tiny_teacher_folder)
    _measure("compression", student, results, teacher=teacher, data=sets[:1])
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    for measure in (
        lambda: _measure("compression", teacher, results, teacher=teacher, data=sets[:1]),
        lambda: _measure("latency", [teacher], results, teacher=teacher, texts=None),
        lambda: _measure("export", teacher, results, texts=None, data=[]),
    ):
        with pytest.raises(InputError, match=r"contains results of the student .*, not of .*: name another --output"):
            measure()
    assert {path: path.read_bytes() for path in results.rglob("*.json")} == before
    other = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    other.prompts = {"query": "find: ", "document": ""}
    save_portable(other, tmp_path / "other")
    with pytest.raises(InputError, match="contains results of the teacher"):
        _measure("compression", student, results, teacher=str(tmp_path / "other"), data=sets[:1])


def test_a_student_and_its_teacher_in_one_folder_are_refused(tiny_student, tiny_teacher, tiny_teacher_folder, tmp_path):
    save_portable(compose(tiny_student, tiny_teacher), tmp_path / "pair")
    pair, teacher = str(tmp_path / "pair"), str(tiny_teacher_folder)
    for load in (load_pair, lambda name, teacher: candidates([name], teacher)):
        with pytest.raises(
            InputError, match=r"^model: expected one model, found student and teacher in one: name the "
        ):
            load(pair, teacher)
