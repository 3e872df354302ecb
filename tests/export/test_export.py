import contextlib
import copy
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import serve
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Router
from tqdm import tqdm

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.measurements import export as measurement
from leaf_st.evaluation.measurements import export_sets
from leaf_st.evaluation.measurements.export import ExportRow, measure_export
from leaf_st.evaluation.rows import read_rows
from leaf_st.export import export as exporting
from leaf_st.export import forms
from leaf_st.export import onnx as standard
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.export import Ndcg, check_exportable, export_model
from leaf_st.export.forms import APPROXIMATE, EXACT, FORMS, GRAPH_FOLDER, ExportForm, get_form, recommended_form
from leaf_st.export.own import is_own
from leaf_st.export.packed import packed_graph, write_packed
from leaf_st.export.parity import Parity
from leaf_st.export.quantized import quantize
from leaf_st.models.intact import record_files
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.publishing.card.card import card_text
from leaf_st.publishing.card.hosted import read_hosted
from leaf_st.publishing.card.render import onnx_snippet
from leaf_st.recipe import Recipe, StudentSpec
from leaf_st.run_folder import RECIPE, read_record
from leaf_st.sealed import read_sealed
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static
from leaf_st.zoo import ZOO

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TEXTS = {
    "query": [f"what is number {number} of {'so ' * (number % 7)}many?" for number in range(40)],
    "document": [f"number {number} is " + "a word and " * (number % 9) for number in range(40)],
}
NAMES = {form.file.name for form in FORMS}
INT8 = get_form("onnx int8").file


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beir") / "tiny"
    folder.mkdir()
    rows = {"corpus": TEXTS["document"], "queries": TEXTS["query"]}
    for name, texts in rows.items():
        lines = [json.dumps({"_id": f"{number}", "text": text}) for number, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    judged = "".join(f"{number}\t{number}\t1\n" for number in range(40))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_teacher_folder, beir):
    """The model folder of a run after `leaf-st export`, its results, and the output of the command."""
    torch.manual_seed(0)
    prompts = {"query": "q: ", "document": ""}
    made = build_student(
        tiny_teacher_folder, dimension=48, normalized=True, layers=(0, 5), prompts=prompts, device="cpu"
    )
    folder = tmp_path_factory.mktemp("exported") / "model"
    save_portable(made, folder, {"name": "tiny"})
    recipe = Recipe(name="tiny", student=StudentSpec(layers=(0, 5))).to_dict()
    (folder.parent / "recipe.json").write_text(json.dumps({"recipe": recipe, "resolved": recipe}))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        results = folder.parent / "results"
        main(["export", str(folder), "--texts", str(beir), "--data", str(beir), "--output", str(results)])
    return folder, results, printed.getvalue()


def test_files_and_rows_of_an_export(exported):
    folder, results, printed = exported
    assert {path.name for path in (folder / "onnx").iterdir()} == NAMES
    rows = {row.backend: row for row in read_rows(results / "export.json", ExportRow)}
    backends = [backend for backend in rows if backend != "torch bfloat16"]
    assert backends == ["torch float32", *(form.name for form in FORMS)]
    assert all(min(row.rates.values()) > 0 and row.megabytes > 0 for row in rows.values())
    assert set(rows["onnx"].rates) == {"query 1", "query 16", "document 1", "document 16"}
    assert max(rows["onnx"].error, rows["onnx packed"].error) <= 1e-5
    assert 0.99 <= rows["onnx int8"].cosine < 0.99999
    assert rows["onnx int8"].kept >= 99
    assert rows["onnx int8"].megabytes == (folder / INT8).stat().st_size / 1e6
    assert rows["onnx int8"].megabytes < rows["onnx packed"].megabytes
    assert rows["onnx quantized"].megabytes < rows["onnx"].megabytes
    assert 0.99 <= rows["onnx quantized"].cosine < 0.99999
    assert (rows["onnx quantized"].sets, rows["onnx quantized"].sampled) == (["tiny"], False)
    assert rows["torch float32"].error is None
    assert "onnx/model_int8.onnx" in printed
    assert "onnx/model_quantized.onnx" in printed
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert {f"onnx/{name}" for name in NAMES} < read_record(folder)["file_checksums"].keys()


