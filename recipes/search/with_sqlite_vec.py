"""sqlite-vec: the teacher's vectors in a virtual table of SQLite, the student's vectors as queries.

Install:  pip install sqlite-vec apsw sentence-transformers
Command:  python recipes/search/with_sqlite_vec.py STUDENT DOCUMENTS.json VECTORS.npy "a query"

sqlite-vec compares a query with all vectors. APSW is SQLite with extensions in every Python; the module sqlite3 of some
Pythons cannot load extensions.
"""

import json
import sys
from pathlib import Path

import apsw
import numpy as np
import sqlite_vec
from sentence_transformers import SentenceTransformer

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

database = apsw.Connection(":memory:")
database.enable_load_extension(True)
database.load_extension(sqlite_vec.loadable_path())
column = f"embedding float[{vectors.shape[1]}] distance_metric=cosine"
database.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, body TEXT)")
database.execute(f"CREATE VIRTUAL TABLE vectors USING vec0({column})")
database.executemany("INSERT INTO documents VALUES (?, ?)", enumerate(documents))
database.executemany("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", enumerate(vectors))


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    found = database.execute("SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = 10 ORDER BY distance", [vector])
    return [place for (place,) in found]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
