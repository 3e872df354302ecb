import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import datasets
import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import together
import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

import leaf_st
from leaf_st.errors import InputError
from leaf_st.models.identity import identify
from leaf_st.models.load import load_model
from leaf_st.pipeline.given_texts import keep_texts
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.trainer import LeafTrainer

TEXTS = [f"a text, number {number}" for number in range(60)]
QUICK = {"max_steps": 2, "use_cpu": True, "save_steps": 1, "eval_steps": 1, "layers": (0, 2)}


def _kept(folder):
    return [row["text"] for row in pq.read_table(folder / "texts" / "given.parquet").to_pylist()]


@pytest.fixture(scope="module")
def distilled(tiny_teacher_folder, tmp_path_factory):
    """The folder of a finished call with `TEXTS`; tests must not change the folder."""
    folder = tmp_path_factory.mktemp("distilled") / "run"
    leaf_st.distill(TEXTS, tiny_teacher_folder, output=folder, **QUICK)
    return folder


@pytest.fixture
def run(distilled, tmp_path):
    """The folder of a finished call with `TEXTS`, which the test may change."""
    return shutil.copytree(distilled, tmp_path / "run")


def _stored(folder):
    store = EmbeddingStore(folder / "store")
    return store.texts(range(len(store)))


def test_a_list_of_strings_becomes_a_student_in_the_teacher_s_space(tiny_teacher_folder, tmp_path):
    student = leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path / "run", **QUICK)
    assert student.encode_query(["a text"]).shape == (1, 32)
    assert _kept(tmp_path / "run") == TEXTS
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["resolved"]["name"] == "run"
    assert record["arguments"]["max_steps"] == 2
    assert json.loads((tmp_path / "run" / "results" / "alignment.json").read_text())[0]["rows"] == 6
    plain = SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS[:3]), student.encode(TEXTS[:3]), atol=1e-5)


def test_callbacks_and_an_evaluator_see_the_training(tiny_teacher, tiny_teacher_folder, tmp_path, caplog):
    class Steps(TrainerCallback):
        seen = 0

        def on_step_end(self, *_, **__):
            self.seen += 1

    caplog.set_level("INFO", logger="leaf_st")
    steps, texts = Steps(), TEXTS[:4]
    evaluator = leaf_st.AlignmentEvaluator(texts, tiny_teacher.encode(texts))
    own = {"callbacks": [steps], "evaluator": evaluator}
    leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path / "run", **own, **QUICK)
    assert steps.seen == QUICK["max_steps"]
    rows = json.loads((tmp_path / "run" / "results" / "training.json").read_text())
    measured = [row for row in rows if "eval_l2" in row]
    assert [row["step"] for row in measured] == [1, 2]
    assert (
        "6 texts are held out for validation: at most one text in ten (training.held_out_rows is 4,096)" in caplog.text
    )
    assert re.search(r"the closed-form start of the student is fitted to \d\d texts", caplog.text)


def test_calls_from_several_threads_train_as_calls_alone(tiny_teacher_folder, tmp_path):
    def weights(name):
        student = leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path / name, **QUICK)
        return torch.cat([weight.detach().flatten() for weight in student.parameters()])

    alone = weights("alone")
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(weights, ("one", "other")))
    assert all(torch.equal(alone, found) for found in together)
    assert torch.get_default_dtype() is torch.float32


def test_an_evaluator_needs_a_training_in_one_process():
    with pytest.raises(InputError, match="evaluator: expected a training in one process, found 2 processes"):
        LeafTrainer(None, None, None, SimpleNamespace(world_size=2), evaluator=SimpleNamespace())


def test_the_same_call_resumes(tiny_teacher_folder, run):
    first = load_model(run / "model")
    shards = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    again = leaf_st.distill(iter(TEXTS), tiny_teacher_folder, output=run, **QUICK)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    made = {"recipe.json", "manifest.json"}  # written at each start
    assert {path for path, time in shards.items() if path.stat().st_mtime_ns != time and path.name not in made} == set()


