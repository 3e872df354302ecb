// Loads the student and an index, encodes queries and ranks documents, apart from the thread that draws the page.

import { Encoder } from "./encoder.js";
import { Files } from "./files.js";
import { best, bitScores, cut, int8Scores } from "./ranking.js";

const HITS = 10;
const CANDIDATES = 10 * HITS; // documents found by bits whose int8 codes are compared

let manifest, files, encoder;
const indexes = new Map();

async function load({ base, manifest: given, mode }) {
  manifest = given;
  files = new Files(base, manifest.files);
  await files.open();
  const { runtime, student } = manifest;
  const parts = [...Object.values(runtime), student.graph, student.tokenizer, student.tokenizer_config];
  const total = [...parts, manifest.indexes[mode].file].reduce((sum, path) => sum + files.size(path), 0);
  let loaded = 0;
  const onBytes = (count) => postMessage({ type: "progress", loaded: (loaded += count), total });
  [encoder] = await Promise.all([Encoder.open(files, runtime, student, onBytes), index(mode, onBytes)]);
  return { type: "ready" };
}

// Returns the codes of the documents that the model of a mode embedded; they are loaded when they are first used.
function index(mode, onBytes) {
  if (!indexes.has(mode)) {
    const loading = files.bytes(manifest.indexes[mode].file, onBytes);
    loading.catch(() => indexes.delete(mode)); // the next query tries again
    indexes.set(mode, loading);
  }
  return indexes.get(mode);
}

async function search({ query, mode }) {
  const codes = await index(mode);
  const start = performance.now();
  const whole = await encoder.encode(query);
  const encoded = performance.now();
  if (whole === null) return { type: "results", hits: [], encode: 0, rank: 0 };
  const vector = cut(whole, manifest.dimension, manifest.unit);
  const found = await rank(vector, codes, mode);
  const ranked = performance.now();
  const hits = await Promise.all(found.map(async ({ row, score }) => ({ score, ...(await documentOf(row)) })));
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
  const { dimension, chunk } = manifest;
  const chunks = await Promise.all(rows.map((row) => files.chunk(chunkPath(`vectors/${mode}`, row, "int8"))));
  const codes = new Int8Array(rows.length * dimension);
  rows.forEach((row, place) => {
    const start = (row % chunk) * dimension;
    codes.set(new Int8Array(chunks[place].slice(start, start + dimension).buffer), place * dimension);
  });
  return codes;
}

async function documentOf(row) {
  const [title, text] = (await files.json(chunkPath("documents", row, "json")))[row % manifest.chunk];
  return { row, title, text };
}

function chunkPath(folder, row, ending) {
  return `${folder}/${String(Math.floor(row / manifest.chunk)).padStart(5, "0")}.${ending}`;
}

onmessage = async ({ data }) => {
  try {
    postMessage(await (data.type === "load" ? load(data) : search(data)));
  } catch (error) {
    postMessage({ type: "error", message: error.message });
  }
};
