"""onnxruntime, tokenizers and NumPy, without torch. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

folder, texts, vectors = map(Path, sys.argv[1:])
read = json.loads(texts.read_text(encoding="utf-8"))
assert find_spec("torch") is None, "torch is installed here, so this test does not show that torch is not needed"

prompts = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]
length = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(length)
tokenizer.enable_padding(pad_id=config["pad_token_id"])
session = InferenceSession(str(folder / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])

written = {"versions": {name: version(name) for name in ("onnxruntime", "tokenizers", "numpy")}}
for kind in ("query", "document"):
    rows = []
    for start in range(0, len(read[kind]), 16):
        encoded = tokenizer.encode_batch([prompts[kind] + text for text in read[kind][start : start + 16]])
        inputs = {
            "input_ids": np.array([text.ids for text in encoded], np.int64),
            "attention_mask": np.array([text.attention_mask for text in encoded], np.int64),
        }
        rows += session.run(["sentence_embedding"], inputs)[0].tolist()
    written[kind] = rows
vectors.write_text(json.dumps(written), encoding="utf-8")
