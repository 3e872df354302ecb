// transformers.js with the graph's output `sentence_embedding`. Arguments: FOLDER TEXTS.json VECTORS.json.
// Run in the npm folder with the package.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// Node resolves packages relative to the script, which is in another folder.
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

// transformers.js cuts off the closing token [SEP] of a long text.
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
