"""sentence-transformers 3 (without `encode_query`) on transformers 4. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from sentence_transformers import SentenceTransformer

folder, texts, vectors = sys.argv[1:]
read = json.loads(Path(texts).read_text(encoding="utf-8"))

model = SentenceTransformer(folder, device="cpu")
query = model.encode(read["query"], prompt_name="query", batch_size=16)
document = model.encode(read["document"], prompt_name="document", batch_size=16)

versions = {name: version(name) for name in ("sentence-transformers", "transformers", "torch")}
written = {"versions": versions, "query": query.tolist(), "document": document.tolist()}
Path(vectors).write_text(json.dumps(written), encoding="utf-8")
