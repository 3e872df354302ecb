"""Haystack: the student embeds queries and the teacher documents, from one published asymmetric folder.

Install:  pip install haystack-ai sentence-transformers-haystack
Command:  python recipes/search/with_haystack.py MODEL DOCUMENTS.json "a query"

Haystack calls `encode`, which uses the teacher unless `task` says "query", and applies no prompt without its name.
"""

import json
import sys
from pathlib import Path

from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders import sentence_transformers as embedders

documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
sides = {side: {"task": side, "prompt_name": side} for side in ("query", "document")}
document = embedders.SentenceTransformersDocumentEmbedder(model=sys.argv[1], encode_kwargs=sides["document"])
query = embedders.SentenceTransformersTextEmbedder(model=sys.argv[1], encode_kwargs=sides["query"], progress_bar=False)
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
store.write_documents(document.run([Document(content=text) for text in documents])["documents"])
retriever = InMemoryEmbeddingRetriever(store, top_k=10)


def search(text: str) -> list[str]:
    """Return the ten nearest documents."""
    return [found.content for found in retriever.run(query.run(text)["embedding"])["documents"]]


if __name__ == "__main__":
    print(*(f"- {found}" for found in search(sys.argv[3])), sep="\n")
