// Exact search over coded vectors, as leaf_st.evaluation.ranking: a float32 query against decoded documents.
// Typed arrays of one type each, so that the engine keeps the loops in machine code.

// Returns the first coordinates of a vector, of norm 1 if unit.
export function cut(vector, dimension, unit) {
  const head = Float32Array.from(vector.subarray(0, dimension));
  if (!unit) return head;
  let squares = 0;
  for (const value of head) squares += value * value;
  return squares === 0 ? head : head.map((value) => value / Math.sqrt(squares));
}

// Returns the dot products of a query with documents whose coordinate j is low[j] + (code + 128.5) * step[j].
export function int8Scores(query, codes, { low, step }) {
  const dimension = query.length;
  const weights = new Float64Array(dimension); // the engine adds in 64 bits
  let constant = 0;
  for (let j = 0; j < dimension; j++) {
    weights[j] = query[j] * step[j];
    constant += query[j] * (low[j] + 128.5 * step[j]);
  }
  return dotProducts(weights, codes, constant);
}

function dotProducts(weights, codes, constant) {
  if (kernel) return dotProductsOfIntegers(weights, codes, constant);
  const scores = new Float32Array(codes.length / weights.length);
  for (let row = 0; row < scores.length; row++) scores[row] = constant + dotProduct(weights, codes, row * weights.length);
  return scores;
}

// The program of dots.wat in base64. Its loop computes eight products at a time, which JavaScript cannot do.
const PROGRAM =
  "AGFzbQEAAAABCQFgBX9/f39/AAMCAQAFAwEAFgcRAgZtZW1vcnkCAARkb3RzAAAKzQEBygECAXsEfwJAA0AgAkUNAf0MAAAAAAAA" +
  "AAAAAAAAAAAAACEFIAAhByABIANBeHFqIQggASADaiEJAkADQCABIAhPDQEgBSAH/QAEACAB/QEDAP26Af2uASEFIAdBEGohByAB" +
  "QQhqIQEMAAsLIAX9GwAgBf0bAWogBf0bAiAF/RsDamohBgJAA0AgASAJTw0BIAYgBy4BACABLAAAbGohBiAHQQJqIQcgAUEBaiEB" +
  "DAALCyAEIAY2AgAgBEEEaiEEIAJBAWshAgwACwsL";
const kernel = assembled();
// The memory of the program holds the weights, then a block of codes, then the sums of the block.
const CODES = 1 << 16; // place of the codes
const BYTES = 1 << 20; // size of a block
const MOST_ROWS = 1 << 16; // of a block

function assembled() {
  try {
    const bytes = Uint8Array.from(atob(PROGRAM), (letter) => letter.charCodeAt(0));
    return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  } catch {
    return null; // a browser without these instructions
  }
}

// Rounds the weights to 16 bits, at a scale at which no sum of 32 bits overflows.
function dotProductsOfIntegers(weights, codes, constant) {
  const dimension = weights.length;
  const sizes = weights.map(Math.abs);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const most = sizes.reduce((one, other) => Math.max(one, other), 0);
  const scale = most === 0 ? 1 : Math.min(32767 / most, (2 ** 31 - 1 - 64 * dimension) / (128 * total));
  const { buffer } = kernel.memory;
  new Int16Array(buffer, 0, dimension).set(weights.map((weight) => Math.round(weight * scale)));
  const scores = new Float32Array(codes.length / dimension);
  const size = Math.min(Math.floor(BYTES / dimension), MOST_ROWS);
  for (let row = 0; row < scores.length; row += size) {
    const rows = Math.min(size, scores.length - row);
    new Int8Array(buffer, CODES, rows * dimension).set(codes.subarray(row * dimension, (row + rows) * dimension));
    kernel.dots(0, CODES, rows, dimension, CODES + BYTES);
    const sums = new Int32Array(buffer, CODES + BYTES, rows);
    for (let place = 0; place < rows; place++) scores[row + place] = constant + sums[place] / scale;
  }
  return scores;
}

// A function per document: the engine optimises what is called often sooner, and better, than a long loop.
function dotProduct(weights, codes, start) {
  const dimension = weights.length;
  const four = dimension - (dimension % 4);
  let a = 0, b = 0, c = 0, d = 0; // four independent sums, which the processor adds at the same time
  let j = 0;
  for (; j < four; j += 4) {
    a += weights[j] * codes[start + j];
    b += weights[j + 1] * codes[start + j + 1];
    c += weights[j + 2] * codes[start + j + 2];
    d += weights[j + 3] * codes[start + j + 3];
  }
  for (; j < dimension; j++) a += weights[j] * codes[start + j];
  return a + b + c + d;
}

// Returns the dot products of a query with documents of one bit per coordinate, eight to a byte, the first one highest.
// Bit 0 of coordinate j stands for below[j], bit 1 for above[j].
export function bitScores(query, bits, ranges) {
  const width = Math.ceil(query.length / 8);
  const table = byteSums(query, width, ranges);
  const scores = new Float32Array(bits.length / width);
  for (let row = 0, start = 0; row < scores.length; row++, start += width) {
    let sum = 0;
    for (let place = 0; place < width; place++) sum += table[256 * place + bits[start + place]];
    scores[row] = sum;
  }
  return scores;
}

// Returns, for each byte of a document and each of its 256 values, the part of the dot product.
function byteSums(query, width, { below, above }) {
  const table = new Float32Array(256 * width);
  for (let place = 0; place < width; place++) {
    for (let value = 0; value < 256; value++) {
      let sum = 0;
      for (let bit = 0, j = 8 * place; bit < 8 && j < query.length; bit++, j++) {
        sum += query[j] * (value & (128 >> bit) ? above : below)[j];
      }
      table[256 * place + value] = sum;
    }
  }
  return table;
}

// Returns the k best rows, best first; of equal scores, the earlier row comes first.
export function best(scores, k) {
  const rows = [];
  let least = -Infinity;
  for (let row = 0; row < scores.length; row++) {
    if (rows.length === k && scores[row] <= least) continue;
    let place = rows.length;
    while (place > 0 && scores[rows[place - 1]] < scores[row]) place--;
    rows.splice(place, 0, row);
    if (rows.length > k) rows.pop();
    least = scores[rows[rows.length - 1]];
  }
  return rows;
}
