"""LlamaIndex's HuggingFaceEmbedding, which replaces the model's prompts. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from llama_index.embeddings.huggingface import HuggingFaceEmbedding

folder, texts, vectors = sys.argv[1:]
read = json.loads(Path(texts).read_text(encoding="utf-8"))
prompts = json.loads((Path(folder) / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]

model = HuggingFaceEmbedding(
    model_name=folder, device="cpu", query_instruction=prompts["query"], text_instruction=prompts["document"]
)
query = [model.get_query_embedding(text) for text in read["query"]]
document = model.get_text_embedding_batch(read["document"])

packages = ("llama-index-embeddings-huggingface", "llama-index-core", "sentence-transformers")
written = {"versions": {name: version(name) for name in packages}, "query": query, "document": document}
Path(vectors).write_text(json.dumps(written), encoding="utf-8")
