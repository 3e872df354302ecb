"""The recipes for databases and frameworks, and what `make integrations` says of their measurements."""

import ast
import json
import runpy
import sys
from pathlib import Path
from unittest.mock import MagicMock

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
def program(monkeypatch):
    monkeypatch.syspath_prepend(RECIPES / "benchmarks")
    import _search_recipe

    return _search_recipe


def _tilted(vectors):
    """Return vectors that are nearest to their own document, and then to the documents 0, 1, 2 and so on."""
    return vectors + np.linspace(0.2, 0.1, vectors.shape[1], dtype=np.float32)


def _imported(statement):
    """Return the packages that a statement imports."""
    if isinstance(statement, ast.ImportFrom):
        return {statement.module.partition(".")[0]}
    return {name.name.partition(".")[0] for name in statement.names} if isinstance(statement, ast.Import) else set()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recipe_is_one_short_file_that_needs_no_other(name):
    assert len(PROGRAMS[name].splitlines()) <= 60
    imported = set().union(*map(_imported, ast.walk(ast.parse(PROGRAMS[name]))))
    assert not imported & {"leaf_st", "torch", "transformers", *(path.stem for path in SEARCH.iterdir())}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recipe_installs_the_package_that_loads_its_models(name):
    (install,) = (line for line in PROGRAMS[name].splitlines() if line.startswith("Install:"))
    assert "sentence-transformers" in install  # langchain-huggingface does not require it


def test_every_recipe_runs_in_make_integrations(integrations):
    databases = {database.program for database in integrations.DATABASES}
    frameworks = {program for program, _ in integrations.FRAMEWORKS.values()}
    assert databases | frameworks == PROGRAMS.keys()


def test_a_framework_takes_at_most_15_lines(integrations):
    for name, _ in integrations.FRAMEWORKS.values():
        _, *body, _ = ast.parse(PROGRAMS[name]).body  # between the docstring and the lines that print
        code = [statement for statement in body if not _imported(statement) & sys.stdlib_module_names]
        lines = {line for statement in code for line in range(statement.lineno, statement.end_lineno + 1)}
        assert len(lines) <= 15, name


# Forty documents with orthogonal vectors, and four queries that the last documents answer.
DOCUMENTS = np.eye(40, dtype=np.float32)
QUERIES = ["36", "37", "38", "39"]


def test_a_database_is_compared_with_exact_search_and_with_the_teacher(program):
    def encode(query):
        return _tilted(DOCUMENTS[[20 if query == "39" else int(query)]])[0]

    def search(vector):
        return np.argsort(-(DOCUMENTS @ vector))[:10].tolist()

    teacher = _tilted(DOCUMENTS[36:])
    found = program.compare(encode, search, QUERIES, [[36], [37], [38], [39]], teacher, DOCUMENTS)
    assert (found["exact"], found["teacher"], found["student"]) == (1.0, 1.0, 0.75)
    assert found["same"] == pytest.approx((3 + 0.9) / 4)  # nine of the ten documents of query 39


def test_a_database_that_misses_documents_is_not_exact(program):
    def search(vector):
        return np.argsort(-(DOCUMENTS @ vector))[5:15].tolist()

    vectors = _tilted(DOCUMENTS[36:])
    found = program.compare(lambda query: vectors[int(query) - 36], search, QUERIES, [[0]] * 4, vectors, DOCUMENTS)
    assert found["exact"] == 0.5


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


def test_sqlite_vec_finds_what_exact_search_finds(program, written, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])  # the program sets the arguments of the recipe
    found = program.measure_database(SEARCH / "with_sqlite_vec.py", written / "student", written)
    assert found["exact"] == 1.0
    assert 0 < found["student"] <= 1
    assert found["versions"].keys() == {"SQLite"}


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_sqlite_vec_takes_vectors_of_every_precision(dtype, tiny_student, monkeypatch, tmp_path):
    tiny_student.save_pretrained(str(tmp_path / "student"), create_model_card=False)
    (tmp_path / "documents.json").write_text(json.dumps([f"text {number}" for number in range(12)]))
    vectors = np.eye(12, 32, dtype=np.float32)
    np.save(tmp_path / "vectors.npy", vectors.astype(dtype))
    arguments = [str(tmp_path / name) for name in ("student", "documents.json", "vectors.npy")]
    monkeypatch.setattr(sys, "argv", ["with_sqlite_vec.py", *arguments])
    search = runpy.run_path(str(SEARCH / "with_sqlite_vec.py"))["search"]
    assert [search(vector)[0] for vector in vectors] == [*range(12)]


