// The page: sends queries to the worker and draws what it finds. Texts become text nodes, never HTML.

import { marked } from "./highlight.js";

const PAUSE = 120; // milliseconds without a key before a query is sent

const at = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;
const number = (value) => value.toLocaleString("en");
const state = { worker: null, manifest: null, mode: "", shown: "", busy: true, timer: 0 };

async function start() {
  listen();
  const response = await fetch("manifest.json", { cache: "no-cache" });
  if (!response.ok) throw new Error(`manifest.json cannot be loaded: the server answered ${response.status}`);
  state.manifest = await response.json();
  [state.mode] = Object.keys(state.manifest.indexes);
  describe();
  state.worker = openWorker();
  state.worker.onmessage = ({ data }) => answers[data.type](data);
  state.worker.onerror = () => answers.error({ message: "the worker of this page cannot be loaded" });
  state.worker.postMessage({ type: "load", base: document.baseURI, manifest: state.manifest, mode: state.mode });
}

// A worker from a blob has the Content-Security-Policy of this page; one from a file would have none.
function openWorker() {
  const module = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
  const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
  return new Worker(address, { type: "module" });
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
    describe();
    ask();
  });
}

// Sends the query in the box, if it is not the one that is shown; only one query is under way at a time.
function ask() {
  clearTimeout(state.timer);
  const query = at("query").value.trim();
  const key = JSON.stringify([state.mode, query]);
  if (state.busy || key === state.shown) return;
  state.shown = key;
  if (query === "") return draw([], "");
  state.busy = true;
  state.query = query;
  state.worker.postMessage({ type: "search", query, mode: state.mode });
}

const answers = {
  progress({ loaded, total }) {
    if (at("status").className === "error") return; // other files may still arrive
    at("progress").value = loaded / total;
    at("status").textContent = `Loading the model: ${megabytes(loaded)} of ${megabytes(total)}`;
  },
  ready() {
    at("progress").hidden = true;
    at("status").textContent = "Ready. The model runs in this browser; queries are not sent anywhere.";
    state.busy = false;
    ask();
  },
  results({ hits, encode, rank }) {
    draw(hits, state.query);
    at("status").textContent = `${hits.length} of ${number(state.manifest.count)} documents, best first`;
    at("time").textContent = `${encode.toFixed(1)} ms to encode, ${rank.toFixed(1)} ms to rank`;
    state.busy = false;
    ask(); // the query may have changed in the meantime
  },
  error({ message }) {
    at("progress").hidden = true;
    at("status").textContent = `Error: ${message}`;
    at("status").className = "error";
    state.busy = false;
    state.shown = "";
  },
};

function draw(hits, query) {
  at("results").replaceChildren(...hits.map((hit) => item(hit, query)));
  at("results").dataset.query = query;
  for (const body of document.querySelectorAll(".text")) {
    if (body.scrollHeight > body.clientHeight) body.after(expander(body)); // only some lines are shown
  }
  at("status").className = "";
  if (query === "") at("status").textContent = "Type a query.";
}

function item({ score, title, text }, query) {
  const head = element("h2", "", title === "" ? [] : marked(title, query));
  const value = element("span", "score", [score.toFixed(3)]);
  value.title = "similarity of query and document";
  const body = element("p", "text cut", marked(text, query));
  return element("li", "", [element("div", "head", title === "" ? [value] : [head, value]), body]);
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

start().catch((error) => answers.error(error));
