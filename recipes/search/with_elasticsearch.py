"""Elasticsearch: the teacher's vectors in a dense_vector field, the student's vectors as queries of its kNN search.

Install:  pip install elasticsearch sentence-transformers
Command:  ELASTICSEARCH=http://localhost:9200 \
          python recipes/search/with_elasticsearch.py STUDENT DOCUMENTS.json VECTORS.npy "a query"
Result:   Not run against a server, because no package contains one; written from Elastic's documentation.

docs/integrations.md has the settings with which Elasticsearch and OpenSearch call both models themselves.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from sentence_transformers import SentenceTransformer

INDEX = "leaf_st_documents"

student = SentenceTransformer(sys.argv[1])
documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
vectors = np.load(sys.argv[3]).astype(np.float32)  # the teacher's vectors of the documents, shape (n, d)
# Among vectors of norm 1, the dot product and the distance find what the cosine finds.
if student.similarity_fn_name != "cosine" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
    sys.exit(f"expected cosine or vectors of norm 1, found {student.similarity_fn_name}: change index and search below")

client = Elasticsearch(os.environ["ELASTICSEARCH"])
client.options(ignore_status=404).indices.delete(index=INDEX)
vector_field = {"type": "dense_vector", "dims": vectors.shape[1], "index": True, "similarity": "cosine"}
client.indices.create(index=INDEX, mappings={"properties": {"body": {"type": "text"}, "embedding": vector_field}})
rows = enumerate(zip(documents, vectors.tolist(), strict=True))
actions = ({"_index": INDEX, "_id": place, "body": body, "embedding": vector} for place, (body, vector) in rows)
bulk(client, actions, refresh=True)


def search(vector: np.ndarray) -> list[int]:
    """Return the ids of the ten nearest documents."""
    nearest = {"field": "embedding", "query_vector": vector.tolist(), "k": 10, "num_candidates": 128}
    found = client.search(index=INDEX, knn=nearest, size=10, source=False)
    return [int(hit["_id"]) for hit in found["hits"]["hits"]]


if __name__ == "__main__":
    for place in search(student.encode_query(sys.argv[4])):
        print("-", documents[place])
