"""LlamaIndex: the student embeds queries and the teacher documents, from one published asymmetric folder.

Install:  pip install llama-index-embeddings-langchain langchain-huggingface sentence-transformers
Command:  python recipes/search/with_llama_index.py MODEL DOCUMENTS.json "a query"

LlamaIndex's HuggingFaceEmbedding cannot choose a side of such a folder, so its LangchainEmbedding uses LangChain's
class. With student and teacher in two folders, give VectorStoreIndex the teacher as `embed_model`, and
`index.as_retriever(embed_model=...)` the student, both as HuggingFaceEmbedding.
"""

import json
import sys
from pathlib import Path

from langchain_huggingface import HuggingFaceEmbeddings
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.langchain import LangchainEmbedding

documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
sides = {side: {"task": side, "prompt_name": side} for side in ("query", "document")}
embeddings = HuggingFaceEmbeddings(
    model_name=sys.argv[1], encode_kwargs=sides["document"], query_encode_kwargs=sides["query"]
)
nodes = [TextNode(text=text) for text in documents]
index = VectorStoreIndex(nodes, embed_model=LangchainEmbedding(embeddings))
retriever = index.as_retriever(similarity_top_k=10)


def search(query: str) -> list[str]:
    """Return the ten nearest documents."""
    return [found.text for found in retriever.retrieve(query)]


if __name__ == "__main__":
    print(*(f"- {found}" for found in search(sys.argv[3])), sep="\n")
