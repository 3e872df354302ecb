"""DuckDB with its extension vss: the teacher's vectors under an HNSW index, the student's vectors as queries.

Install:  pip install duckdb duckdb-extensions duckdb-extension-vss sentence-transformers
Command:  python recipes/search/with_duckdb.py STUDENT DOCUMENTS.json VECTORS.npy "a query"

`INSTALL vss` downloads the extension from DuckDB's site; the package duckdb-extension-vss comes from PyPI.
"""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from duckdb_extensions import import_extension
from sentence_transformers import SentenceTransformer

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

import_extension("vss")  # or database.execute("INSTALL vss")
database = duckdb.connect()
database.execute("LOAD vss")

kind = f"FLOAT[{vectors.shape[1]}]"
rows = pa.table({"id": range(len(documents)), "body": documents, "embedding": [*vectors]})
database.execute(f"CREATE TABLE documents AS SELECT id, body, embedding::{kind} AS embedding FROM rows")
database.execute("CREATE INDEX nearest ON documents USING HNSW (embedding) WITH (metric = 'cosine')")
database.execute("SET hnsw_ef_search = 128")
nearest = f"SELECT id FROM documents ORDER BY array_cosine_distance(embedding, ?::{kind}) LIMIT 10"


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    return [place for (place,) in database.execute(nearest, [vector.tolist()]).fetchall()]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