def test_files_encode_with_the_prompt(exported):
    folder, *_ = exported
    model = load_model(str(folder))
    for form in FORMS:
        encode = OnnxEncoder(folder / form.file, model)
        expected = model.encode_query(TEXTS["query"])
        cosines = (encode("query", TEXTS["query"]) * expected).sum(axis=1)
        assert cosines.mean() > (0.999999 if form.limits.exact else 0.99)


def test_the_quantized_form_has_standard_operators_and_reads_padding(exported):
    graphs = {name: onnx.load(path) for name, path in forms.exported_files(exported[0]).items()}
    domains = {name: {node.domain for node in graph.graph.node} for name, graph in graphs.items()}
    assert domains["onnx quantized"] == {""}
    assert domains["onnx int8"] == {"", "com.microsoft"}
    assert {opset.domain for opset in graphs["onnx quantized"].opset_import} == {""}
    session = onnxruntime.InferenceSession(graphs["onnx quantized"].SerializeToString())
    alone, padded = np.array([[5, 6, 7]]), np.array([[5, 6, 7, 0, 0]])
    one, two = (
        session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        for ids, mask in ((alone, np.ones_like(alone)), (padded, np.array([[1, 1, 1, 0, 0]])))
    )
    # The activations of the batch, padding included, share one scale, so the vectors differ a little.
    assert (one * two).sum() > 0.999


def _replace_form(monkeypatch, name, **changes):
    """Change the entry ``name`` in the tuple of forms."""
    changed = tuple(replace(form, **changes) if form.name == name else form for form in forms.FORMS)
    for module in (exporting, forms):
        monkeypatch.setattr(module, "FORMS", changed)


def test_a_form_outside_its_limits_is_not_written_and_its_old_file_is_deleted(
    exported, quick_graph, tmp_path, capfd, beir
):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    student = load_model(str(folder))
    with torch.no_grad():  # a huge coordinate without effect, which leaves int8 no resolution for the others
        for layer in student.transformers_model.encoder.layer:
            layer.intermediate.dense.bias[0] = 1000
            layer.output.dense.weight[:, 0] = 0
    save_portable(student, tmp_path / "other")
    shutil.copytree(folder / "onnx", tmp_path / "other" / "onnx")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "other"), "--texts", str(beir), "--output", str(tmp_path / "results")])
    assert ended.value.code == 2
    assert "model_int8.onnx has a mean cosine of 0." in capfd.readouterr().err
    left = {path.name for path in (tmp_path / "other" / "onnx").iterdir()}
    assert left == NAMES - {"model_int8.onnx", "model_quantized.onnx"}
    assert (tmp_path / "other" / FORMS[0].file).read_bytes() != (folder / FORMS[0].file).read_bytes()
    rows = read_rows(tmp_path / "results" / "export.json", ExportRow)
    assert {"onnx int8", "onnx quantized"}.isdisjoint(row.backend for row in rows)