@pytest.mark.parametrize(
    ("width", "index", "order"),
    [
        (2000, "((embedding::vector(2000)) vector_cosine_ops)", "(embedding::vector(2000)) <=> %s::vector "),
        (2001, "((embedding::halfvec(2001)) halfvec_cosine_ops)", "(embedding::halfvec(2001)) <=> %s::halfvec "),
        (4000, "((embedding::halfvec(4000)) halfvec_cosine_ops)", "(embedding::halfvec(4000)) <=> %s::halfvec "),
        (4001, None, "(embedding::vector(4001)) <=> %s::vector "),
    ],
)
def test_pgvector_indexes_as_many_dimensions_as_it_can(width, index, order, tiny_student, monkeypatch, tmp_path):
    database = MagicMock()
    for name in ("psycopg", "pgvector", "pgvector.psycopg"):
        monkeypatch.setitem(sys.modules, name, MagicMock(connect=lambda *_, **__: database))
    monkeypatch.setenv("POSTGRES", "postgresql://localhost/postgres")
    tiny_student.save_pretrained(str(tmp_path / "student"), create_model_card=False)
    (tmp_path / "documents.json").write_text(json.dumps(["a text"]))
    np.save(tmp_path / "vectors.npy", np.ones((1, width)))
    arguments = [str(tmp_path / name) for name in ("student", "documents.json", "vectors.npy")]
    monkeypatch.setattr(sys, "argv", ["with_pgvector.py", *arguments])
    recipe = runpy.run_path(str(SEARCH / "with_pgvector.py"))
    recipe["folder"].cleanup()
    recipe["search"](np.ones(width, np.float32))
    statements = [call.args[0] for call in database.execute.call_args_list]
    made = [statement.partition("hnsw ")[2] for statement in statements if statement.startswith("CREATE INDEX")]
    assert made == ([] if index is None else [index])
    assert f"ORDER BY {order}LIMIT 10" in statements[-1]


def test_every_recipe_for_a_database_checks_the_similarity(integrations):
    for database in integrations.DATABASES:
        assert 'if student.similarity_fn_name != "cosine" and not np.allclose(' in PROGRAMS[database.program]


@pytest.mark.parametrize(("similarity", "norm"), [("cosine", 1), ("dot", 1), ("cosine", 3), ("dot", 3)])
def test_sqlite_vec_searches_by_cosine_only(similarity, norm, tiny_student, monkeypatch, tmp_path):
    tiny_student.similarity_fn_name = similarity
    tiny_student.save_pretrained(str(tmp_path / "student"), create_model_card=False)
    (tmp_path / "documents.json").write_text(json.dumps([f"text {number}" for number in range(12)]))
    np.save(tmp_path / "vectors.npy", norm * np.eye(12, 32, dtype=np.float32))
    arguments = [str(tmp_path / name) for name in ("student", "documents.json", "vectors.npy")]
    monkeypatch.setattr(sys, "argv", ["with_sqlite_vec.py", *arguments])
    if (similarity, norm) == ("dot", 3):
        with pytest.raises(SystemExit, match=r"expected cosine or vectors of norm 1, found dot: change index"):
            runpy.run_path(str(SEARCH / "with_sqlite_vec.py"))
    else:
        assert len(runpy.run_path(str(SEARCH / "with_sqlite_vec.py"))["search"](np.ones(32, np.float32))) == 10


def test_a_recipe_prints_documents_for_a_query(written, monkeypatch, capsys):
    arguments = [str(written / name) for name in ("student", "documents.json", "vectors.npy")]
    query, *_ = json.loads((written / "queries.json").read_text())["queries"]
    monkeypatch.setattr(sys, "argv", ["with_sqlite_vec.py", *arguments, query])
    runpy.run_path(str(SEARCH / "with_sqlite_vec.py"), run_name="__main__")
    documents = json.loads((written / "documents.json").read_text())
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10
    assert {line.removeprefix("- ") for line in printed} <= set(documents)


def test_the_example_has_the_set_and_documents_of_the_store_with_the_teachers_vectors(written):
    documents, asked = (json.loads((written / f"{name}.json").read_text()) for name in ("documents", "queries"))
    vectors, teacher_queries = (np.load(written / f"{name}.npy") for name in ("vectors", "teacher_queries"))
    assert len(documents) == len(vectors) > 20  # the set's 20, then the store's
    assert len(asked["queries"]) == len(asked["relevant"]) == len(teacher_queries) == 6
    for name in ("asymmetric", "asymmetric-static"):
        model = SentenceTransformer(str(written / name), device="cpu")
        np.testing.assert_allclose(model.encode_document(documents[:20]), vectors[:20], atol=1e-5)
        assert not np.allclose(model.encode_query(asked["queries"]), teacher_queries, atol=1e-3)


def test_a_folder_that_is_no_run_is_named(integrations, search_set, tmp_path):
    with pytest.raises(InputError, match="expected a run folder"):
        integrations.write_example(tmp_path, search_set, tmp_path / "example")
