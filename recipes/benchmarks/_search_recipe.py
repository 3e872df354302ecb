"""Run a recipe of `recipes/search`, and print as JSON what it finds and how long it takes.

Command:  python _search_recipe.py {database,framework} RECIPE MODEL EXAMPLE PACKAGE ...

`integrations.py` runs this program in the environment of the recipes, without leaf_st. EXAMPLE is the folder that
`integrations.py` writes. The versions of the packages are printed too.
"""

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

K = 10
Vectors = NDArray[np.float32]
# Versions that no Python package tells, from the variables of a recipe.
SERVERS: dict[str, Callable[[dict[str, Any]], dict[str, str]]] = {
    "with_pgvector.py": lambda recipe: {
        "PostgreSQL": recipe["database"].info.parameter_status("server_version"),
        "pgvector": recipe["database"]
        .execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        .fetchone()[0],
    },
    "with_sqlite_vec.py": lambda recipe: {"SQLite": recipe["apsw"].sqlite_lib_version()},
    "with_elasticsearch.py": lambda recipe: {"server": recipe["client"].info()["version"]["number"]},
}


def measure_database(recipe: Path, model: Path, example: Path) -> dict[str, Any]:
    """Return what a database finds for the vectors of the student ``model`` and of the teacher.

    The recipe defines ``student`` and ``search``, which returns the places of the ten documents that are nearest to a
    vector, shape (d,).
    """
    known = _run(recipe, model, example / "documents.json", example / "vectors.npy")
    asked = json.loads((example / "queries.json").read_text(encoding="utf-8"))
    measured = compare(
        known["student"].encode_query,
        known["search"],
        asked["queries"],
        asked["relevant"],
        np.load(example / "teacher_queries.npy"),
        np.load(example / "vectors.npy"),
    )
    return {"versions": SERVERS[recipe.name](known) if recipe.name in SERVERS else {}, **measured}


def compare(
    encode: Callable[[str], Vectors],
    search: Callable[[Vectors], Iterable[int]],
    queries: Sequence[str],
    relevant: Sequence[Sequence[int]],
    teacher_queries: Vectors,
    documents: Vectors,
) -> dict[str, float]:
    """Compare the documents that ``search`` finds with exact search, and student queries with teacher queries.

    Args:
        encode: Returns the student's vector of a query, shape (d,).
        search: Returns the places of ten documents for a vector, shape (d,).
        queries: q texts.
        relevant: For each query, the places of the documents that answer the query.
        teacher_queries: The teacher's vectors of the queries, shape (q, d).
        documents: The teacher's vectors of the documents, shape (n, d).
    """
    vectors, encode_ms = _timed(encode, queries)
    found, search_ms = _timed(search, vectors)
    by_teacher = [[*search(vector)] for vector in teacher_queries]
    return {
        "exact": _exactness(found, np.stack(vectors), documents),
        "same": _overlap(found, by_teacher),
        "teacher": _overlap(by_teacher, relevant),
        "student": _overlap(found, relevant),
        "encode_ms": encode_ms,
        "search_ms": search_ms,
    }


def measure_framework(recipe: Path, model: Path, example: Path) -> dict[str, Any]:
    """Return whether a framework finds what exact search finds with the same asymmetric ``model``.

    The recipe defines ``search``, which returns the texts of ten documents for a query.
    """
    from sentence_transformers import SentenceTransformer

    search = _run(recipe, model, example / "few.json")["search"]
    documents, queries = (
        json.loads((example / name).read_text(encoding="utf-8")) for name in ("few.json", "queries.json")
    )
    pair = SentenceTransformer(str(model), device="cpu")
    scores = pair.similarity(pair.encode_query(queries["queries"]), pair.encode_document(documents))
    expected = [[documents[place] for place in places] for places in scores.topk(K).indices.tolist()]
    found, search_ms = _timed(search, queries["queries"])
    return {"versions": {}, "exact": _overlap(found, expected), "search_ms": search_ms}


def _run(recipe: Path, *arguments: Path) -> dict[str, Any]:
    """Run the recipe except for its last lines, which only a command runs; return its variables."""
    sys.argv = [str(recipe), *map(str, arguments)]
    return runpy.run_path(str(recipe))


def _exactness(found: Sequence[Sequence[int]], queries: Vectors, documents: Vectors) -> float:
    """Return the share of the ten documents that are among the nearest; equally near documents count alike."""
    shares = []
    for places, query in zip(found, queries, strict=True):
        scores = documents @ query
        tenth = np.partition(scores, -K)[-K]
        shares.append(np.sum(scores[[*{*places}]] >= tenth - 1e-6) / K)
    return float(np.mean(shares))


def _timed(call: Callable[..., Any], arguments: Sequence[object]) -> tuple[list[Any], float]:
    """Return the results of one call for each argument, and the median time of a call in milliseconds."""
    results, times = [], []
    for argument in arguments:
        start = time.perf_counter()
        results.append(call(argument))
        times.append(1000 * (time.perf_counter() - start))
    return results, median(times)


def _overlap(found: Sequence[Sequence[object]], expected: Sequence[Sequence[object]]) -> float:
    """Return the share of ``expected`` that was ``found``, on average over the queries."""
    return float(np.mean([len({*got} & {*wanted}) / len(wanted) for got, wanted in zip(found, expected, strict=True)]))


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the times are of one core of the processor
    import torch

    torch.set_num_threads(1)
    kind, *paths = sys.argv[1:5]
    packages = sys.argv[5:]
    measured = {"database": measure_database, "framework": measure_framework}[kind](*map(Path, paths))
    measured["versions"] = {name: version(name) for name in packages} | measured["versions"]
    print(json.dumps(measured))
