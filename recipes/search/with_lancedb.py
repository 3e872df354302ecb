"""LanceDB: the teacher's vectors in a table with an HNSW index, the student's vectors as queries.

Install:  pip install lancedb sentence-transformers
Command:  python recipes/search/with_lancedb.py EXAMPLE
"""

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import lancedb
from _example import Vectors, read_example
from sentence_transformers import SentenceTransformer

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
folder = TemporaryDirectory(prefix="leaf-st-lancedb-")
database = lancedb.connect(folder.name)

rows = zip(example.documents, example.vectors, strict=True)
table = database.create_table(
    "documents", [{"id": place, "text": text, "vector": vector} for place, (text, vector) in enumerate(rows)]
)
table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1)


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    found = table.search(vector).distance_type("cosine").ef(128).refine_factor(3).limit(10).select(["id", "_distance"])
    return (row["id"] for row in found.to_list())


example.check(student.encode_query, search, "lancedb")