def test_the_same_call_resumes_by_another_path_and_after_a_move(tiny_teacher_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = leaf_st.distill(TEXTS, tiny_teacher_folder, output="run", **QUICK)
    shutil.move("run", "moved")
    (shard,) = (tmp_path / "moved" / "store").glob("shard-*")
    written = shard.stat().st_mtime_ns
    for output in ("moved", tmp_path / "moved", "../" + tmp_path.name + "/moved"):
        again = leaf_st.distill(TEXTS, tiny_teacher_folder, output=output, **QUICK)
        np.testing.assert_allclose(again.encode("a text"), first.encode("a text"), atol=1e-5)
        record = json.loads((tmp_path / "moved" / "recipe.json").read_text())
        assert {record[key]["texts"]["source"] for key in ("recipe", "resolved")} == {f"{output}/texts/given.parquet"}
    assert shard.stat().st_mtime_ns == written


def test_a_finished_student_needs_no_store(tiny_teacher_folder, run, monkeypatch):
    first = load_model(run / "model")
    shutil.rmtree(run / "store")
    monkeypatch.setattr("leaf_st.pipeline.run.open_teacher", lambda *_: pytest.fail("the teacher was loaded"))
    again = leaf_st.distill(TEXTS, tiny_teacher_folder, output=run, **QUICK)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not (run / "store").exists()
    monkeypatch.undo()
    (run / "results" / "alignment.json").unlink()  # needs the vectors
    leaf_st.distill(TEXTS, tiny_teacher_folder, output=run, **QUICK)
    assert (run / "results" / "alignment.json").is_file()


@pytest.mark.parametrize("shape", [{}, {"layers": None, "static": True}], ids=["encoder", "static"])
def test_the_student_has_the_name_of_the_saved_one(tiny_teacher_folder, tmp_path, shape):
    student = leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path / "run", **{**QUICK, **shape})
    assert identify(student).name == "local/run"
    assert identify(student) == identify(load_model(tmp_path / "run" / "model"))
    assert not list((tmp_path / "run" / "model").rglob("README.md"))


@pytest.mark.parametrize("others", [TEXTS[:-1], [*TEXTS, "one more"], [*TEXTS[:-1], "another"]])
def test_other_texts_are_refused(tiny_teacher_folder, run, others):
    with pytest.raises(InputError, match=r"run is a run on other texts: expected .* at index (59|60), found"):
        leaf_st.distill(others, tiny_teacher_folder, output=run, **QUICK)


def test_a_data_set_with_kinds(tiny_teacher_folder, tmp_path):
    kinds = ["query", "document", None] * 20
    rows = datasets.Dataset.from_dict({"text": TEXTS, "kind": kinds, "id": list(range(60))})
    leaf_st.distill(rows, tiny_teacher_folder, output=tmp_path / "run", **QUICK)
    assert [row.kind for row in _stored(tmp_path / "run")] == ["query", "document", "document"] * 20


def test_a_column_of_a_table(tmp_path):
    keep_texts(pandas.DataFrame({"text": TEXTS})["text"], tmp_path / "run" / "texts" / "given.parquet")
    assert _kept(tmp_path / "run") == TEXTS


def test_mappings_and_a_stream(tiny_teacher_folder, tmp_path):
    rows = [{"text": text, "kind": "query"} for text in TEXTS]
    leaf_st.distill(rows, tiny_teacher_folder, output=tmp_path / "mappings", **QUICK)
    stream = datasets.Dataset.from_list(rows).to_iterable_dataset()
    leaf_st.distill(stream, tiny_teacher_folder, output=tmp_path / "stream", **QUICK)
    assert _stored(tmp_path / "stream") == _stored(tmp_path / "mappings")
    assert {row.kind for row in _stored(tmp_path / "stream")} == {"query"}


def _stream(rows):
    """Return a stream that does not know its columns, as that of a csv file."""
    stream = datasets.Dataset.from_list(rows).to_iterable_dataset().map(dict)
    assert stream.column_names is None
    return stream


def test_a_stream_of_unknown_columns_keeps_its_kinds(tmp_path):
    stream = _stream([{"id": n, "text": text, "kind": ("query", "document")[n % 2]} for n, text in enumerate(TEXTS)])
    for _ in range(2):  # written, then compared
        keep_texts(stream, tmp_path / "run" / "texts" / "given.parquet")
    kept = pq.read_table(tmp_path / "run" / "texts" / "given.parquet").to_pydict()
    assert kept == {"text": TEXTS, "kind": ["query", "document"] * 30}


def test_a_stream_of_unknown_columns_needs_the_columns(tmp_path):
    path = tmp_path / "given.parquet"
    with pytest.raises(InputError, match=r"^texts: expected a column 'text', found id, body: rename the column$"):
        keep_texts(_stream([{"id": 1, "body": "cats"}]), path)
    with pytest.raises(
        InputError, match=r"^texts: expected a column 'embedding', found id, text, vector: rename the column$"
    ):
        keep_texts(_stream([{"id": 1, "text": "cats", "vector": "[1, 2]"}]), path, "embedding")
    assert not path.exists()


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_path(tiny_teacher_folder, tmp_path, as_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    leaf_st.distill(as_path(tmp_path / "texts.txt"), tiny_teacher_folder, output=tmp_path / "run", **QUICK)
    assert [row.text for row in _stored(tmp_path / "run")] == TEXTS
    assert not (tmp_path / "run" / "texts").exists()


def test_layers_may_be_an_array(tiny_teacher_folder, tmp_path):
    for make in (np.array, torch.tensor):  # the second call finds the student of the first
        given = {**QUICK, "layers": make([0, 2])}
        student = leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path / "run", **given)
        assert len(student[0].model.encoder.layer) == 2
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["recipe"]["student"]["layers"] == [0, 2]


