"""Run a graph with OpenVINO. Arguments: GRAPH BATCHES.json VECTORS.json."""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import openvino

graph, batches, vectors = map(Path, sys.argv[1:4])
core = openvino.Core()
# The same precision on every processor: OpenVINO would compute in bfloat16 where the processor can.
properties = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
model = core.compile_model(core.read_model(graph), "CPU", properties)
read = [{name: np.array(rows) for name, rows in batch.items()} for batch in json.loads(batches.read_text())]
found = [model(batch)["sentence_embedding"].tolist() for batch in read]
times = []
for _ in range(300):
    started = time.perf_counter()
    model(read[0])
    times.append(time.perf_counter() - started)
result = {
    "versions": {"openvino": openvino.__version__.partition("-")[0]},
    "milliseconds": 1000 * statistics.median(times[100:]),
    "vectors": [vector for rows in found for vector in rows],
}
vectors.write_text(json.dumps(result))
