"""LangChain's HuggingFaceEmbeddings, which needs the names of prompts. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from langchain_huggingface import HuggingFaceEmbeddings

folder, texts, vectors = sys.argv[1:]
read = json.loads(Path(texts).read_text(encoding="utf-8"))

model = HuggingFaceEmbeddings(
    model_name=folder,
    model_kwargs={"device": "cpu"},
    encode_kwargs={"prompt_name": "document"},
    query_encode_kwargs={"prompt_name": "query"},
)
query = [model.embed_query(text) for text in read["query"]]
document = model.embed_documents(read["document"])

packages = ("langchain-huggingface", "langchain-core", "sentence-transformers")
written = {"versions": {name: version(name) for name in packages}, "query": query, "document": document}
Path(vectors).write_text(json.dumps(written), encoding="utf-8")
