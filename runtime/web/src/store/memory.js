// Files in memory, where a page may store nothing (a private window, an address without https). Weights do not belong into
// a page's memory, so it holds few bytes and says so as a full disk does.

/** @typedef {import('./store.js').Store} Store @typedef {import('./store.js').Writer} Writer */

const LIMIT = 24 << 20;

/** @implements {Store} */
export class MemoryStore {
  /** @param {number} [limit] bytes of all files together */
  constructor(limit = LIMIT) {
    this.kind = /** @type {const} */ ('memory');
    this.persistent = false;
    this.limit = limit;
    /** @type {Map<string, Uint8Array[]>} */
    this.files = new Map();
    this.used = 0;
  }

  /** @param {string} key */
  async size(key) {
    return (this.files.get(key) ?? []).reduce((sum, part) => sum + part.length, 0);
  }

  /** @param {string} key @returns {AsyncGenerator<Uint8Array>} */
  async *read(key) {
    yield* this.files.get(key) ?? [];
  }

  /** @param {string} key @returns {Promise<Writer>} */
  async append(key) {
    const parts = this.files.get(key) ?? [];
    this.files.set(key, parts);
    return {
      write: async (chunk) => {
        if (this.used + chunk.length > this.limit) throw new DOMException('the memory store is full', 'QuotaExceededError');
        this.used += chunk.length;
        parts.push(chunk.slice());
      },
      close: async () => {},
    };
  }

  /** @param {string} key @param {Uint8Array} bytes */
  async put(key, bytes) {
    await this.remove(key);
    await (await this.append(key)).write(bytes);
  }

  /** @param {string} key */
  async remove(key) {
    this.used -= await this.size(key);
    this.files.delete(key);
  }

  async keys() {
    return [...this.files.keys()];
  }
}
