"""Qdrant: the teacher's vectors in a collection, the student's vectors as queries.

Install:  pip install qdrant-client sentence-transformers
Command:  python recipes/search/with_qdrant.py STUDENT DOCUMENTS.json VECTORS.npy "a query"

QDRANT=http://localhost:6333 names your server. Without it, Qdrant's local mode keeps the vectors in this process and
compares all of them.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams
from sentence_transformers import SentenceTransformer

COLLECTION = "leaf_st_documents"

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

client = QdrantClient(os.environ.get("QDRANT", ":memory:"))
client.delete_collection(COLLECTION)
client.create_collection(COLLECTION, VectorParams(size=vectors.shape[1], distance=Distance.COSINE))
payload = [{"body": body} for body in documents]
client.upload_collection(COLLECTION, vectors=vectors, payload=payload, ids=range(len(documents)), wait=True)


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    return [point.id for point in client.query_points(COLLECTION, query=vector, limit=10).points]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
