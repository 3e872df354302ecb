// Files of the page and of the runtime: each is checked against the hash in the manifest, and kept by the browser.

// Returns the results of all promises. A failure is thrown after all have ended, so that a later attempt finds what the
// others have loaded.
export async function settled(promises) {
  const ended = await Promise.allSettled(promises);
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  return ended.map(({ value }) => value);
}

// Returns a hash of the manifest as a request names it.
export function integrity({ sha256 }) {
  return `sha256-${btoa(String.fromCharCode(...sha256.match(/../g).map((pair) => parseInt(pair, 16))))}`;
}

export class Files {
  #base;
  #listed;
  #cache = null;
  #inMemory = new Map();

  // listed: size and hash by path or address; paths are relative to base, the page.
  constructor(base, listed) {
    this.#base = new URL("./", base).href; // the same for / and /index.html
    this.#listed = listed;
  }

  // Opens the browser's store, and deletes what earlier versions of this page left there.
  async open() {
    if (!globalThis.caches) return; // an address that is neither https nor localhost
    try {
      this.#cache = await caches.open(`leaf-st ${this.#base}`); // pages in other folders of the host have their own
      const current = new Set(Object.keys(this.#listed).map((path) => this.#address(path)));
      for (const { url } of await this.#cache.keys()) {
        if (!current.has(url)) await this.#cache.delete(url);
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
    const cache = this.#cache ? "no-store" : "force-cache"; // not twice on the disk
    // Without https, scripts have no hash function, but the browser checks hashes itself, after the last byte.
    const checks = globalThis.crypto.subtle ? {} : { integrity: integrity(this.#listed[path]) };
    const failed = ({ message }) => {
      throw new Error(`${path} cannot be loaded (${message}); check the connection`);
    };
    const response = await fetch(address, { cache, credentials: "omit", ...checks }).catch(failed);
    if (!response.ok) throw new Error(`${path} cannot be loaded (the server answered ${response.status})`);
    const content = await read(response, size, onBytes).catch(failed);
    if (globalThis.crypto.subtle && (await digest(content)) !== sha256) {
      throw new Error(`${path} differs from the manifest; load the page again, or publish the folder again`);
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
    if (place + value.length > size) throw new Error("the file is longer than the manifest says");
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
