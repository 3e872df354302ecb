// Files of the page and of the runtime: each is checked against the hash in the manifest, and kept by the browser.

const CACHE = "leaf-st";

export class Files {
  #base;
  #listed;
  #cache = null;
  #inMemory = new Map();

  // listed: size and hash by path or address; paths are relative to base.
  constructor(base, listed) {
    this.#base = base;
    this.#listed = listed;
  }

  // Opens the browser's store, and deletes what earlier versions of this page left there.
  async open() {
    if (!globalThis.caches) return; // an address that is neither https nor localhost
    try {
      this.#cache = await caches.open(CACHE);
      const current = new Set(Object.keys(this.#listed).map((path) => this.#address(path)));
      for (const { url } of await this.#cache.keys()) {
        if (url.startsWith(this.#base) && !current.has(url)) await this.#cache.delete(url);
      }
    } catch {
      this.#cache = null; // a private window or a full disk: the files are then only in memory
    }
  }

  size(path) {
    return this.#listed[path].bytes;
  }

  // Returns a file as bytes; onBytes is called with the number of bytes of each part that arrives.
  async bytes(path, onBytes = () => {}) {
    const address = this.#address(path);
    const kept = await this.#cache?.match(address);
    if (kept) {
      const content = new Uint8Array(await kept.arrayBuffer());
      if (content.length === this.size(path)) {
        onBytes(content.length);
        return content;
      }
    }
    const content = await this.#download(path, address, onBytes);
    await this.#cache?.put(address, new Response(content)).catch(() => {}); // the store may be full
    return content;
  }

  // Returns a JSON file, which stays in memory.
  json(path) {
    return this.#remember(path, async () => JSON.parse(new TextDecoder().decode(await this.bytes(path))));
  }

  // Returns the bytes of a small file, which stay in memory.
  chunk(path) {
    return this.#remember(path, () => this.bytes(path));
  }

  // Returns a module whose code has the hash of the manifest; an import of the address could not be checked.
  async module(path, onBytes) {
    const code = new Blob([await this.bytes(path, onBytes)], { type: "text/javascript" });
    const address = URL.createObjectURL(code);
    try {
      return await import(address);
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  #remember(path, load) {
    if (!this.#inMemory.has(path)) {
      const loading = load();
      loading.catch(() => this.#inMemory.delete(path)); // the next query tries again
      this.#inMemory.set(path, loading);
    }
    return this.#inMemory.get(path);
  }

  #address(path) {
    return new URL(`${path}?${this.#listed[path].sha256.slice(0, 16)}`, this.#base).href;
  }

  async #download(path, address, onBytes) {
    const { bytes: size, sha256 } = this.#listed[path];
    const store = this.#cache ? "no-store" : "force-cache"; // not twice on the disk
    // Without https, scripts have no hash function, but the browser checks hashes itself, after the last byte.
    const integrity = globalThis.crypto.subtle ? undefined : `sha256-${base64(sha256)}`;
    const response = await fetch(address, { cache: store, credentials: "omit", integrity }).catch((error) => {
      throw new Error(`${path} cannot be loaded (${error.message}): check the connection and load the page again`);
    });
    if (!response.ok) throw new Error(`${path} cannot be loaded: the server answered ${response.status}`);
    const content = await read(response, size, onBytes);
    if (integrity === undefined && (await digest(content)) !== sha256) {
      throw new Error(`${path} differs from the manifest: load the page again, or publish the folder again`);
    }
    return content;
  }
}

async function read(response, size, onBytes) {
  const content = new Uint8Array(size);
  let place = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (place + value.length > size) throw new Error(`${response.url} is longer than the manifest says`);
    content.set(value, place);
    place += value.length;
    onBytes(value.length);
  }
  return content.subarray(0, place);
}

async function digest(content) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function base64(hex) {
  return btoa(String.fromCharCode(...hex.match(/../g).map((pair) => parseInt(pair, 16))));
}
