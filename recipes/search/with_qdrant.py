"""Qdrant: the teacher's vectors in a collection, the student's vectors as queries.

Install:  pip install qdrant-client sentence-transformers
Command:  python recipes/search/with_qdrant.py EXAMPLE    (QDRANT=URL names a server, such as http://localhost:6333)

Without a server, Qdrant's local mode keeps the vectors in this process and compares all of them.
"""

import os
from collections.abc import Iterator

from _example import Vectors, read_example
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams
from sentence_transformers import SentenceTransformer

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
client = QdrantClient(os.environ.get("QDRANT", ":memory:"))

client.delete_collection("leaf_st_documents")
client.create_collection("leaf_st_documents", VectorParams(size=example.vectors.shape[1], distance=Distance.COSINE))
client.upload_collection(
    "leaf_st_documents",
    vectors=example.vectors,
    payload=[{"text": text} for text in example.documents],
    ids=range(len(example.documents)),
)


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    found = client.query_points("leaf_st_documents", query=vector, limit=10)
    return (point.id for point in found.points)


example.check(student.encode_query, search, "qdrant-client")