def test_an_interrupted_export_changes_nothing(exported, quick_graph, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    (folder / ".onnx.new").mkdir()  # left by an export that was killed
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def broken(*_):
        raise KeyboardInterrupt

    _replace_form(monkeypatch, "onnx int8", make=broken)
    with pytest.raises(KeyboardInterrupt):
        export_model(load_model(str(folder)), folder, TEXTS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (folder / ".onnx.new").exists()


def test_files_of_another_program_are_neither_replaced_nor_deleted(exported, tmp_path, beir, capfd, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    (folder / RECIPE).unlink()  # a copy of a model on the hub has no record
    (folder / INT8).write_bytes(b"a graph of another program")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    _replace_form(monkeypatch, "onnx int8", supports=lambda model: False)
    refused = f"{folder / INT8}: expected no file, or one with the mark of leaf-st export, found one "
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder), "--texts", str(beir), "--data", str(beir), "--output", str(tmp_path / "results")])
    assert ended.value.code == 2
    assert refused in capfd.readouterr().err
    with pytest.raises(InputError, match=re.escape(refused)):
        export_model(load_model(str(folder)), folder, TEXTS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_graph_of_an_export_is_known_without_a_record_until_it_is_changed(exported, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    (folder / RECIPE).unlink()
    for form in FORMS:
        graph = folder / form.file
        assert is_own(folder, graph)
        assert "leaf_st" in {entry.key for entry in onnx.load(graph).metadata_props}
        content = bytearray(graph.read_bytes())
        for changed in (content[:-1], content + b"\0", content[:99] + bytes([content[99] ^ 1]) + content[100:], b""):
            graph.write_bytes(changed)
            assert not is_own(folder, graph)


def test_a_graph_of_an_earlier_version_is_known_by_the_record(tiny_student, tmp_path):
    save_portable(tiny_student, tmp_path, {"name": "tiny"})
    graph = tmp_path / INT8
    graph.parent.mkdir()
    graph.write_bytes(b"a graph without a mark")
    assert not is_own(tmp_path, graph)
    record_files(tmp_path, [INT8])
    assert is_own(tmp_path, graph)


def test_a_model_of_the_hub_is_exported_without_its_graphs_of_another_program(
    published, quick_graph, beir, connect_to, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    hub_id = ZOO["leaf-ir"].hub_id
    graphs = published[hub_id] / GRAPH_FOLDER
    graphs.mkdir()
    for name in ("model.onnx", "model_O4.onnx"):
        (graphs / name).write_bytes(b"a graph of another program")
    for name in ("onnx int8", "onnx quantized"):  # whose limits an untrained student may exceed
        _replace_form(monkeypatch, name, supports=lambda model: False)
    with serve(published) as hub:
        connect_to(hub.url)
        main(["export", hub_id, "--texts", str(beir), "--data", str(beir)])
    made = {path.name for path in (tmp_path / hub_id.rpartition("/")[2] / GRAPH_FOLDER).iterdir()}
    assert made == {"model.onnx", "model_packed.onnx"}


def test_a_float32_graph_that_differs_is_rejected(exported, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    model = load_model(str(folder))

    def other(_):
        student = load_model(str(folder))
        with torch.no_grad():
            student[2].linear.weight[0, 0] += 0.1
        return packed_graph(student)

    monkeypatch.setattr(standard, "standard_graph", other)
    rows, wrong = measure_export(model, folder, TEXTS)
    assert [row.backend for row in rows][-3:] == ["onnx packed", "onnx int8", "onnx quantized"]
    assert len(wrong) == 1
    assert wrong[0].startswith("model.onnx differs by ")
    assert not (folder / FORMS[0].file).exists()


def test_another_architecture_has_no_packed_form(exported, quick_graph, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    _replace_form(monkeypatch, "onnx packed", supports=lambda model: False)
    _replace_form(monkeypatch, "onnx int8", supports=lambda model: False)
    rows, wrong = measure_export(load_model(str(folder)), folder, TEXTS)
    assert not wrong
    made = [row.backend for row in rows if row.backend.startswith("onnx")]
    assert made == ["onnx", "onnx quantized"]
    assert recommended_form(made).name == "onnx quantized"
    assert {path.name for path in (folder / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}


def test_a_new_form_is_one_entry(exported, quick_graph, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    read = []

    def encoder(path, model):
        read.append(path.name)
        return OnnxEncoder(path, model)

    new = ExportForm("onnx new", GRAPH_FOLDER / "model_new.onnx", write_packed, EXACT, encoder=encoder)
    for module in (exporting, forms):
        monkeypatch.setattr(module, "FORMS", (*FORMS, new))
    rows, wrong = measure_export(load_model(str(folder)), folder, TEXTS)
    assert not wrong
    assert (rows[-1].backend, rows[-1].file) == ("onnx new", "onnx/model_new.onnx")
    assert rows[-1].error <= 1e-5
    assert "onnx new" in read_hosted(folder, "us/tiny").graphs
    assert forms.exported_files(folder)["onnx new"] == folder / new.file
    assert read == ["model_new.onnx"] * 2  # compared with torch, and timed


def test_quantized_forms_are_searched_beside_an_exact_form(exported, quick_graph, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    scores, searched = iter((50.0, 49.25, 49.75)), []

    def ndcg(form):
        searched.append(form("query", TEXTS["query"]))
        return next(scores)

    made = export_model(load_model(str(folder)), folder, TEXTS, ndcg=Ndcg(ndcg))
    results = {result.form.name: result for result in made}
    assert [result.ndcg_kept for result in results.values()] == [None, None, 98.5, 99.5]
    expected = "model_int8.onnx keeps 98.5 % of the nDCG@10 of float32, expected at least 99.0 %"
    assert [result.problem for result in results.values()] == [None, None, expected, None]
    assert not (folder / INT8).exists()
    assert (folder / get_form("onnx quantized").file).exists()
    expected = load_model(str(folder)).encode_query(TEXTS["query"])
    assert searched[0] == pytest.approx(expected, abs=1e-5)
    assert all(vectors != pytest.approx(expected, abs=1e-5) for vectors in searched[1:])


def test_a_sample_has_a_lower_limit_on_ndcg():
    close = Parity(error=0.1, cosine=0.995)
    assert APPROXIMATE.violation(close, 97.5, 2.0) is None
    assert "keeps 96.9 % of the nDCG@10 of float32, expected at least 97.0 %" in APPROXIMATE.violation(close, 96.9, 2.0)
    assert "expected at least 99.0 %" in APPROXIMATE.violation(close, 97.5)


def test_a_graph_whose_products_saturate_is_not_written(exported, quick_graph, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)

    _replace_form(monkeypatch, "onnx int8", make=lambda _, path, source: quantize(source, path, seven_bits=False))
    problems = [result.problem for result in export_model(load_model(str(folder)), folder, TEXTS)]
    expected = (
        "model_int8.onnx has int8 weights up to 127, expected at most 64: products saturate on processors without"
    )
    assert [problem and problem.startswith(expected) for problem in problems] == [None, None, True, None]
    assert not (folder / INT8).exists()


def test_long_steps_of_an_export_have_a_progress_bar(exported, quick_graph, tmp_path, monkeypatch, capsys, beir):
    monkeypatch.setattr("tqdm.tqdm.__init__", partialmethod(tqdm.__init__, mininterval=0, delay=0))
    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    measure_export(load_model(str(folder)), folder, TEXTS, [load_beir(beir)])
    shown = capsys.readouterr().err
    for bar in ("making graphs", "comparing with torch", "searching", "latency"):
        assert f"{bar}: 100%" in shown


def test_models_that_cannot_be_exported(tiny_teacher_folder, tiny_student, monkeypatch):
    with pytest.raises(InputError, match="a static student has nothing to export"):
        check_exportable(build_static(tiny_teacher_folder, dimension=32, normalized=True, device="cpu"))
    heads = Router.for_query_document(query_modules=[Dense(32, 32)], document_modules=[Dense(32, 32)])
    with pytest.raises(InputError, match="a graph does not know the kind of its text, found a Router"):
        check_exportable(SentenceTransformer(modules=[*tiny_student, heads], device="cpu"))
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"ONNX graphs need onnxscript: pip install 'leaf-st\[onnx\]'"):
        check_exportable(tiny_student)


def test_a_model_that_is_too_large_for_a_file_is_refused_before_the_work(tiny_student, monkeypatch):
    assert exporting._MOST_BYTES == onnx.checker.MAXIMUM_PROTOBUF
    count = sum(weight.numel() for weight in tiny_student.parameters())
    monkeypatch.setattr(exporting, "_MOST_BYTES", 4 * count)
    check_exportable(tiny_student)
    monkeypatch.setattr(exporting, "_MOST_BYTES", 4 * count - 1)
    with pytest.raises(
        InputError, match=rf"^export: expected at most {count - 1:,} parameters, .* 2 GB, found {count:,}"
    ):
        check_exportable(tiny_student)


def test_inputs_that_cannot_be_timed_stop_the_export(tiny_student, tmp_path):
    texts = {side: [f"text {number}" for number in range(16)] for side in ("query", "document")}
    with pytest.raises(InputError, match="expected at least 16 texts of kind query to time a batch, found 3"):
        measure_export(tiny_student, tmp_path, {**texts, "query": texts["query"][:3]})
    broken = copy.deepcopy(tiny_student)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="returns NaN or infinite numbers for 2 of 2 texts"):
        measure_export(broken, tmp_path, texts)
    assert not list(tmp_path.iterdir())


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "sentence_transformers", "leaf_st"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
"""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_snippet_runs_without_torch(exported, tmp_path, form):
    folder, *_ = exported
    model = load_model(str(folder))
    code = onnx_snippet(str(folder), model.prompts, model.max_seq_length, form.name)
    compile(code, "snippet", "exec")
    shown = "print(repr(queries.tolist()), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}\n{code}\n{shown}"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    (query,) = np.array(json.loads(done.stderr.splitlines()[-1]))
    expected = model.encode_query("what is a student?")
    assert query @ expected > (0.999999 if form.limits.exact else 0.98)
    assert len(code.strip().splitlines()) <= 20
    assert done.stdout.startswith("[[")


@pytest.fixture
def bare(tmp_path):
    """A folder with the packages that the snippet imports, and no others."""
    packages, installed = tmp_path / "packages", Path(np.__file__).parents[1]
    packages.mkdir()
    for name in ("numpy", "numpy.libs", "onnxruntime", "tokenizers"):
        if (installed / name).exists():
            (packages / name).symlink_to(installed / name)
    return packages


def test_the_snippet_on_a_card_runs_unchanged_without_torch(exported, bare, tmp_path):
    folder, *_ = exported
    run = shutil.copytree(folder.parent, tmp_path / "run")
    card = card_text(run, "us/tiny", without_results=True)
    assert "`hf download us/tiny --local-dir tiny`" in card
    assert 'const name = "us/tiny";' in card
    assert "removes the closing token of a text that has more than 64 tokens" in card
    assert "| onnx int8 | onnx/model_int8.onnx |" in card
    (snippet,) = (block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "onnxruntime" in block)
    (run / "model").rename(tmp_path / "tiny")
    head = f"import sys; sys.path.append({str(bare)!r})\n"
    tail = "\nfrom importlib.util import find_spec\nassert not find_spec('torch')\nprint(queries.tolist())"
    command = [sys.executable, "-I", "-S", "-c", head + snippet + tail]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (query,) = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert query @ load_model(str(folder)).encode_query("what is a student?") > 0.98


def test_without_data_a_sample_of_the_recipe_s_sets_is_searched(exported, quick_graph, tmp_path, beir, monkeypatch):
    monkeypatch.setattr(export_sets, "SAMPLED", 39)  # of 40
    run = shutil.copytree(exported[0].parent, tmp_path / "run")
    recipe = Recipe(name="tiny", student=StudentSpec(layers=(0, 5)), evaluate_on=(str(beir),)).to_dict()
    save_portable(load_model(str(exported[0])), run / "model", {"recipe": recipe, "resolved": recipe})
    main(["export", str(run / "model"), "--texts", str(beir), "--output", str(tmp_path / "results")])
    rows = {row.backend: row for row in read_rows(tmp_path / "results" / "export.json", ExportRow)}
    assert (rows["onnx int8"].sets, rows["onnx int8"].sampled) == (["tiny"], True)
    assert rows["onnx int8"].kept is not None
    assert rows["onnx int8"].kept >= 99
    assert "--data" not in measurement.EXPORT.words(list(rows.values()))
    assert "on a sample of tiny" in measurement.EXPORT.section(list(rows.values())).text[0]


def test_rows_survive_json(exported):
    _, results, _ = exported
    rows = read_rows(results / "export.json", ExportRow)
    assert [asdict(row) for row in rows] == read_sealed(results / "export.json")
