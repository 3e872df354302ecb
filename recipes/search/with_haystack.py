"""Haystack: the student embeds queries and the teacher documents, from one published asymmetric folder.

Install:  pip install haystack-ai sentence-transformers-haystack
Command:  python recipes/search/with_haystack.py EXAMPLE

Haystack calls `encode`, which uses the teacher unless `task` says "query", and applies no prompt without its name.
"""

from _example import read_example
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders import sentence_transformers as embedders

example = read_example()
sides = {side: {"task": side, "prompt_name": side} for side in ("query", "document")}
document = embedders.SentenceTransformersDocumentEmbedder(model=example.asymmetric, encode_kwargs=sides["document"])
query = embedders.SentenceTransformersTextEmbedder(
    model=example.asymmetric, encode_kwargs=sides["query"], progress_bar=False
)
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
store.write_documents(document.run([Document(content=text) for text in example.few])["documents"])
retriever = InMemoryEmbeddingRetriever(store, top_k=10)
example.check_framework(
    lambda text: [found.content for found in retriever.run(query.run(text)["embedding"])["documents"]], "haystack-ai"
)
