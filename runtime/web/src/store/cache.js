// Files in the Cache API, for browsers without a private file system. A response there cannot grow, so a file is a row of
// pieces, `<key>/0`, `<key>/1`, ...; what a crash leaves is a whole number of pieces.

/** @typedef {import('./store.js').Store} Store @typedef {import('./store.js').Writer} Writer */

const CACHE = 'qwenc';
/** Bytes of a piece; a writer holds no more than one. */
const PIECE = 4 << 20;

/** @implements {Store} */
export class CacheStore {
  /** @param {Cache} cache @param {number} [piece] */
  constructor(cache, piece = PIECE) {
    this.kind = /** @type {const} */ ('cache');
    this.persistent = true;
    this.cache = cache;
    this.piece = piece;
  }

  /** The store of this origin; throws where there is none. @param {CacheStorage} [storage] */
  static async open(storage = globalThis.caches) {
    return new CacheStore(await storage.open(CACHE));
  }

  /** Never fetched: a key needs the form of an address. @param {string} key @param {number} index */
  address(key, index) {
    return `https://qwenc.invalid/${encodeURIComponent(key)}/${index}`;
  }

  /** @param {string} key */
  async pieces(key) {
    const sizes = [];
    for (;;) {
      const response = await this.cache.match(this.address(key, sizes.length));
      if (!response) return sizes;
      sizes.push(Number(response.headers.get('x-bytes')));
    }
  }

  /** @param {string} key */
  async size(key) {
    return (await this.pieces(key)).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** @param {string} key @returns {AsyncGenerator<Uint8Array>} */
  async *read(key) {
    for (let index = 0; ; index++) {
      const response = await this.cache.match(this.address(key, index));
      if (!response) return;
      yield new Uint8Array(await response.arrayBuffer());
    }
  }

  /** @param {string} key @returns {Promise<Writer>} */
  async append(key) {
    let index = (await this.pieces(key)).length;
    const piece = new Uint8Array(this.piece);
    let filled = 0;
    const flush = async () => {
      if (filled === 0) return;
      const headers = { 'x-bytes': String(filled), 'content-type': 'application/octet-stream' };
      await this.cache.put(this.address(key, index), new Response(piece.slice(0, filled), { headers }));
      index += 1;
      filled = 0;
    };
    return {
      async write(chunk) {
        for (let done = 0; done < chunk.length;) {
          const part = chunk.subarray(done, done + piece.length - filled);
          piece.set(part, filled);
          filled += part.length;
          done += part.length;
          if (filled === piece.length) await flush();
        }
      },
      close: flush,
    };
  }

  /** @param {string} key @param {Uint8Array} bytes */
  async put(key, bytes) {
    await this.remove(key);
    const writer = await this.append(key);
    await writer.write(bytes);
    await writer.close();
  }

  /** @param {string} key */
  async remove(key) {
    // From the end, so that what a crash leaves is a beginning still.
    for (let index = (await this.pieces(key)).length - 1; index >= 0; index--) {
      await this.cache.delete(this.address(key, index));
    }
  }

  async keys() {
    const keys = new Set();
    for (const request of await this.cache.keys()) {
      keys.add(decodeURIComponent(new URL(request.url).pathname.split('/')[1] ?? ''));
    }
    return [...keys];
  }
}
