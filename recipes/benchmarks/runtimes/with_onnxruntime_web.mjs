// Run a graph with onnxruntime-web, compiled to WebAssembly, as a browser does. Arguments: GRAPH BATCHES.json VECTORS.json.
// Run in the npm folder with the package.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

// Node resolves packages relative to the script, which is in another folder.
const installed = createRequire(join(process.cwd(), "package.json"));
const entry = installed.resolve("onnxruntime-web");
const ort = await import(pathToFileURL(join(dirname(entry), "ort.node.min.mjs")).href);

const [graph, batches, vectors] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(graph), { executionProviders: ["wasm"] });
const tensor = (rows) => new ort.Tensor("int64", rows.flat().map(BigInt), [rows.length, rows[0].length]);
const read = JSON.parse(readFileSync(batches, "utf8")).map((batch) => {
  return { input_ids: tensor(batch.input_ids), attention_mask: tensor(batch.attention_mask) };
});

const found = [];
for (const batch of read) {
  const { data, dims } = (await session.run(batch)).sentence_embedding;
  for (let row = 0; row < dims[0]; row++) found.push([...data.slice(row * dims[1], (row + 1) * dims[1])]);
}
const times = [];
for (let turn = 0; turn < 150; turn++) {
  const started = performance.now();
  await session.run(read[0]);
  times.push(performance.now() - started);
}
const milliseconds = times.slice(50).sort((a, b) => a - b)[50];
const versions = { "onnxruntime-web": ort.env.versions.web, node: process.versions.node };
writeFileSync(vectors, JSON.stringify({ versions, milliseconds, vectors: found }));
