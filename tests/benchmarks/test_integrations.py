"""The recipes for databases and frameworks, and what `make integrations` says of their measurements."""

import ast
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError

RECIPES = Path(__file__).parents[2] / "recipes"
SEARCH = RECIPES / "search"
PROGRAMS = {path.name: path.read_text(encoding="utf-8") for path in SEARCH.glob("with_*.py")}


@pytest.fixture
def integrations(monkeypatch):
    monkeypatch.syspath_prepend(RECIPES / "benchmarks")
    import integrations

    return integrations


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(SEARCH)
    import _example

    return _example


@pytest.fixture
def example(examples):
    """Forty documents with orthogonal vectors, and four queries that the last documents answer."""
    vectors = np.eye(40, dtype=np.float32)
    return examples.Example(
        documents=[str(place) for place in range(40)],
        vectors=vectors,
        queries=["36", "37", "38", "39"],
        teacher_queries=_tilted(vectors[36:]),
        relevant=[[36], [37], [38], [39]],
        student="",
        asymmetric="",
    )


def _tilted(vectors):
    """Return vectors that are nearest to their own document, and then to the documents 0, 1, 2 and so on."""
    return vectors + np.linspace(0.2, 0.1, vectors.shape[1], dtype=np.float32)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recipe_is_short_and_imports_only_clients_and_sentence_transformers(name):
    assert len(PROGRAMS[name].splitlines()) <= 60
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(ast.parse(PROGRAMS[name]))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "_example" in imported
    assert not imported & {"leaf_st", "torch", "transformers"}


def test_every_recipe_runs_in_make_integrations(integrations):
    databases = {database.program for database in integrations.DATABASES}
    frameworks = set(integrations.FRAMEWORKS.values())
    assert databases | frameworks == PROGRAMS.keys()


def test_a_framework_takes_at_most_15_lines(integrations):
    for name in integrations.FRAMEWORKS.values():
        _, *code, _ = ast.parse(PROGRAMS[name]).body  # between the docstring and the check
        lines = {line for part in code for line in range(part.lineno, part.end_lineno + 1)}
        assert len(lines) <= 15, name


def test_a_database_is_compared_with_exact_search_and_with_the_teacher(example, capsys):
    def encode(query):
        return _tilted(example.vectors[[20 if query == "39" else int(query)]])[0]

    example.check(encode, lambda vector: np.argsort(-(example.vectors @ vector))[:10], "numpy", server="1")
    printed = json.loads(capsys.readouterr().out)
    assert printed["versions"] == {"numpy": np.__version__, "server": "1"}
    assert (printed["exact"], printed["teacher"], printed["student"]) == (1.0, 1.0, 0.75)
    assert printed["same"] == pytest.approx((3 + 0.9) / 4)  # nine of the ten documents of query 39


def test_a_database_that_misses_documents_is_not_exact(example, capsys):
    def encode(query):
        return _tilted(example.vectors[[int(query)]])[0]

    example.check(encode, lambda vector: np.argsort(-(example.vectors @ vector))[5:15])
    assert json.loads(capsys.readouterr().out)["exact"] == 0.5


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"exact": 0.95, "teacher": 0.8, "student": 0.76}, ""),
        ({"exact": 1.0}, ""),
        ({"exact": 0.9}, "found 90.0% of what exact search finds, expected at least 95%"),
        (
            {"exact": 1.0, "teacher": 0.8, "student": 0.7},
            "student queries find 87.5% of what teacher queries find, expected at least 95%",
        ),
    ],
)
def test_a_recipe_fails_below_the_limits(integrations, measured, reason):
    assert integrations._problem(measured) == reason


def test_a_database_without_its_server_does_not_run(integrations, monkeypatch, tmp_path):
    monkeypatch.delenv("ELASTICSEARCH", raising=False)
    database = next(database for database in integrations.DATABASES if database.server)
    row = integrations.run_database(database, tmp_path, tmp_path)
    assert (row.result, row.reason) == ("not run", "set ELASTICSEARCH to the URL of a server")
    assert "Elasticsearch" in integrations.format_databases([row])


@pytest.fixture
def written(integrations, monkeypatch, trained, search_set, tmp_path):
    monkeypatch.setattr(integrations, "STATIC_ROWS", 16)
    integrations.write_example(trained.folder, search_set, tmp_path / "example")
    return tmp_path / "example"


@pytest.fixture
def sqlite_vec(examples, written, monkeypatch, capsys):
    """What the recipe for sqlite-vec prints."""
    monkeypatch.setattr(sys, "argv", ["with_sqlite_vec.py", str(written)])
    monkeypatch.setattr(examples.torch, "set_num_threads", lambda _: None)
    runpy.run_path(str(SEARCH / "with_sqlite_vec.py"))
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_sqlite_vec_finds_what_exact_search_finds(sqlite_vec):
    assert sqlite_vec["exact"] == 1.0
    assert 0 < sqlite_vec["student"] <= 1
    assert {"sqlite-vec", "SQLite"} == sqlite_vec["versions"].keys()


def test_the_example_has_the_set_and_documents_of_the_store_with_the_teachers_vectors(examples, written):
    texts = json.loads((written / "example.json").read_text())
    vectors = np.load(written / "vectors.npz")
    assert len(texts["documents"]) == len(vectors["vectors"]) > 20  # the set's 20, then the store's
    assert len(texts["queries"]) == len(texts["relevant"]) == len(vectors["teacher_queries"]) == 6
    for name in ("asymmetric", "asymmetric-static"):
        model = SentenceTransformer(str(written / name), device="cpu")
        np.testing.assert_allclose(model.encode_document(texts["documents"][:20]), vectors["vectors"][:20], atol=1e-5)
        assert not np.allclose(model.encode_query(texts["queries"]), vectors["teacher_queries"], atol=1e-3)


def test_a_folder_that_is_no_run_is_named(integrations, search_set, tmp_path):
    with pytest.raises(InputError, match="expected a run folder"):
        integrations.write_example(tmp_path, search_set, tmp_path / "example")
