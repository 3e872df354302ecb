"""Ask databases and frameworks with a student's queries for documents that the teacher embedded.

Command:  make integrations  or  python recipes/benchmarks/integrations.py [RUN] [--data FOLDER] [--work DIR]

RUN is a run of leaf_st, by default the run of the demo, which `make integrations` makes if it is missing. The documents
are the corpus of the BEIR folder FOLDER (by default the demo's search set) and up to `STORE_DOCUMENTS` documents of the
run's store. The recipes in recipes/search run in one environment of pinned packages, which is built once in DIR (2
GB with torch for the CPU). Exit code 1: a recipe failed, or found less than exact search or than the teacher's queries.

Result:   On the demo, every database and framework finds what exact search finds; docs/integrations.md has the tables.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from _environments import Failed, benchmark_parser, run_in
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.atomic import replace_folder, write_json
from leaf_st.cli.console import quieten
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import document_text, load_beir
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.models.vectors import normalized
from leaf_st.recipe import TeacherSpec
from leaf_st.run_folder import HELD_OUT, MODEL, STORE, require_run
from leaf_st.student.asymmetric import with_teacher
from leaf_st.student.static import build_static, fit_table
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import EmbeddingStore

STORE_DOCUMENTS = 10_000
EMBEDDED_DOCUMENTS = 200  # that a framework embeds by itself
STATIC_ROWS = 8_192  # of the store, to which the table of the static student is fitted
LEAST_EXACT = 0.95  # share of the documents of exact search that a database finds
LEAST_SHARE = 0.95  # share of the right documents that student queries find, divided by that of teacher queries
_RECIPES = Path(__file__).resolve().parents[1] / "search"
_PROGRAM = Path(__file__).resolve().with_name("_search_recipe.py")


@dataclass(frozen=True)
class Database:
    """A recipe for a database.

    Attributes:
        name: Name in the table.
        program: File in recipes/search.
        packages: Packages whose versions are in the table.
        index: The index and its settings; the student's and the teacher's queries use the same index.
        server: Environment variable with the URL of a server, without which the recipe does not run.
    """

    name: str
    program: str
    packages: tuple[str, ...]
    index: str
    server: str | None = None


DATABASES = (
    Database("pgvector", "with_pgvector.py", ("psycopg",), "HNSW, ef_search 128"),
    Database("Qdrant", "with_qdrant.py", ("qdrant-client",), "local mode: all vectors"),
    Database("LanceDB", "with_lancedb.py", ("lancedb",), "HNSW of int8 codes, refined"),
    Database("sqlite-vec", "with_sqlite_vec.py", ("sqlite-vec",), "all vectors"),
    Database("DuckDB vss", "with_duckdb.py", ("duckdb", "duckdb-extension-vss"), "HNSW, ef_search 128"),
    Database("Elasticsearch", "with_elasticsearch.py", ("elasticsearch",), "HNSW, 128 candidates", "ELASTICSEARCH"),
)
# Recipe and package of each framework.
FRAMEWORKS = {
    "LangChain": ("with_langchain.py", "langchain-huggingface"),
    "LlamaIndex": ("with_llama_index.py", "llama-index-core"),
    "Haystack": ("with_haystack.py", "haystack-ai"),
}
# Published folders of student and teacher, by the kind of student.
STUDENTS = {"encoder": "asymmetric", "static": "asymmetric-static"}


@dataclass(frozen=True)
class Outcome:
    """The result of a recipe.

    Attributes:
        name: Name of the database or framework.
        setting: Index of the database, or student of the framework.
        result: "ok", "failed" or "not run".
        measured: What the recipe measured; empty if it did not run.
        reason: Reason for a result other than "ok".
    """

    name: str
    setting: str
    result: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def write_example(run: Path, data: Path, folder: Path) -> None:
    """Write the texts, vectors and models that the recipes read to ``folder``, which is replaced.

    Raises:
        InputError: If ``run`` has no model, no store or no local teacher, or ``data`` is not a BEIR folder.
    """
    require_run(run)
    spec = replace(teacher_spec(str(run / MODEL)), precision="float32")
    store, beir = EmbeddingStore(run / STORE), load_beir(data)
    student = load_model(str(run / MODEL))
    pair = with_teacher(student, spec)
    if pair.similarity_fn_name != "cosine":
        raise InputError(
            f"{run}: expected a teacher that compares by cosine, found {pair.similarity_fn_name}: name another RUN"
        )
    teacher = open_teacher(spec)
    print(f"{folder}: embedding {len(beir.corpus):,} documents and {len(beir.queries):,} queries of {data}", flush=True)
    corpus = [document_text(row) for row in beir.corpus]
    queries = [row["text"] for row in beir.queries]
    more, more_vectors = _store_documents(store)
    places = {row["id"]: place for place, row in enumerate(beir.corpus)}
    documents = [*corpus, *more]
    relevant = [_relevant(beir.qrels[row["id"]], places) for row in beir.queries]
    static = _static(spec, teacher, store)
    vectors = np.concatenate([normalized(teacher.encode_document(corpus)), normalized(more_vectors)])

    def fill(fresh: Path) -> None:
        fresh.mkdir(parents=True)
        write_json(fresh / "documents.json", documents)
        write_json(fresh / "few.json", documents[:EMBEDDED_DOCUMENTS])
        write_json(fresh / "queries.json", {"queries": queries, "relevant": relevant})
        np.save(fresh / "vectors.npy", vectors)
        np.save(fresh / "teacher_queries.npy", normalized(teacher.encode_query(queries)))
        save_portable(student, fresh / "student")
        save_portable(pair, fresh / STUDENTS["encoder"])
        save_portable(static, fresh / "static")
        save_portable(with_teacher(static, spec), fresh / STUDENTS["static"])

    replace_folder(folder, fill)


def _store_documents(store: EmbeddingStore) -> tuple[list[str], NDArray[np.float32]]:
    """Return up to `STORE_DOCUMENTS` documents of the store, and their vectors, shape (n, d)."""
    texts = store.texts(range(min(len(store), 4 * STORE_DOCUMENTS)))  # half of the demo's texts are documents
    rows = [row for row, text in enumerate(texts) if text.kind == "document"][:STORE_DOCUMENTS]
    return [texts[row].text for row in rows], store.embeddings(rows).astype(np.float32)


def _relevant(judged: Mapping[str, int], places: Mapping[str, int]) -> list[int]:
    """Return the places in the corpus of the documents that are ``judged`` relevant."""
    return [places[name] for name, grade in judged.items() if grade > 0 and name in places]


def _static(spec: TeacherSpec, teacher: Teacher, store: EmbeddingStore) -> SentenceTransformer:
    """Return a static student: a table of token vectors, fitted in closed form."""
    fingerprint = store.fingerprint
    student = build_static(
        spec.model,
        revision=spec.revision,
        dimension=fingerprint.dimension,
        normalized=fingerprint.normalized,
        prompts=fingerprint.prompts,
        similarity_fn_name=fingerprint.similarity_fn_name,
    )
    rows = range(min(len(store), STATIC_ROWS))
    fit_table(student, teacher, store.prompted(rows), store.embeddings(rows))
    return student


def run_database(database: Database, example: Path, work: Path) -> Outcome:
    """Run the recipe of ``database``, and compare what it found with exact search and with the teacher's queries."""
    if database.server and database.server not in os.environ:
        reason = f"set {database.server} to the URL of a server"
        return Outcome(database.name, database.index, "not run", reason=reason)
    recipe = [_RECIPES / database.program, example / "student", example, *database.packages]
    return _outcome(database.name, database.index, work, "database", *recipe)


