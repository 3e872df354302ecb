"""DuckDB with its extension vss: the teacher's vectors under an HNSW index, the student's vectors as queries.

Install:  pip install duckdb duckdb-extensions duckdb-extension-vss sentence-transformers
Command:  python recipes/search/with_duckdb.py EXAMPLE

`INSTALL vss` downloads the extension from DuckDB's site; the package duckdb-extension-vss comes from PyPI.
"""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
from _example import Vectors, read_example
from duckdb_extensions import import_extension
from sentence_transformers import SentenceTransformer

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
import_extension("vss")  # or database.execute("INSTALL vss")
database = duckdb.connect()
database.execute("LOAD vss")

kind = f"FLOAT[{example.vectors.shape[1]}]"
rows = pa.table({"id": range(len(example.documents)), "text": example.documents, "embedding": [*example.vectors]})
database.execute(f"CREATE TABLE documents AS SELECT id, text, embedding::{kind} AS embedding FROM rows")
database.execute("CREATE INDEX nearest ON documents USING HNSW (embedding) WITH (metric = 'cosine')")
database.execute("SET hnsw_ef_search = 128")
nearest = f"SELECT id FROM documents ORDER BY array_cosine_distance(embedding, ?::{kind}) LIMIT 10"


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    return (place for (place,) in database.execute(nearest, [vector.tolist()]).fetchall())


example.check(student.encode_query, search, "duckdb", "duckdb-extension-vss")
