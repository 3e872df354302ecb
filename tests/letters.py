"""Sets and texts of random letters, and reference results computed from the definitions."""

import json

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from leaf_st.models.random_weights import WIDTH
from leaf_st.student.build import build_student
from leaf_st.teacher.local import LocalTeacher


def words(draw, count):
    """Return ``count`` words."""
    return " ".join("".join(draw.choice(list("abcdefgh"), 3)) for _ in range(count))


def save_texts(path, rows):
    """Save a table of ``rows`` texts of eight words, queries and documents in turn."""
    draw = np.random.default_rng(1)
    texts = ({"text": words(draw, 8), "kind": ("query", "document")[row % 2]} for row in range(rows))
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return path


def save_set(folder, documents, queries, seed=0, length=5):
    """Save a BEIR folder of documents, some without a title, and queries, with grades from 0 to 2."""
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(seed)
    corpus = [
        {"_id": f"d{i}", "title": words(draw, 1) if i % 3 else "", "text": words(draw, length)}
        for i in range(documents)
    ]
    rows = {"corpus": corpus, "queries": [{"_id": f"q{i}", "text": words(draw, 2)} for i in range(queries)]}
    for name, table in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    few = max(1, documents // 3)
    judged = [(f"q{i}", f"d{j}", draw.integers(3)) for i in range(queries) for j in draw.choice(documents, few, False)]
    judged += [(f"q{i}", "d0", 2) for i in range(queries)]
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judged)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def save_own_set(folder, others=30):
    """Save a BEIR folder whose queries q0, q1, q2 are documents too, beside a query whose id alone is a document's."""
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(5)
    queries = [{"_id": f"q{i}", "text": words(draw, 3)} for i in range(3)] + [{"_id": "d0", "text": words(draw, 3)}]
    corpus = [{"_id": f"d{i}", "title": "", "text": words(draw, 3)} for i in range(others)]
    corpus += [{**row, "title": words(draw, 1)} for row in queries[:3]]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"{row['_id']}\td{place}\t1" for place, row in enumerate(queries)]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


def load_models(folder):
    """Return the tiny teacher in ``folder`` and an untrained student, which many tests share."""
    torch.manual_seed(13)
    student = build_student(folder, dimension=WIDTH, normalized=True, layers=(0, 2), device="cpu")
    return {"teacher": open_model(SentenceTransformer(str(folder), device="cpu")), "student": student}


def open_model(model):
    """Return ``model`` as a teacher."""
    return LocalTeacher(model, "teacher", "0")


def vectors(model, beir):
    """Return the vectors of queries and documents in float64."""
    queries = model.encode([row["text"] for row in beir.queries])
    documents = model.encode([f"{row['title']} {row['text']}".strip() for row in beir.corpus])
    return queries.astype(np.float64), documents.astype(np.float64)


def ndcg_at_10(beir, scores):
    """Return nDCG@10 in percent; of equal scores the larger document id comes first."""
    ids = [row["id"] for row in beir.corpus]
    values = []
    for query, row in zip(beir.queries, scores.tolist(), strict=True):
        grades = beir.qrels[query["id"]]
        order = sorted(zip(row, ids, strict=True), reverse=True)[:10]
        found = [grades.get(name, 0) for _, name in order]
        best = sorted(grades.values(), reverse=True)[:10]
        gains = [sum(grade / np.log2(rank + 2) for rank, grade in enumerate(ranks)) for ranks in (found, best)]
        values.append(gains[0] / gains[1])
    return 100 * np.mean(values)


def normalized(matrix):
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


# nDCG@10 may differ by this: a value at the edge of an int8 step may fall on either side.
TOLERANCES = {"float32": 1e-6, "int8": 0.5, "binary": 1e-6}


def _in_steps(column):
    low, high = column.min(), column.max()
    step = (high - low) / np.float32(255)
    return [low + (min(255, np.floor((value - low) / step)) + 0.5) * step if step else low for value in column]


def similarities(queries, documents, precision):
    """Return the similarity of vectors of any length in ``precision``, by the angle between their codes.

    A document in int8 is decoded to the middle of the step that holds the value; the query is not coded.
    """
    if precision == "binary":
        return np.array(
            [[sum((a > 0) == (b > 0) for a, b in zip(q, d, strict=True)) for d in documents] for q in queries]
        )
    if precision == "int8":
        documents = np.transpose([_in_steps(column) for column in np.float32(documents).T])
    return normalized(queries) @ normalized(documents).T
