import json
import shlex
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.results import Result
from leaf_st.pipeline import demo as demo_module
from leaf_st.pipeline.demo import _peak_memory, demo, format_summary, held_out_functions, write_search_set
from leaf_st.texts.docstrings import Documented, docstring_texts, is_held_out
from leaf_st.texts.fold import text_id

BODY = "It comes after {} others\n\n    and before all that are younger."


def _function(n):
    body = BODY.format(n // 2 if n % 4 < 2 else -n)
    return f'def f{n}():\n    """Return leaf number {n} of the tree.\n\n    {body}\n    """\n'


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Return a folder of modules in which every docstring comes twice, and half of the bodies under two summaries."""
    root = tmp_path_factory.mktemp("packages")
    for module in range(20):
        first = module // 2 * 20
        (root / f"m{module}.py").write_text("".join(_function(n) for n in range(first, first + 20)))
    return [root]


def test_the_summary_is_a_table(tiny_teacher, tiny_student):
    rows = [
        Result("held_out", mode, "ndcg_at_10", score, "student", "teacher", 1.0, 10, 10)
        for mode, score in (("teacher", 80.0), ("standard", 60.0), ("asymmetric", 70.0))
    ]
    speeds = {"queries": {"teacher": 1234.4, "student": 2500}, "documents": {"teacher": 99.6, "student": 200}}
    models = {"teacher": tiny_teacher, "student": tiny_student}
    lines = [line.split("  ") for line in format_summary(models, speeds, rows).strip("\n").splitlines()]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        ["teacher", "student"],
        ["parameters", "0.1M", "0.0M"],
        ["queries encoded per second", "1,234", "2,500"],
        ["documents encoded per second", "100", "200"],
        ["nDCG@10, student for both (standard)", "80.0", "60.0"],
        ["nDCG@10, student for queries (asymmetric)", "80.0", "70.0"],
        ["retention, standard", "75.0%"],
        ["retention, asymmetric", "87.5%"],
    ]


@pytest.fixture
def tiny_demo(tiny_teacher_folder, monkeypatch):
    arguments = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "use_cpu": True}
    monkeypatch.setattr(demo_module, "MINILM", str(tiny_teacher_folder))
    monkeypatch.setattr(demo_module, "FUNCTIONS", 20)
    recipe = demo_module.recipe
    small = replace(
        recipe,
        texts=replace(recipe.texts, limit=200),
        teacher=replace(recipe.teacher, model=str(tiny_teacher_folder)),
        student=replace(recipe.student, layers=(0, 2), max_length=64),
        training=replace(recipe.training, held_out_rows=16, arguments=arguments),
    )
    monkeypatch.setattr(demo_module, "recipe", small)


def test_the_demo_ends_with_its_report(tiny_demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo(Path("leaf-demo"))
    written = capsys.readouterr().out
    page = Path("runs/leaf-demo/report/report.html")
    assert f"The report is {page}" in written
    assert "nDCG@10" in page.read_text(encoding="utf-8")
    assert SentenceTransformer("leaf-demo", device="cpu").encode("a text").shape == (32,)

    def missing():
        raise InputError("figures need matplotlib: pip install 'leaf-st[plots]'")

    monkeypatch.setattr("leaf_st.publishing.report.report.require_matplotlib", missing)
    demo(Path("leaf-demo"))  # the model of an earlier demo is replaced
    assert "No report page was written: figures need matplotlib" in capsys.readouterr().out


def test_the_peak_memory_is_left_out_where_python_does_not_have_it(monkeypatch):
    assert _peak_memory().startswith(", peak memory ")
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert _peak_memory() == ""


def test_the_next_commands_take_any_name_of_the_output():
    output = Path("Anna's demo")
    printed = demo_module._next_commands(output, output / "held_out", "").replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in printed.splitlines() if line.startswith("  ")]
    search, python, _ = lines
    assert search[search.index("--model") + 1] == "Anna's demo"
    assert search[search.index("--documents") + 1] == "Anna's demo/held_out/corpus.parquet"
    _, _, code = python
    assert 'S("Anna\'s demo").encode(' in code
    compile(code, "command", "exec")


def test_a_search_set_finds_the_body_by_the_summary(tmp_path):
    functions = [Documented("a.f", "Return a leaf.", "It fell."), Documented("a.g", "Return a tree.", "It stands.")]
    write_search_set(tmp_path / "held_out", iter(functions))
    beir = load_beir(tmp_path / "held_out")
    assert beir.queries == [{"id": "a.f", "text": "Return a leaf."}, {"id": "a.g", "text": "Return a tree."}]
    assert [row["text"] for row in beir.corpus] == ["It fell.", "It stands."]
    assert beir.qrels == {"a.f": {"a.f": 1}, "a.g": {"a.g": 1}}


def test_a_search_set_is_written_anew(tmp_path):
    for name in ("a.f", "a.g"):
        write_search_set(tmp_path / "held_out", iter([Documented(name, "Return a leaf.", "It fell.")]))
    assert [row["id"] for row in load_beir(tmp_path / "held_out").corpus] == ["a.g"]


def test_held_out_functions_have_nothing_that_was_trained_on(roots):
    trained = {text_id(text.text) for text in docstring_texts(roots)}
    found = list(held_out_functions(trained, roots))
    assert found
    assert all(is_held_out(function.summary) for function in found)
    assert not trained & {text_id(text) for function in found for text in (function.summary, function.body)}
    # Without the check of bodies there would be more: a body is shared by two functions.
    assert len(found) < len(list(held_out_functions(set(), roots)))


def test_held_out_functions_come_once(roots):
    found = list(held_out_functions(set(), roots))
    texts = [text for function in found for text in (function.summary, function.body)]
    assert len(texts) == len(set(texts))
    assert found == list(islice(held_out_functions(set(), roots), len(found)))


@pytest.mark.parametrize(
    "content",
    [{"notes.txt": "mine"}, {"recipe.json": "mine"}, {"recipe.json": json.dumps({"recipe": {}, "versions": {}})}],
)
def test_another_folder_is_refused_before_any_work(tmp_path, content):
    output = tmp_path / "output"
    output.mkdir()
    for name, text in content.items():
        (output / name).write_text(text)
    with pytest.raises(
        InputError, match="output: expected a new folder or the model of an earlier demo, found other files"
    ):
        demo(output)
    assert {path.name: path.read_text() for path in output.iterdir()} == content
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_file_is_refused_too(tmp_path):
    (tmp_path / "output").write_text("mine")
    with pytest.raises(InputError, match="output: expected a new folder"):
        demo(tmp_path / "output")


def test_an_earlier_model_in_a_repository_is_refused_before_any_work(tmp_path):
    (tmp_path / "output" / ".git").mkdir(parents=True)
    for name, text in (("recipe.json", '{"run": "runs/output"}'), ("modules.json", "[]")):
        (tmp_path / "output" / name).write_text(text)
    with pytest.raises(InputError, match=r"output: expected a folder with only a model, .* found \.git, which would"):
        demo(tmp_path / "output")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
