// Marks the words of a query in a text. The result consists of text nodes and <mark> elements.

const WORD = /[\p{L}\p{M}\p{N}]+/gu; // with the signs and accents that stand on letters
const SHORTEST = 3; // letters of a word that is marked
const SYLLABLES = /^\p{Script=Hangul}{2}/u; // Korean words of two signs are marked too
const ENDING = 3; // letters that a form of the same word may have more, such as "read" and "reading"
// Scripts without spaces between words: two letters of the query that stand together are marked.
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]+/gu;

export function marked(text, query) {
  const parts = [];
  let end = 0;
  for (const [start, stop] of merged([...words(text, query), ...pairs(text, query)])) {
    const mark = document.createElement("mark");
    mark.textContent = text.slice(start, stop);
    parts.push(text.slice(end, start), mark);
    end = stop;
  }
  parts.push(text.slice(end));
  return parts;
}

function* words(text, query) {
  const wanted = (query.match(WORD) ?? []).map(plain).filter(isLong);
  for (const { 0: found, index } of text.matchAll(WORD)) {
    if (wanted.some((word) => isForm(plain(found), word))) yield [index, index + found.length];
  }
}

// Returns a word in small letters and without accents, or the short vowels of Arabic.
function plain(word) {
  return word.normalize("NFD").replace(/\p{Script=Inherited}/gu, "").normalize("NFC").toLowerCase();
}

function isLong(word) {
  return word.length >= SHORTEST || SYLLABLES.test(word);
}

function* pairs(text, query) {
  const wanted = new Set([...neighbours(query)].map(([pair]) => pair));
  for (const [pair, start] of neighbours(text)) {
    if (wanted.has(pair)) yield [start, start + pair.length];
  }
}

function* neighbours(text) {
  for (const { 0: run, index } of text.matchAll(UNSPACED)) {
    const letters = [...run];
    let start = index;
    for (let place = 0; place + 1 < letters.length; place += 1) {
      yield [letters[place] + letters[place + 1], start];
      start += letters[place].length;
    }
  }
}

function merged(spans) {
  const found = [];
  for (const [start, stop] of spans.sort((one, other) => one[0] - other[0])) {
    const last = found.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], stop);
    else found.push([start, stop]);
  }
  return found;
}

function isForm(found, word) {
  const [shorter, longer] = found.length < word.length ? [found, word] : [word, found];
  return isLong(shorter) && longer.length - shorter.length <= ENDING && longer.startsWith(shorter);
}
