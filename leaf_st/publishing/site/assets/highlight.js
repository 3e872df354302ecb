// Marks the words of a query in a text. The result consists of text nodes and <mark> elements.

const WORD = /[\p{L}\p{N}]+/gu;
const SHORTEST = 3; // letters of a word that is marked
const ENDING = 3; // letters that a form of the same word may have more, such as "read" and "reading"

export function marked(text, query) {
  const words = (query.toLowerCase().match(WORD) ?? []).filter((word) => word.length >= SHORTEST);
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(WORD)) {
    if (!words.some((word) => isForm(found.toLowerCase(), word))) continue;
    const mark = document.createElement("mark");
    mark.textContent = found;
    parts.push(text.slice(end, index), mark);
    end = index + found.length;
  }
  parts.push(text.slice(end));
  return parts;
}

function isForm(found, word) {
  const [shorter, longer] = found.length < word.length ? [found, word] : [word, found];
  return shorter.length >= SHORTEST && longer.length - shorter.length <= ENDING && longer.startsWith(shorter);
}
