// Loads the student and an index, encodes queries and ranks documents, apart from the thread that draws the page.

import { Encoder } from "./encoder.js";
import { Files, settled } from "./files.js";
import { best, bitScores, cut, int8Scores } from "./ranking.js";

const HITS = 10;
const CANDIDATES = 10 * HITS; // documents found by bits whose int8 codes are compared

let manifest, files;
const parts = new Map(); // the student, and the index of each mode, by name
const transfer = { loaded: 0, total: 0 };

async function load({ base, manifest: given, mode }) {
  manifest = given;
  files = new Files(base, manifest.files);
  await files.open();
  const [{ others }] = await ready(mode);
  return { type: "ready", others };
}

// Returns the student, and the codes of the documents that the model of a mode embedded.
async function ready(mode) {
  const { runtime, student, indexes } = manifest;
  const scripts = Object.values(runtime);
  const { graph, tokenizer, tokenizer_config: config } = student;
  try {
    return await settled([
      part("student", [...scripts, graph, tokenizer, config], (onBytes) => Encoder.open(files, runtime, student, onBytes)),
      part(mode, [indexes[mode].file], (onBytes) => files.bytes(indexes[mode].file, onBytes)),
    ]);
  } finally {
    Object.assign(transfer, { loaded: 0, total: 0 });
  }
}

// Returns a part that is loaded from the files in paths when it is first needed; after a failure, it is loaded again.
function part(name, paths, open) {
  if (!parts.has(name)) {
    for (const path of paths) transfer.total += files.size(path);
    const loading = open((count) => postMessage({ type: "progress", ...transfer, loaded: (transfer.loaded += count) }));
    loading.catch(() => parts.delete(name));
    parts.set(name, loading);
  }
  return parts.get(name);
}

async function search({ query, mode }) {
  const [encoder, codes] = await ready(mode);
  const start = performance.now();
  const whole = await encoder.encode(query);
  const encoded = performance.now();
  if (whole === null) return { type: "results", hits: [], encode: 0, rank: 0 };
  const vector = cut(whole, manifest.dimension, manifest.unit);
  const found = await rank(vector, codes, mode);
  const ranked = performance.now();
  const hits = await settled(found.map(async ({ row, score }) => ({ score, ...(await documentOf(row)) })));
  return { type: "results", hits, encode: encoded - start, rank: ranked - encoded };
}

async function rank(vector, codes, mode) {
  const { coding, ...ranges } = manifest.indexes[mode];
  if (coding === "int8") {
    const scores = int8Scores(vector, new Int8Array(codes.buffer, codes.byteOffset, codes.length), ranges);
    return best(scores, HITS).map((row) => ({ row, score: scores[row] }));
  }
  const candidates = best(bitScores(vector, codes, ranges), CANDIDATES).sort((one, other) => one - other);
  const scores = int8Scores(vector, await codesOf(candidates, mode), ranges);
  return best(scores, HITS).map((place) => ({ row: candidates[place], score: scores[place] }));
}

// Returns the int8 codes of some documents, one after the other.
async function codesOf(rows, mode) {
  const { dimension, codes_per_file: size } = manifest;
  const found = await settled(rows.map((row) => files.chunk(`vectors/${mode}/${number(row, size)}.int8`)));
  const codes = new Int8Array(rows.length * dimension);
  rows.forEach((row, place) => {
    const start = (row % size) * dimension;
    codes.set(new Int8Array(found[place].slice(start, start + dimension).buffer), place * dimension);
  });
  return codes;
}

async function documentOf(row) {
  const size = manifest.texts_per_file;
  const [title, text] = (await files.json(`documents/${number(row, size)}.json`))[row % size];
  return { row, title, text };
}

// Returns the number of the file that contains a row, as its name has it.
function number(row, size) {
  return String(Math.floor(row / size)).padStart(5, "0");
}

onmessage = async ({ data }) => {
  try {
    postMessage(await (data.type === "load" ? load(data) : search(data)));
  } catch (error) {
    postMessage({ type: "error", message: error.message });
  }
};
