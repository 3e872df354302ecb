"""LangChain: the student embeds queries and the teacher documents, from one published asymmetric folder.

Install:  pip install langchain-huggingface
Command:  python recipes/search/with_langchain.py EXAMPLE

LangChain calls `encode`, which uses the teacher unless `task` says "query", and applies no prompt without its name.
"""

from _example import read_example
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEmbeddings

example = read_example()
embeddings = HuggingFaceEmbeddings(
    model_name=example.asymmetric,
    encode_kwargs={"task": "document", "prompt_name": "document"},
    query_encode_kwargs={"task": "query", "prompt_name": "query"},
)
store = InMemoryVectorStore.from_texts(example.few, embeddings)
example.check_framework(
    lambda query: [found.page_content for found in store.similarity_search(query, k=10)], "langchain-huggingface"
)
