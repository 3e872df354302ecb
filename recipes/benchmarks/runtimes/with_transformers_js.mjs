// Run a graph by the name that transformers.js gives it. Arguments: GRAPH BATCHES.json VECTORS.json.
// Run in the npm folder with the package.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

// Node resolves packages relative to the script, which is in another folder.
const installed = createRequire(join(process.cwd(), "package.json"));
const { AutoModel, Tensor, env } = await import(pathToFileURL(installed.resolve("@huggingface/transformers")));

const [graph, batches, vectors] = process.argv.slice(2);
const folder = dirname(dirname(graph));
const dtypes = { "model.onnx": "fp32", "model_int8.onnx": "int8", "model_quantized.onnx": "q8" };
const file = basename(graph);
// A file with another name is opened by this name.
const chosen = file in dtypes ? { dtype: dtypes[file] } : { dtype: "fp32", model_file_name: basename(graph, ".onnx") };

env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const model = await AutoModel.from_pretrained(basename(folder), { ...chosen, session_options: { intraOpNumThreads: 1 } });
const tensor = (rows) => new Tensor("int64", rows.flat().map(BigInt), [rows.length, rows[0].length]);
const read = JSON.parse(readFileSync(batches, "utf8")).map((batch) => {
  return { input_ids: tensor(batch.input_ids), attention_mask: tensor(batch.attention_mask) };
});

const found = [];
for (const batch of read) found.push(...(await model(batch)).sentence_embedding.tolist());
const times = [];
for (let turn = 0; turn < 150; turn++) {
  const started = performance.now();
  await model(read[0]);
  times.push(performance.now() - started);
}
const milliseconds = times.slice(50).sort((a, b) => a - b)[50];
const versions = { "transformers.js": env.version, node: process.versions.node };
writeFileSync(vectors, JSON.stringify({ versions, milliseconds, vectors: found }));
