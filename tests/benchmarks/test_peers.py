"""The comparison of leaf_st with other distillations, with this Python in place of the environments."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from letters import ndcg_at_10, save_texts, vectors
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.models.portable import save_portable

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
RECIPE = """
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TrainingSpec

recipe = Recipe(
    name="tiny",
    teacher=TeacherSpec(model={teacher!r}, precision="float32"),
    student=StudentSpec(layers=(0, 2), closed_form_rows=0),
    training=TrainingSpec(arguments={{"max_steps": 4, "per_device_train_batch_size": 8, "use_cpu": True}}),
)
"""
# A training that copies a finished model and counts its calls.
PROGRAM = """
import json, shutil, sys
given, folder, minutes = sys.argv[1:]
open(sys.argv[0] + ".calls", "a").write(minutes + " ")
shutil.copytree({model!r}, folder)
print("a message of the package")
print(json.dumps({{"steps": 7, "seconds": 90, "embedding_seconds": 30, "versions": {{"theirs": "1.0"}}}}))
"""


@pytest.fixture
def peers(monkeypatch, tmp_path, tiny_teacher_folder, narrow_student):
    """The recipe with a peer that is the teacher, a peer with fewer dimensions, and a peer that fails."""
    monkeypatch.syspath_prepend(FOLDER)
    import _environments
    import peers

    def prepare(name, work):
        return [sys.executable, "-I"]

    save_portable(narrow_student, tmp_path / "narrow_student")
    (tmp_path / "leaf_mini.py").write_text(RECIPE.format(teacher=str(tiny_teacher_folder)))
    (tmp_path / "same.py").write_text(PROGRAM.format(model=str(tiny_teacher_folder)))
    (tmp_path / "narrow.py").write_text(PROGRAM.format(model=str(tmp_path / "narrow_student")))
    (tmp_path / "broken.py").write_text("import sys\nsys.exit('no such teacher')\n")
    for module in (_environments, peers):
        monkeypatch.setattr(module, "prepare", prepare)
    monkeypatch.setattr(peers, "_RECIPES", tmp_path)
    monkeypatch.setattr(peers, "_PROGRAMS", tmp_path)
    monkeypatch.setattr(peers, "OWN", {"leaf_st": "leaf_mini.py"})
    names = ("same", "narrow", "broken")
    monkeypatch.setattr(peers, "PEERS", {name: peers.Peer(f"{name}.py", name) for name in names})
    monkeypatch.setattr(peers, "PIP", dict.fromkeys(names, ("theirs==1.0",)))
    for name in names:
        (tmp_path / "work" / name).mkdir(parents=True)
    monkeypatch.setattr(peers, "LEAST_QUERIES", 8)
    monkeypatch.setattr(peers, "ROUNDS", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return peers


def _do_not_time(peers, patch):
    """Do not time the queries, for which a new process imports the libraries."""
    patch.setattr(peers, "measure_one_core", lambda folders, queries: dict.fromkeys(folders, (1, {32: 1.0})))


@pytest.fixture
def untimed(peers, monkeypatch):
    _do_not_time(peers, monkeypatch)


@pytest.fixture
def compare(peers, monkeypatch, tmp_path, search_set):
    """Run the command, and return its exit code and the rows by name."""
    texts = save_texts(tmp_path / "texts.jsonl", 60)

    def compare():
        arguments = ["--texts", texts, "--data", search_set, "--minutes", 1.5, "--output", tmp_path / "out"]
        monkeypatch.setattr(sys, "argv", ["peers.py", *map(str, arguments), "--work", str(tmp_path / "work")])
        with pytest.raises(SystemExit) as ended:
            peers.main()
        rows = json.loads((tmp_path / "out" / "peers.json").read_text())
        return ended.value.code, {row["name"]: row for row in rows}

    return compare


def test_all_ways_train_once_and_the_table_says_what_is_missing(
    compare, tmp_path, tiny_teacher, capsys, peers, monkeypatch
):
    code, rows = compare()
    assert code == 1  # one way failed
    assert rows["same"]["retention"] == {"standard": pytest.approx(100), "asymmetric": pytest.approx(100)}
    assert rows["same"]["agreement"] == {"standard": 100, "asymmetric": 100}
    assert rows["same"]["parameters"] == sum(weight.numel() for weight in tiny_teacher.parameters())
    assert rows["leaf_st"]["trained"]["steps"] == 4
    assert rows["leaf_st"]["queries_per_second"] > 0
    assert set(rows["leaf_st"]["retention"]) == {"standard", "asymmetric"}
    assert rows["narrow"]["reasons"] == [
        "no asymmetric mode: the student's vectors have 16 dimensions, the teacher's 32"
    ]
    assert rows["broken"]["trained"] is None
    assert rows["broken"]["reasons"][0].endswith("exited with 1: no such teacher")
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "theirs 1.0" in line}
    times = ["1.5", "0.5", "0.0", "7"]  # minutes of training, of the teacher and in all; steps
    assert lines["same"].split()[3:7] == times
    assert lines["narrow"].split("%")[1].split()[0] == "-"  # asymmetric, after the retention in standard mode

    _do_not_time(peers, monkeypatch)
    (tmp_path / "broken.py").write_text((tmp_path / "same.py").read_text())
    code, rows = compare()
    assert code == 0
    assert rows["broken"]["retention"] == rows["same"]["retention"]
    calls = {path.name: path.read_text() for path in tmp_path.glob("*.calls")}
    assert calls == {"same.py.calls": "1.5 ", "narrow.py.calls": "1.5 ", "broken.py.calls": "1.5 "}


def test_the_programs_read_the_texts_that_leaf_st_trains_on_and_the_teachers_vectors(untimed, compare, tmp_path):
    compare()
    (given,) = (tmp_path / "out").glob("given-*")
    texts = [json.loads(line) for line in (given / "texts.jsonl").read_text().splitlines()]
    settings = json.loads((given / "settings.json").read_text())
    assert len(texts) == 54  # one in ten is held out
    assert {row["kind"] for row in texts} == {"query", "document"}
    assert settings["layers"] == [0, 2]
    teacher = SentenceTransformer(settings["teacher"], device="cpu")
    expected = teacher.encode([row["text"] for row in texts])
    np.testing.assert_allclose(np.load(given / "vectors.npy"), expected, atol=1e-3)


def test_scores_of_a_narrow_student_are_those_of_its_own_vectors(
    untimed, compare, narrow_student, tiny_teacher, search_set
):
    _, rows = compare()
    beir = load_beir(search_set)
    sides = {"student": vectors(narrow_student, beir), "teacher": vectors(tiny_teacher, beir)}
    scores = {name: queries @ documents.T for name, (queries, documents) in sides.items()}
    kept = 100 * ndcg_at_10(beir, scores["student"]) / ndcg_at_10(beir, scores["teacher"])
    assert rows["narrow"]["retention"] == {"standard": pytest.approx(kept)}
    nearest = {name: np.argsort(-of, axis=1)[:, :10] for name, of in scores.items()}
    shares = [len({*ours} & {*theirs}) / 10 for ours, theirs in zip(*nearest.values(), strict=True)]
    assert rows["narrow"]["agreement"] == {"standard": pytest.approx(100 * np.mean(shares))}


def test_a_student_that_is_wider_than_the_teacher_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import agreement_and_retention

    with pytest.raises(InputError, match="expected a student of at most 4 dimensions, as the teacher has, found 6"):
        agreement_and_retention._widened(np.ones((2, 6), np.float32), 4)


def test_every_program_is_a_peer_and_stands_alone(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import peers

    programs = {path.name: path.read_text() for path in (FOLDER / "peers").glob("*.py")}
    assert {peer.program for peer in peers.PEERS.values()} == programs.keys()
    assert not [name for name, text in programs.items() if "leaf_st" in text]