def run_framework(name: str, kind: str, example: Path, work: Path) -> Outcome:
    """Run the recipe of a framework with the published folder of the student of ``kind``."""
    program, package = FRAMEWORKS[name]
    return _outcome(name, kind, work, "framework", _RECIPES / program, example / STUDENTS[kind], example, package)


def _outcome(name: str, setting: str, work: Path, *arguments: str | Path) -> Outcome:
    try:
        measured = json.loads(run_in("integrations", work, _PROGRAM, *arguments).splitlines()[-1])
    except Failed as error:
        return Outcome(name, setting, "failed", reason=str(error))
    reason = _problem(measured)
    return Outcome(name, setting, "failed" if reason else "ok", measured, reason)


def _problem(measured: Mapping[str, float]) -> str:
    """Return why ``measured`` is not good enough; empty if it is."""
    if measured["exact"] < LEAST_EXACT:
        return f"found {measured['exact']:.1%} of what exact search finds, expected at least {LEAST_EXACT:.0%}"
    if "student" in measured and measured["student"] < LEAST_SHARE * measured["teacher"]:
        share = measured["student"] / measured["teacher"]
        return f"student queries find {share:.1%} of what teacher queries find, expected at least {LEAST_SHARE:.0%}"
    return ""


def format_databases(outcomes: Sequence[Outcome]) -> str:
    """Return the table of the databases."""
    measured = ["exact", "same", "teacher", "student", "share", "encode", "search"]
    return _table(["database", "versions", "index", "result", *measured], outcomes, _database_cells)


