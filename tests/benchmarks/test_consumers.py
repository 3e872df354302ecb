"""What `make consumers` says of others' vectors, without the environments that it installs."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
READER = "import json, os, sys\nfolder, texts, vectors = sys.argv[1:]\n"


@pytest.fixture
def consumers(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import consumers

    return consumers


@pytest.fixture
def environments(consumers):
    import _environments

    return _environments


@pytest.fixture
def expected():
    rng = np.random.default_rng(0)
    vectors = {"query": rng.normal(size=(3, 8)), "document": rng.normal(size=(4, 8))}
    return {kind: of / np.linalg.norm(of, axis=1, keepdims=True) for kind, of in vectors.items()}


@pytest.fixture
def consult(consumers, environments, expected, monkeypatch, tmp_path):
    """Run a program of these lines as a consumer would be, in this Python."""

    def consult(lines, **consumer):
        (tmp_path / "program.py").write_text(READER + lines)
        (tmp_path / "texts.json").write_text(json.dumps({"query": ["a", "b", "c"]}))
        (tmp_path / "here").mkdir()
        monkeypatch.setattr(consumers, "_PROGRAMS", tmp_path)
        monkeypatch.setattr(environments, "prepare", lambda name, work: [sys.executable, "-I"])
        made = consumers.Consumer("theirs", "program.py", "here", **consumer)
        return consumers.consult(made, tmp_path, consumers.Exercise(tmp_path / "texts.json", expected), tmp_path)

    return consult


def _changed(expected, kind, change):
    vectors = expected[kind].copy()
    vectors[-1, -1] += change
    return {"versions": {"theirs": "1.0"}, **expected, kind: vectors}


@pytest.mark.parametrize("kind", ["query", "document"])
def test_the_largest_difference_is_of_a_coordinate_of_either_kind(consumers, expected, kind):
    assert consumers.largest_difference(expected, expected) == 0
    assert consumers.largest_difference(expected, _changed(expected, kind, -0.25)) == pytest.approx(0.25)


def test_the_difference_is_a_share_of_long_vectors(consumers, expected):
    long = {kind: 20 * of for kind, of in expected.items()}
    assert consumers.largest_difference(long, _changed(long, "query", 0.5)) == pytest.approx(0.5 / 20)


def test_a_difference_up_to_the_limit_is_ok(consumers, expected):
    row = consumers.compare("theirs", expected, _changed(expected, "query", 0.9e-4))
    assert (row.result, row.compared, row.reason) == ("ok", 7, "")
    row = consumers.compare("theirs", expected, _changed(expected, "query", 1.1e-4))
    assert (row.result, row.reason) == ("failed", "differs by 1.1e-04, expected at most 1e-04")


def test_vectors_without_the_projection_have_another_shape(consumers, expected):
    found = {"versions": {}, **expected, "document": expected["document"][:, :5]}
    row = consumers.compare("theirs", expected, found)
    assert (row.result, row.difference) == ("failed", None)
    assert row.reason == "expected vectors of shape (4, 8) for document, found (4, 5)"


def test_what_is_not_a_number_is_not_near(consumers, expected):
    row = consumers.compare("theirs", expected, _changed(expected, "query", np.nan))
    assert (row.result, row.reason) == ("failed", "a vector of query is not finite")


def test_a_consumer_sees_its_environment_alone_and_no_network(consult, expected, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    vectors = {kind: of.tolist() for kind, of in expected.items()}
    row = consult(
        f"seen = os.environ.get('PYTHONPATH', 'none') + os.environ['HF_HUB_OFFLINE']\n"
        f"json.dump({{'versions': {{'seen': seen}}, **{vectors}}}, open(vectors, 'w'))"
    )
    assert (row.result, row.difference, row.versions) == ("ok", 0, {"seen": "none1"})


def test_a_consumer_that_ends_with_an_error_has_failed(consult):
    row = consult("sys.exit('no such model')")
    assert (row.result, row.compared) == ("failed", 0)
    assert row.reason.endswith("exited with 1: no such model")


def test_a_graph_that_is_not_there_is_not_read(consult, tmp_path):
    row = consult("sys.exit('not reached')", graph=True)
    reason = f"{tmp_path} has no onnx/model.onnx: run `leaf-st export {tmp_path}`"
    assert (row.result, row.reason) == ("skipped", reason)


def test_without_node_its_consumers_are_skipped(consumers, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    javascript = next(consumer for consumer in consumers.CONSUMERS if consumer.environment == "node")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    given = consumers.Exercise(tmp_path / "texts.json", expected)
    row = consumers.consult(javascript, tmp_path, given, tmp_path / "work")
    assert (row.result, row.reason) == ("skipped", "node not found: install Node.js 20 or later")
    assert not (tmp_path / "work" / "node").exists()


def test_an_environment_is_built_once_and_again_for_other_versions(environments, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(environments.venv, "create", lambda folder, **_: folder.mkdir())
    monkeypatch.setattr(environments, "call", lambda command, folder, offline: calls.append(command[-1]))
    for version in ("1", "1", "2"):
        monkeypatch.setitem(environments.PIP, "onnxruntime", (f"onnxruntime=={version}",))
        runner = environments.prepare("onnxruntime", tmp_path)
    assert calls == ["onnxruntime==1", "onnxruntime==2"]
    assert runner == [tmp_path / "onnxruntime" / "bin" / "python", "-I"]


def test_an_installation_that_failed_is_begun_again(environments, monkeypatch, tmp_path):
    monkeypatch.setattr(environments.venv, "create", lambda folder, **_: folder.mkdir())
    with pytest.raises((environments.Failed, OSError)):  # there is no Python in it
        environments.prepare("onnxruntime", tmp_path)
    monkeypatch.setattr(environments, "call", lambda *_, **__: None)
    environments.prepare("onnxruntime", tmp_path)
    assert (tmp_path / "onnxruntime" / "installed.txt").is_file()


def test_every_program_stands_alone(consumers, environments):
    programs = {path.name: path.read_text() for path in (FOLDER / "consumers").iterdir() if path.is_file()}
    assert {consumer.program for consumer in consumers.CONSUMERS} == set(programs)
    import peers
    import where_forms_run

    runtimes = {path.name for path in (FOLDER / "runtimes").iterdir() if path.is_file()}
    assert {runtime.program for runtime in where_forms_run.RUNTIMES} == runtimes
    used = {consumer.environment for consumer in consumers.CONSUMERS}
    used |= {runtime.environment for runtime in where_forms_run.RUNTIMES}
    used |= {peer.environment for peer in peers.PEERS.values()}
    assert used | {"integrations"} == {*environments.PIP, *environments.NPM}
    assert not [name for name, text in programs.items() if "leaf_st" in text]


def test_texts_are_of_both_kinds_and_one_is_longer_than_any_model_reads(consumers, tmp_path):
    path = tmp_path / "texts.parquet"
    table = {"text": ["what is\nit", "it is a thing", "it is no thing"], "kind": ["query", "document", "document"]}
    pq.write_table(pa.table(table), path)
    texts = consumers.texts_of(str(path))
    assert texts["query"] == ["what is it"]
    assert texts["document"][:2] == ["it is a thing", "it is no thing"]
    assert len(texts["document"][2].split()) > 500

    pq.write_table(pa.table({"text": ["alone"], "kind": ["query"]}), path)
    with pytest.raises(InputError, match="expected queries and documents, found no document"):
        consumers.texts_of(str(path))


def test_a_text_is_uncut_if_it_fits_into_the_model_with_its_prompt(consumers, tiny_teacher_folder):
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu", prompts={"query": "a ", "document": ""})
    model.max_seq_length = 5  # two of them open and close
    texts = {"query": ["a b", "a b c"], "document": ["a b c", "a b c d"]}
    assert consumers.uncut_texts(model, texts) == {"query": ["a b"], "document": ["a b c"]}
    with pytest.raises(InputError, match="found within 5 tokens no document"):
        consumers.uncut_texts(model, {"query": ["a"], "document": ["a b c d"]})


def test_a_model_is_read_with_its_prompts(consumers, environments, monkeypatch, capsys, tiny_teacher_folder, tmp_path):
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    model.prompts = {"query": "find: ", "document": ""}
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    pq.write_table(pa.table({"text": ["a", "b c"], "kind": ["query", "document"]}), tmp_path / "texts.parquet")
    monkeypatch.setattr(environments, "prepare", lambda name, work: [sys.executable, "-I"])
    monkeypatch.setattr(consumers, "CONSUMERS", consumers.CONSUMERS[:1])
    (tmp_path / "work" / "sentence-transformers").mkdir(parents=True)
    arguments = [tmp_path / "model", "--texts", tmp_path / "texts.parquet", "--work", tmp_path / "work"]
    monkeypatch.setattr(sys, "argv", ["consumers", *map(str, arguments)])

    with pytest.raises(SystemExit) as ended:
        consumers.main()
    assert ended.value.code == 0
    assert "  ok  " in capsys.readouterr().out

    vectors = {kind: model.encode([text]).tolist() for kind, text in (("query", "a"), ("document", "b c"))}
    (tmp_path / "unprompted.py").write_text(f"{READER}json.dump({{'versions': {{}}, **{vectors}}}, open(vectors, 'w'))")
    monkeypatch.setattr(consumers, "_PROGRAMS", tmp_path)
    unprompted = consumers.Consumer("unprompted", "unprompted.py", "sentence-transformers", uncut=True)
    monkeypatch.setattr(consumers, "CONSUMERS", [unprompted])
    with pytest.raises(SystemExit) as ended:
        consumers.main()
    assert ended.value.code == 1
    assert "unprompted: failed: differs by" in capsys.readouterr().out


def test_a_folder_without_a_model_is_refused(consumers, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["consumers", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        consumers.main()
    assert ended.value.code == 2
    assert "expected a model folder, found no modules.json" in capsys.readouterr().err
