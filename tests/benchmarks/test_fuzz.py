"""The campaign of malformed files: a small one passes, and each kind of failure is seen."""

import random
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
FILES = 10


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import fuzz

        for name in ("HOME", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"):
            patch.setenv(name, "")  # restores the value afterwards
        fuzz.isolate(tmp_path_factory.mktemp("fuzz") / "home")
        yield fuzz


@pytest.fixture(scope="module")
def valid(fuzz, tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    fuzz.make_valid(folder)
    return folder


def test_malformed_files_and_generated_rows_end_in_one_line_or_a_result(fuzz, valid, tmp_path, monkeypatch):
    # What needs a model's process of its own, or a graph, takes seconds.
    quick = {
        path: [command for command in commands if command.split()[0] in ("card", "report", "embed", "search", "run")]
        for path, commands in fuzz.TARGETS.items()
    }
    monkeypatch.setattr(fuzz, "TARGETS", {path: commands for path, commands in quick.items() if commands})
    ends, failed = fuzz.campaign(valid, tmp_path, seed=7, cases=range(FILES), rows=100, minutes=1)
    assert failed == {}
    assert ends.pop("100 generated rows") == 1
    assert ends.keys() <= {"exit code 0", "exit code 2"}
    assert ends.total() == FILES
    assert ends["exit code 2"] > 1
    assert {path.name for path in tmp_path.iterdir()} == {"tmp"}


def test_a_case_depends_only_on_its_seed_and_number(fuzz, valid, tmp_path):
    cases = [fuzz.make_case(valid, tmp_path / name, 3, number) for name, number in (("a", 1), ("b", 1), ("c", 2))]
    assert cases[0] == cases[1] != cases[2]
    damaged = [tmp_path / name / cases[0].path for name in ("a", "b")]
    assert damaged[0].read_bytes() == damaged[1].read_bytes() != (valid / cases[0].path).read_bytes()


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, None),
        ({"code": 0, "stderr": ""}, None),
        ({"code": None}, "no end within"),
        ({"code": 1}, "exit code 1"),
        ({"code": -9}, "exit code -9"),
        ({"code": 0, "stderr": "Traceback (most recent call last)\nKeyError: 1"}, "traceback: KeyError: 1"),
        ({"stderr": ""}, "0 lines"),
        ({"stderr": "leaf-st: one\nleaf-st: two\n"}, "2 lines"),
        ({"stderr": "leaf-st: \x1b[31m\n"}, "control characters"),
        ({"megabytes": 1001.0}, "1001 MB"),
    ],
)
def test_each_wrong_end_is_seen(fuzz, changed, found):
    end = {"code": 2, "stdout": "", "stderr": "leaf-st: expected one\n", "megabytes": 500.0, "seconds": 1.0, **changed}
    assert (fuzz.problem(fuzz._forked.Outcome(**end), "card") or "").startswith(found or "")
    assert (fuzz.problem(fuzz._forked.Outcome(**end), "card") is None) is (found is None)


def test_a_file_outside_the_named_folders_is_seen(fuzz, valid, tmp_path):
    home = tmp_path / "home"
    for folder in (home, tmp_path / "case"):
        folder.mkdir()
    (tmp_path / "case" / "evil.py").write_text("from pathlib import Path\nPath('stray').touch()\n")
    outcome, found = fuzz.check(["run", "evil.py", "--dry-run"], tmp_path / "case", home)
    assert outcome.code == 2
    assert found == f"wrote {tmp_path / 'case' / 'stray'}"


def test_lost_and_invented_texts_are_seen(fuzz):
    class Store(list):
        def texts(self, rows):
            from leaf_st.texts import Text

            return [Text(self[row], "query") for row in rows]

    rows = [{"text": " kept ", "kind": "query"}, {"text": "lost"}, {"text": None}, {"text": "bad kind", "kind": 1}]
    assert fuzz.lost_texts(rows, Store(["kept", "invented"])) == ["invented", "lost"]
    rows = fuzz.generate_rows(random.Random(1), 500)
    usable = [row["text"] for row in rows if isinstance(row.get("text"), str)]
    assert len(usable) > 300
    assert len(usable) < 500
