// transformers.js: the graph's own output, whatever is behind the transformer: FOLDER TEXTS.json VECTORS.json.
// Run from the npm folder that has the package.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// A script elsewhere finds only the packages beside itself.
const installed = createRequire(join(process.cwd(), "package.json"));
const { AutoModel, AutoTokenizer, env } = await import(pathToFileURL(installed.resolve("@huggingface/transformers")));

const [folder, texts, vectors] = process.argv.slice(2).map((path) => resolve(path));
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const read = readJson(texts);
const { prompts } = readJson(join(folder, "config_sentence_transformers.json"));

env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
const model = await AutoModel.from_pretrained(basename(folder), { dtype: "fp32" });

// transformers.js cuts a long text's closing token, [SEP], off with the rest.
const closing = tokenizer("").input_ids.data.at(-1);
function closeAgain({ data, dims: [, length] }) {
  if (length < tokenizer.model_max_length) return;
  for (let end = length - 1; end < data.length; end += length) {
    if (data[end] !== BigInt(tokenizer.pad_token_id)) data[end] = closing;
  }
}

async function encode(kind) {
  const rows = [];
  for (let start = 0; start < read[kind].length; start += 16) {
    const batch = read[kind].slice(start, start + 16).map((text) => prompts[kind] + text);
    const inputs = tokenizer(batch, { padding: true, truncation: true });
    closeAgain(inputs.input_ids);
    const { sentence_embedding } = await model(inputs);
    rows.push(...sentence_embedding.tolist());
  }
  return rows;
}

const versions = { "transformers.js": env.version, node: process.versions.node };
writeFileSync(vectors, JSON.stringify({ versions, query: await encode("query"), document: await encode("document") }));
