// transformers.js with its feature-extraction pipeline, which pools the tokens. Arguments: FOLDER TEXTS.json VECTORS.json.
// Run in the npm folder with the package.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// Node resolves packages relative to the script, which is in another folder.
const installed = createRequire(join(process.cwd(), "package.json"));
const { env, pipeline } = await import(pathToFileURL(installed.resolve("@huggingface/transformers")));

const [folder, texts, vectors] = process.argv.slice(2).map((path) => resolve(path));
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const read = readJson(texts);
const { prompts } = readJson(join(folder, "config_sentence_transformers.json"));
const normalize = readJson(join(folder, "modules.json")).some(({ type }) => type.endsWith(".Normalize"));

env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const extract = await pipeline("feature-extraction", basename(folder), { dtype: "fp32" });

async function encode(kind) {
  const rows = [];
  for (let start = 0; start < read[kind].length; start += 16) {
    const batch = read[kind].slice(start, start + 16).map((text) => prompts[kind] + text);
    rows.push(...(await extract(batch, { pooling: "mean", normalize })).tolist());
  }
  return rows;
}

const versions = { "transformers.js": env.version, node: process.versions.node };
writeFileSync(vectors, JSON.stringify({ versions, query: await encode("query"), document: await encode("document") }));
