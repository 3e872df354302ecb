"""Elasticsearch: the teacher's vectors in a dense_vector field, the student's vectors as queries of its kNN search.

Install:  pip install elasticsearch sentence-transformers
Command:  ELASTICSEARCH=http://localhost:9200 python recipes/search/with_elasticsearch.py EXAMPLE
Result:   Not run against a server, because no package contains one; written from Elastic's documentation.

docs/integrations.md has the settings with which Elasticsearch and OpenSearch call both models themselves.
"""

import os
from collections.abc import Iterator

from _example import Vectors, read_example
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from sentence_transformers import SentenceTransformer

INDEX = "leaf_st_documents"

example = read_example()
student = SentenceTransformer(example.student, device="cpu")
client = Elasticsearch(os.environ["ELASTICSEARCH"])

client.options(ignore_status=404).indices.delete(index=INDEX)
vector_field = {"type": "dense_vector", "dims": example.vectors.shape[1], "index": True, "similarity": "cosine"}
client.indices.create(index=INDEX, mappings={"properties": {"text": {"type": "text"}, "embedding": vector_field}})
rows = zip(example.documents, example.vectors.tolist(), strict=True)
bulk(
    client,
    ({"_index": INDEX, "_id": place, "text": text, "embedding": row} for place, (text, row) in enumerate(rows)),
    refresh=True,
)


def search(vector: Vectors) -> Iterator[int]:
    """Return the ids of the ten nearest documents."""
    nearest = {"field": "embedding", "query_vector": vector.tolist(), "k": 10, "num_candidates": 128}
    found = client.search(index=INDEX, knn=nearest, size=10, source=False)
    return (int(hit["_id"]) for hit in found["hits"]["hits"])


example.check(student.encode_query, search, "elasticsearch", server=client.info()["version"]["number"])
