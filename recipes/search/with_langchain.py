"""LangChain: the student embeds queries and the teacher documents, from one published asymmetric folder.

Install:  pip install langchain-huggingface sentence-transformers
Command:  python recipes/search/with_langchain.py MODEL DOCUMENTS.json "a query"

LangChain calls `encode`, which uses the teacher unless `task` says "query", and applies no prompt without its name.
"""

import json
import sys
from pathlib import Path

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEmbeddings

documents = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
embeddings = HuggingFaceEmbeddings(
    model_name=sys.argv[1],
    encode_kwargs={"task": "document", "prompt_name": "document"},
    query_encode_kwargs={"task": "query", "prompt_name": "query"},
)
store = InMemoryVectorStore.from_texts(documents, embeddings)


def search(query: str) -> list[str]:
    """Return the ten nearest documents."""
    return [found.page_content for found in store.similarity_search(query, k=10)]


if __name__ == "__main__":
    print(*(f"- {found}" for found in search(sys.argv[3])), sep="\n")