def test_texts_that_cannot_be_used_are_counted(tiny_teacher_folder, tmp_path, caplog):
    leaf_st.distill([None, "\ud800", " ", *TEXTS], tiny_teacher_folder, output=tmp_path / "run", **QUICK)
    assert EmbeddingStore(tmp_path / "run" / "store").skipped == {"without a text": 2, "empty": 1}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "60 texts are used; left out: 2 without a text, 1 empty" in warnings


def test_without_an_output_the_student_stays(tiny_teacher_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    student = leaf_st.distill(TEXTS, str(tiny_teacher_folder), **QUICK)
    assert list(tmp_path.iterdir()) == []
    student.save_pretrained(str(tmp_path / "mine"))
    np.testing.assert_allclose(SentenceTransformer(str(tmp_path / "mine")).encode("a"), student.encode("a"), atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "changes", "message"),
    [
        (TEXTS, {"layers": None}, "student: expected backbone, layers, vocabulary, static or start, found none"),
        (TEXTS, {"learning_rate": 0}, "learning_rate: expected a number above 0"),
        (TEXTS, {"learn_rate": 1e-4}, "learn_rate"),
        (TEXTS, {"minutes": -1}, r"training\.budget_minutes"),
        ([], {}, "texts: expected at least one text, found none"),
        (pandas.DataFrame({"text": TEXTS}), {}, r"found a DataFrame: pass one column, such as list\(frame\['text'\]\)"),
        (["a", 7], {}, "texts: expected strings, or mappings with 'text' and 'kind', found 7 at index 1"),
        ({"train": TEXTS}, {}, r"found dict: pass one of its parts"),
        (datasets.Dataset.from_dict({"body": TEXTS}), {}, "expected a column 'text', found body: rename the column"),
        ("none.txt", {}, r"none\.txt: no such file"),
        (
            [__file__, "a"],
            {},
            r"expected texts, found the name of a file, .*: pass the content of the files, or the path",
        ),
        ({*TEXTS}, {}, r"expected texts in a fixed order, found a set, .*: pass sorted\(texts\)"),
        (TEXTS, {"layers": 3}, r"layers: expected layer numbers such as \(0, 4, 5\), found a int: name each layer"),
        (TEXTS[:5], {}, "expected at least 10 texts, .* found 5"),
    ],
)
def test_input_that_cannot_be_used(tiny_teacher_folder, tmp_path, texts, changes, message):
    with pytest.raises(InputError, match=message):
        leaf_st.distill(texts, tiny_teacher_folder, output=tmp_path / "run", **{**QUICK, **changes})


def test_a_foreign_folder_is_left_alone(tiny_teacher_folder, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(
        InputError, match=r"expected a new folder, or the folder of a run with recipe\.json, found thesis\.txt and no"
    ):
        leaf_st.distill(TEXTS, tiny_teacher_folder, output=tmp_path, **QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("name", "value"), [("vocabulary", 50), ("start", "leaf-ir"), ("distance", "mse")])
def test_a_value_of_recipes_is_no_keyword(name, value, tiny_teacher_folder):
    with pytest.raises(InputError, match=rf"^{name}: expected a keyword of distill .*, found a value of recipes \("):
        leaf_st.distill(TEXTS, tiny_teacher_folder, **{name: value})


def test_names_of_other_tools_and_fields_of_a_teacher_lead_to_what_distill_takes(tiny_teacher_folder):
    for name, remedy in (
        ("batch_size", r"did you mean per_device_train_batch_size\?$"),
        ("trust_remote_code", r"pass TeacherSpec\(model=..., trust_remote_code=...\) as the teacher, or"),
        ("budget_minutes", "use the keyword minutes$"),
    ):
        with pytest.raises(InputError, match=rf"^{name}: .*{remedy}"):
            leaf_st.distill(TEXTS, tiny_teacher_folder, static=True, **{name: 5})


def test_several_processes_need_a_common_folder(tiny_teacher_folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="output: expected a run folder that all processes share"):
        leaf_st.distill(TEXTS, tiny_teacher_folder, **QUICK)


def _distil_twice(teacher, folder):
    for name in ("one", "other", "one"):
        leaf_st.distill(TEXTS, teacher, output=folder / name, per_device_train_batch_size=8, **QUICK)
        assert (folder / name / "results" / "alignment.json").is_file()  # for each process
    PartialState().wait_for_everyone()


def test_a_script_of_several_processes_distils_twice(tiny_teacher_folder, tmp_path):
    assert together.join(together.start(2, _distil_twice, tiny_teacher_folder, tmp_path)) == [0, 0]


def test_a_static_student_in_a_fresh_interpreter(tiny_teacher_folder, tmp_path):
    code = (
        "import leaf_st\n"
        "texts = (f'a text, number {number}' for number in range(60))\n"
        f"student = leaf_st.distill(texts, {str(tiny_teacher_folder)!r}, static=True, max_steps=2, use_cpu=True)\n"
        "print(student.encode('a text').shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(32,)"
    assert list(tmp_path.iterdir()) == []