def _database_cells(measured: Mapping[str, float]) -> list[str]:
    shares = [measured[name] for name in ("exact", "same", "teacher", "student")]
    shares.append(measured["student"] / measured["teacher"])
    return [f"{100 * share:.1f} %" for share in shares] + _milliseconds(measured, "encode_ms", "search_ms")


def format_frameworks(outcomes: Sequence[Outcome]) -> str:
    """Return the table of the frameworks."""
    return _table(["framework", "versions", "student", "result", "exact", "search"], outcomes, _framework_cells)


def _framework_cells(measured: Mapping[str, float]) -> list[str]:
    return [f"{100 * measured['exact']:.1f} %", *_milliseconds(measured, "search_ms")]


def _milliseconds(measured: Mapping[str, float], *names: str) -> list[str]:
    return [f"{measured[name]:.1f} ms" for name in names]


def _table(head: Sequence[str], outcomes: Sequence[Outcome], cells: Callable[[Mapping[str, float]], list[str]]) -> str:
    """Return an aligned table, followed by the reasons of results other than "ok"."""
    lines = [[*head]]
    for row in outcomes:
        versions = ", ".join(f"{name} {version}" for name, version in row.measured.get("versions", {}).items()) or "-"
        found = cells(row.measured) if row.measured else ["-"] * (len(head) - 4)
        lines.append([row.name, versions, row.setting, row.result, *found])
    reasons = [f"{row.name}, {row.setting}: {row.result}: {row.reason}" for row in outcomes if row.reason]
    return "\n".join([aligned(lines, left=4), *reasons])


def main() -> None:
    """Print a row for each database, and for each framework and kind of student."""
    parser = benchmark_parser(__doc__, Path("build/integrations"))
    parser.add_argument(
        "run", nargs="?", type=Path, default=Path("runs/leaf-demo"), metavar="RUN", help="run (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="BEIR folder (default: RUN's held-out functions)")
    options = parser.parse_args()
    quieten()
    try:
        outcomes = _run(options.run, options.data or options.run / HELD_OUT, options.work.resolve())
    except InputError as error:
        print(f"integrations: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(any(row.result == "failed" for row in outcomes))


def _run(run: Path, data: Path, work: Path) -> list[Outcome]:
    example = work / "example"
    write_example(run, data, example)
    databases = [run_database(database, example, work) for database in tqdm(DATABASES, "databases", leave=False)]
    print(format_databases(databases) + "\n")
    pairs = [(name, kind) for name in FRAMEWORKS for kind in STUDENTS]
    frameworks = [run_framework(*pair, example, work) for pair in tqdm(pairs, "frameworks", leave=False)]
    print(format_frameworks(frameworks))
    return [*databases, *frameworks]


if __name__ == "__main__":
    main()
