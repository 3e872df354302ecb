// The page: sends queries to the worker and draws what it finds. Texts become text nodes, never HTML.

import { integrity } from "./files.js";
import { marked } from "./highlight.js";

const PAUSE = 120; // milliseconds without a key before a query is sent

const at = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;
const number = (value) => value.toLocaleString("en");
const state = { worker: null, manifest: null, mode: "", isLoaded: false, shown: "", busy: false, timer: 0 };

// Loads what a query needs; after a failure, the next query calls this function again.
async function start() {
  state.busy = true;
  say("Loading");
  try {
    state.worker ??= await openWorker();
    const base = new URL(".", document.baseURI).href; // without the query
    state.worker.postMessage({ type: "load", base, manifest: state.manifest, mode: state.mode });
  } catch (error) {
    answers.error(error);
  }
}

async function openWorker() {
  state.manifest = await (await load("manifest.json")).json().catch(() => {
    throw new Error("manifest.json is damaged; publish the folder again");
  });
  state.mode ||= Object.keys(state.manifest.indexes)[0];
  describe();
  await Promise.all(state.manifest.scripts.map((path) => load(path, state.manifest.files[path])));
  // A worker from a blob has the Content-Security-Policy of this page; one from a file would have none.
  const module = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
  const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
  const worker = new Worker(address, { type: "module" });
  worker.onmessage = ({ data }) => answers[data.type](data);
  worker.onerror = () => {
    Object.assign(state, { worker: null, isLoaded: false });
    answers.error({ message: "The program that searches cannot be loaded; check the connection" });
  };
  return worker;
}

// Loads a small file of the page. The browser compares it with the listed hash, and keeps it for an import.
async function load(path, listed) {
  const checks = listed ? { integrity: integrity(listed) } : {};
  const response = await fetch(path, { cache: "no-cache", ...checks }).catch(({ message }) => {
    throw new Error(`${path} cannot be loaded, or differs from the manifest (${message}); check the connection`);
  });
  if (!response.ok) throw new Error(`${path} cannot be loaded (the server answered ${response.status})`);
  return response;
}

function describe() {
  const { name, teacher, count, student, files, indexes } = state.manifest;
  at("query").placeholder = `Search ${number(count)} documents`;
  at("model").textContent = `${name}, ${megabytes(files[student.graph].bytes)}`;
  at("index").textContent = `${number(count)} vectors, ${megabytes(files[indexes[state.mode].file].bytes)}`;
  at("documents").textContent = state.mode === "asymmetric" ? teacher : name;
  at("modes").hidden = Object.keys(indexes).length < 2;
}

function listen() {
  at("query").value ||= new URL(document.URL).searchParams.get("q") ?? "";
  at("search").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  at("query").addEventListener("input", () => {
    clearTimeout(state.timer);
    state.timer = setTimeout(ask, PAUSE);
  });
  at("modes").addEventListener("change", (event) => {
    state.mode = event.target.value;
    if (state.manifest) describe();
    ask();
  });
  at("retry").addEventListener("click", ask);
  addEventListener("resize", drawExpanders);
}

// Sends the query in the box, if it is not the one that is shown; only one query is under way at a time.
function ask() {
  clearTimeout(state.timer);
  if (state.busy) return;
  if (!state.isLoaded) return start();
  const query = at("query").value.trim();
  const key = JSON.stringify([state.mode, query]);
  if (key === state.shown) return;
  state.shown = key;
  if (query === "") {
    draw([], "");
    remember("");
    return say("Ready: type a query.");
  }
  state.busy = true;
  state.query = query;
  state.worker.postMessage({ type: "search", query, mode: state.mode });
}

const answers = {
  progress({ loaded, total }) {
    at("progress").hidden = false;
    at("progress").value = loaded / total;
    say(`Loading: ${megabytes(loaded)} of ${megabytes(total)}`);
  },
  ready({ others }) {
    finish();
    state.isLoaded = true;
    warn(others);
    ask();
  },
  results({ hits, encode, rank }) {
    finish();
    draw(hits, state.query);
    remember(state.query);
    say(`${hits.length} of ${number(state.manifest.count)} documents, best first`);
    at("time").textContent = `${encode.toFixed(1)} ms to encode, ${rank.toFixed(1)} ms to rank`;
    ask(); // the query may have changed in the meantime
  },
  error({ message }) {
    finish();
    draw([], "");
    say(`${message}.`, "error");
    at("retry").hidden = false;
    state.shown = "";
  },
};

// Names a text that has other tokens here than in Python: its vector is not the one that was measured. The page still
// searches: queries of other characters have the same tokens, and a visitor cannot replace the tokenizer.
function warn(others) {
  if (others.length === 0) return;
  const texts = `${others.length} of ${state.manifest.student.tokenized.length} sample texts, such as “${others[0]}”`;
  at("warning").textContent =
    `The tokenizer of this page and the student's tokenizer differ in ${texts}: ` +
    "the results of similar queries can differ from those of leaf-st search.";
  at("warning").hidden = false;
}

// Keeps the query in the address, so that a reload or a copied address shows the same results.
function remember(query) {
  const address = new URL(document.URL);
  if (query) address.searchParams.set("q", query);
  else address.searchParams.delete("q");
  history.replaceState(null, "", address);
}

function finish() {
  state.busy = false;
  at("progress").hidden = true;
}

function say(text, className = "") {
  at("status").textContent = text;
  at("status").className = className;
  at("retry").hidden = true;
}

function draw(hits, query) {
  at("results").replaceChildren(...hits.map((hit) => item(hit, query)));
  at("results").dataset.query = query;
  drawExpanders();
}

// Gives a button to each text that is cut, which depends on the width of the page.
function drawExpanders() {
  for (const body of document.querySelectorAll(".text.cut")) {
    const button = body.nextElementSibling;
    const isCut = body.scrollHeight > body.clientHeight;
    if (isCut && !button) body.after(expander(body));
    if (!isCut) button?.remove();
  }
}

function item({ score, title, text }, query) {
  const head = element("h2", "", title === "" ? [] : marked(title, query));
  const value = element("span", "score", [score.toFixed(3)]);
  value.title = "similarity of query and document";
  const body = element("p", "text cut", marked(text, query));
  const top = element("div", "head", title === "" ? [value] : [head, value]);
  for (const part of [top, body]) part.dir = "auto"; // Arabic and Hebrew run from right to left
  return element("li", "", [top, body]);
}

function expander(body) {
  const button = element("button", "more", ["Show all"]);
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const isCut = body.classList.toggle("cut");
    button.textContent = isCut ? "Show all" : "Show less";
    button.setAttribute("aria-expanded", String(!isCut));
  });
  return button;
}

function element(name, className, children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

listen();
start();
