"""sqlite-vec: the teacher's vectors in a virtual table of SQLite, the student's vectors as queries.

Install:  pip install sqlite-vec apsw sentence-transformers
Command:  python recipes/search/with_sqlite_vec.py EXAMPLE

sqlite-vec compares a query with all vectors. APSW is SQLite with extensions in every Python; the module sqlite3 of some
Pythons cannot load extensions.
"""

from collections.abc import Iterator

import apsw
import sqlite_vec
from _example import Vectors, read_example
from sentence_transformers import SentenceTransformer

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
database = apsw.Connection(":memory:")
database.enable_load_extension(True)
database.load_extension(sqlite_vec.loadable_path())

database.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, text TEXT)")
database.execute(
    f"CREATE VIRTUAL TABLE vectors USING vec0(embedding float[{example.vectors.shape[1]}] distance_metric=cosine)"
)
database.executemany("INSERT INTO documents VALUES (?, ?)", enumerate(example.documents))
database.executemany("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", enumerate(example.vectors))


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    found = database.execute("SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = 10 ORDER BY distance", [vector])
    return (place for (place,) in found)


example.check(student.encode_query, search, "sqlite-vec", SQLite=apsw.sqlite_lib_version())
