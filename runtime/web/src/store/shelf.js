// The files of bundles in a store, under their hashes: versions of a bundle share what is equal, a file that is there need
// not be fetched, and what no bundle refers to any more is removed.

import { QwenError, asQwenError } from '../errors.js';
import { download } from '../download.js';

/** @typedef {import('./store.js').Store} Store */
/** @typedef {{path: string, bytes: number, sha256: string}} FileFacts */
/** @typedef {{manifest: string, files: string[]}} Root */

const INDEX = 'index.json';
const MAX_INDEX = 4 << 20;

export class Shelf {
  /**
   * @param {Store} store
   * @param {{fetch?: typeof fetch, onNotice?: (notice: {type: string, [key: string]: unknown}) => void, firstWait?: number}} [options]
   */
  constructor(store, { fetch: get, onNotice = () => {}, firstWait } = {}) {
    this.store = store;
    this.fetch = get;
    this.onNotice = onNotice;
    this.firstWait = firstWait;
    /** Nothing more is stored once the disk is full. */
    this.full = false;
  }

  /** The manifest that a bundle's address had at the last visit. @param {string} url @returns {Promise<Uint8Array | undefined>} */
  async manifest(url) {
    const root = (await this.index())[url];
    return root && this.whole(root.manifest, MAX_INDEX * 4);
  }

  /**
   * What the bundle at this address now consists of. Files of other versions, which no other bundle has, are removed.
   * @param {string} url @param {{sha256: string, bytes: Uint8Array}} manifest @param {FileFacts[]} files
   */
  async adopt(url, manifest, files) {
    await exclusively(async () => {
      const index = await this.index();
      index[url] = { manifest: manifest.sha256, files: files.map((file) => file.sha256) };
      try {
        await this.store.put(manifest.sha256, manifest.bytes);
        await this.store.put(INDEX, new TextEncoder().encode(JSON.stringify(index)));
      } catch (error) {
        await this.forgetStoring(manifest.sha256, manifest.bytes.length, error);
        return;
      }
      await this.sweep(index);
    });
  }

  /** Removes a bundle, and what only it has. @param {string} url */
  async forget(url) {
    await exclusively(async () => {
      const index = await this.index();
      delete index[url];
      await this.store.put(INDEX, new TextEncoder().encode(JSON.stringify(index)));
      await this.sweep(index);
    });
  }

  /** @param {Record<string, Root>} index */
  async sweep(index) {
    const wanted = new Set([INDEX]);
    for (const root of Object.values(index)) {
      wanted.add(root.manifest);
      for (const file of root.files) wanted.add(file);
    }
    for (const key of await this.store.keys()) {
      // Another tab's probe goes by itself; a file that is open elsewhere goes next time.
      const tuned = key.startsWith('tuning-') && Object.values(index).some(({ manifest }) => manifest.startsWith(key.slice(7, 23)));
      if (!wanted.has(key) && !tuned && !key.startsWith('probe-')) await this.store.remove(key).catch(() => {});
    }
  }

  /** @returns {Promise<Record<string, Root>>} */
  async index() {
    const bytes = await this.whole(INDEX, MAX_INDEX).catch(() => undefined);
    if (!bytes) return {};
    try {
      const index = JSON.parse(new TextDecoder().decode(bytes));
      const isRoot = (/** @type {any} */ root) => typeof root?.manifest === 'string' && Array.isArray(root.files);
      return Object.fromEntries(Object.entries(index).filter(([, root]) => isRoot(root)));
    } catch {
      // Half-written by a tab that was killed: files are found by their hashes all the same.
      return {};
    }
  }

  /** @param {string} key @param {number} limit */
  async whole(key, limit) {
    const size = await this.store.size(key);
    if (size === 0 || size > limit) return undefined;
    const bytes = new Uint8Array(size);
    let at = 0;
    for await (const chunk of this.store.read(key)) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  /**
   * The bytes of a file in order: what is stored first, then from the network, storing it. Whoever reads checks the hash,
   * and calls `reject` when it is wrong. Stopping early keeps what has arrived. A chunk is valid until the next one is asked for.
   * @param {string} url @param {FileFacts} file
   * @param {{signal?: AbortSignal, fresh?: boolean}} [options] `fresh`: go around every cache
   * @returns {AsyncGenerator<{chunk: Uint8Array, stored: boolean}, void, undefined>}
   */
  async *read(url, file, { signal, fresh = false } = {}) {
    const key = file.sha256;
    let have = await this.store.size(key).catch(() => 0);
    if (have > file.bytes) {
      await this.reject(file);
      have = 0;
    }
    let at = 0;
    if (have > 0) {
      for await (const chunk of this.store.read(key)) {
        at += chunk.length;
        yield { chunk, stored: true };
      }
    }
    if (at >= file.bytes) return;
    const writer = await this.writer(key, file.bytes - at);
    let storing = writer !== undefined;
    try {
      const options = { bytes: file.bytes, from: at, signal, fetch: this.fetch, firstWait: this.firstWait };
      /** @type {RequestCache} */
      const cache = fresh ? 'reload' : 'default';
      for await (const chunk of download(url, { ...options, cache })) {
        if (writer && storing) {
          try {
            await writer.write(chunk);
          } catch (error) {
            storing = false;
            await writer.close().catch(() => {});
            await this.forgetStoring(key, file.bytes, error);
          }
        }
        yield { chunk, stored: false };
      }
    } finally {
      if (writer && storing) await writer.close().catch((error) => this.forgetStoring(key, file.bytes, error));
    }
  }

  /** A writer, or none where nothing can be stored. @param {string} key @param {number} bytes */
  async writer(key, bytes) {
    if (this.full) return undefined;
    try {
      return await this.store.append(key);
    } catch (error) {
      // Another tab writes the same file.
      if (/** @type {DOMException} */ (error).name === 'NoModificationAllowedError') return undefined;
      await this.forgetStoring(key, bytes, error);
      return undefined;
    }
  }

  /** The disk is full: gives back what the file has taken, and goes on without storing. @param {string} key @param {number} bytes @param {unknown} error */
  async forgetStoring(key, bytes, error) {
    this.full = true;
    await this.store.remove(key).catch(() => {});
    const { code, message } = asQwenError(error, 'quota-exceeded');
    const remedy = new QwenError('quota-exceeded', message).remedy;
    this.onNotice({ type: 'not-stored', code, message, remedy, bytes, store: this.store.kind });
  }

  /** Forgets a file whose content is not what its key says. @param {FileFacts} file */
  async reject(file) {
    await this.store.remove(file.sha256).catch(() => {});
  }
}

/** One tab at a time, where the browser can arrange that. @param {() => Promise<void>} task */
async function exclusively(task) {
  const locks = globalThis.navigator?.locks;
  await (locks ? locks.request('qwenc-store', task) : task());
}
