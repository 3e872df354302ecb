"""Run a graph with onnxruntime. Arguments: GRAPH BATCHES.json VECTORS.json [TURNS]."""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

graph, batches, vectors = map(Path, sys.argv[1:4])
turns = int(sys.argv[4]) if len(sys.argv) > 4 else 300  # runs of the first batch; a third warms up
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
if graph.suffix == ".ort":
    options.add_session_config_entry("session.load_model_format", "ORT")
session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
read = [{name: np.array(rows) for name, rows in batch.items()} for batch in json.loads(batches.read_text())]
found = [session.run(["sentence_embedding"], batch)[0] for batch in read]
times = []
for _ in range(turns):
    started = time.perf_counter()
    session.run(["sentence_embedding"], read[0])
    times.append(time.perf_counter() - started)
result = {
    "versions": {"onnxruntime": onnxruntime.__version__},
    "milliseconds": 1000 * statistics.median(times[turns // 3 :]),
    "vectors": [vector.tolist() for rows in found for vector in rows],
}
vectors.write_text(json.dumps(result))
