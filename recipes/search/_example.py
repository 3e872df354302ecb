"""What the recipes in this folder share: texts, the teacher's vectors, and the comparison with exact search.

`make integrations` writes the folder EXAMPLE, build/integrations/example: `example.json` with the texts, `vectors.npz`
with the teacher's vectors of documents and queries, and `asymmetric`, a published model of student and teacher.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

K = 10
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A corpus that the teacher has embedded.

    Attributes:
        documents: n texts.
        vectors: The teacher's vectors of the documents, shape (n, d).
        queries: q texts.
        teacher_queries: The teacher's vectors of the queries, shape (q, d).
        relevant: For each query, the places of the documents that answer the query.
        student: Folder of the student.
        asymmetric: Folder of a published model: the student embeds queries, the teacher documents.
    """

    documents: list[str]
    vectors: Vectors
    queries: list[str]
    teacher_queries: Vectors
    relevant: list[list[int]]
    student: str
    asymmetric: str

    @property
    def few(self) -> list[str]:
        """The first documents, for a framework, which embeds the documents itself."""
        return self.documents[:200]

    def check(
        self,
        encode: Callable[[str], Vectors],
        search: Callable[[Vectors], Iterable[int]],
        *packages: str,
        **versions: str,
    ) -> None:
        """Print what a database finds for the vectors of the student and of the teacher, as JSON.

        Args:
            encode: Returns the student's vector of a query, shape (d,).
            search: Returns the places of the ten documents that the database finds for a vector, shape (d,).
            packages: Python packages whose versions are printed.
            versions: Other versions.
        """
        queries, encode_ms = _timed(encode, self.queries)
        found, search_ms = _timed(lambda vector: [*search(vector)], queries)
        by_teacher = [[*search(vector)] for vector in self.teacher_queries]
        _print(
            packages,
            versions,
            exact=_exactness(found, np.stack(queries), self.vectors),
            same=_overlap(found, by_teacher),
            teacher=_overlap(by_teacher, self.relevant),
            student=_overlap(found, self.relevant),
            encode_ms=encode_ms,
            search_ms=search_ms,
        )

    def check_framework(self, search: Callable[[str], Iterable[str]], *packages: str) -> None:
        """Print whether a framework finds what exact search finds with the same asymmetric model, as JSON.

        Args:
            search: Returns the texts of the ten documents that the framework finds for a query.
            packages: Python packages whose versions are printed.
        """
        model = SentenceTransformer(self.asymmetric, device="cpu")
        scores = model.similarity(model.encode_query(self.queries), model.encode_document(self.few))
        expected = [[self.few[place] for place in places] for places in scores.topk(K).indices.tolist()]
        found, search_ms = _timed(lambda query: [*search(query)], self.queries)
        _print(packages, {}, exact=_overlap(found, expected), search_ms=search_ms)


def read_example() -> Example:
    """Read the folder that the command names, and the published model, which may have another folder.

    The process then uses one core for the models, so that the times of several recipes can be compared.
    """
    torch.set_num_threads(1)
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {Path(sys.argv[0]).name} EXAMPLE [MODEL]: `make integrations` writes the folder EXAMPLE")
    folder, *models = map(Path, sys.argv[1:])
    texts = json.loads((folder / "example.json").read_text(encoding="utf-8"))
    with np.load(folder / "vectors.npz") as vectors:
        return Example(**texts, **vectors, asymmetric=str(models[0] if models else folder / "asymmetric"))


def _exactness(found: Sequence[Sequence[int]], queries: Vectors, documents: Vectors) -> float:
    """Return the share of the ten documents that are among the nearest; equally near documents count alike."""
    shares = []
    for places, query in zip(found, queries, strict=True):
        scores = documents @ query
        tenth = np.partition(scores, -K)[-K]
        shares.append(np.sum(scores[[*{*places}]] >= tenth - 1e-6) / K)
    return float(np.mean(shares))


def _timed(call: Callable[..., object], arguments: Sequence[object]) -> tuple[list, float]:
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


def _print(packages: Sequence[str], versions: dict[str, str], **measured: float) -> None:
    print(json.dumps({"versions": {name: version(name) for name in packages} | versions, **measured}))
