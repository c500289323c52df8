// A private file system and a Cache as a browser has them, as far as the stores use them.

export class FakeFolder {
  /** @param {number} [quota] */
  constructor(quota = Infinity) {
    /** @type {Map<string, Uint8Array>} */ this.files = new Map();
    /** @type {Set<string>} */ this.open = new Set();
    /** How often a file is open for readers. @type {Map<string, number>} */ this.readers = new Map();
    this.quota = quota;
  }
  /** @param {string} name */
  reader(name) {
    if (this.open.has(name)) throw new DOMException('open', 'NoModificationAllowedError');
    const count = (/** @type {number} */ more) => this.readers.set(name, (this.readers.get(name) ?? 0) + more);
    const bytes = () => this.files.get(name) ?? new Uint8Array();
    count(1);
    return {
      getSize: () => bytes().length,
      read: (/** @type {Uint8Array} */ into, /** @type {{at: number}} */ { at }) => {
        const part = bytes().subarray(at, at + into.length);
        into.set(part);
        return part.length;
      },
      close: () => count(-1),
    };
  }
  /** @param {string} name */
  locked(name) {
    return this.open.has(name) || (this.readers.get(name) ?? 0) > 0;
  }
  used() {
    return [...this.files.values()].reduce((sum, file) => sum + file.length, 0);
  }
  /** @param {string} name @param {{create?: boolean}} [options] */
  async getFileHandle(name, { create = false } = {}) {
    if (!this.files.has(name)) {
      if (!create) throw new DOMException('missing', 'NotFoundError');
      this.files.set(name, new Uint8Array());
    }
    return {
      getFile: async () => new Blob([/** @type {any} */ (this.files.get(name))]),
      createSyncAccessHandle: async (/** @type {{mode?: string}} */ { mode } = {}) => {
        if (mode === 'read-only') return this.reader(name);
        if (this.locked(name)) throw new DOMException('open', 'NoModificationAllowedError');
        this.open.add(name);
        return {
          getSize: () => this.files.get(name)?.length,
          // As Chromium does near the quota: it writes what fits, and says how much that was.
          write: (/** @type {Uint8Array} */ chunk, /** @type {{at: number}} */ { at }) => {
            const old = this.files.get(name) ?? new Uint8Array();
            const fits = chunk.subarray(0, Math.max(0, Math.min(chunk.length, this.quota - this.used())));
            const grown = new Uint8Array(Math.max(old.length, at + fits.length));
            grown.set(old);
            grown.set(fits, at);
            this.files.set(name, grown);
            return fits.length;
          },
          flush: () => {},
          close: () => this.open.delete(name),
        };
      },
    };
  }
  /** @param {string} name */
  async removeEntry(name) {
    if (this.locked(name)) throw new DOMException('open', 'NoModificationAllowedError');
    this.files.delete(name);
  }
  async *keys() {
    yield* this.files.keys();
  }
}

export class FakeCache {
  constructor() {
    /** @type {Map<string, Response>} */ this.entries = new Map();
  }
  /** @param {string} url */
  async match(url) {
    return this.entries.get(url)?.clone();
  }
  /** @param {string} url @param {Response} response */
  async put(url, response) {
    this.entries.set(url, response);
  }
  /** @param {string} url */
  async delete(url) {
    return this.entries.delete(url);
  }
  async keys() {
    return [...this.entries.keys()].map((url) => ({ url }));
  }
}
