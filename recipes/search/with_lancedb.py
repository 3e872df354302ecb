"""LanceDB: the teacher's vectors in a table with an HNSW index, the student's vectors as queries.

Install:  pip install lancedb sentence-transformers
Command:  python recipes/search/with_lancedb.py STUDENT DOCUMENTS.json VECTORS.npy "a query"
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import lancedb
import numpy as np
from sentence_transformers import SentenceTransformer

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

folder = TemporaryDirectory(prefix="leaf-st-lancedb-")
database = lancedb.connect(folder.name)
rows = enumerate(zip(documents, vectors, strict=True))
table = database.create_table(
    "documents", [{"id": place, "body": body, "vector": vector} for place, (body, vector) in rows]
)
table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1)


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    found = table.search(vector).distance_type("cosine").ef(128).refine_factor(3).limit(10).select(["id", "_distance"])
    return [row["id"] for row in found.to_list()]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
