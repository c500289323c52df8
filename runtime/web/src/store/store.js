// Where files are kept between visits: the private file system first, the Cache API next, memory last.

import { CacheStore } from './cache.js';
import { MemoryStore } from './memory.js';
import { OpfsStore } from './opfs.js';

/**
 * Appends to a file. What was written before `close` may be lost; the file stays a beginning of itself.
 * @typedef {object} Writer
 * @property {(chunk: Uint8Array) => Promise<void>} write does not keep the chunk; fails with a `QuotaExceededError` when nothing more fits
 * @property {() => Promise<void>} close
 */

/**
 * A few files by key (a hash, or a plain name).
 * @typedef {object} Store
 * @property {'opfs' | 'cache' | 'memory'} kind
 * @property {boolean} persistent whether the files are there at the next visit
 * @property {(key: string) => Promise<number>} size bytes that are there; 0 when there are none
 * @property {(key: string) => AsyncIterable<Uint8Array>} read a chunk is valid until the next one is asked for
 * @property {(key: string) => Promise<Writer>} append
 * @property {(key: string, bytes: Uint8Array) => Promise<void>} put the whole file
 * @property {(key: string) => Promise<void>} remove
 * @property {() => Promise<string[]>} keys
 */

/** @typedef {'auto' | 'opfs' | 'cache' | 'memory'} StoreKind */

/**
 * The best store that works here. Each is tried by writing to it: some browsers have the functions and refuse their use.
 * @param {StoreKind} [kind] `auto` takes the first that works, another name that one or memory
 * @param {{opfs?: () => Promise<Store>, cache?: () => Promise<Store>}} [openers] for tests
 * @returns {Promise<Store>}
 */
export async function openStore(kind = 'auto', openers = {}) {
  const { opfs = () => OpfsStore.open(), cache = () => CacheStore.open() } = openers;
  const candidates = { auto: [opfs, cache], opfs: [opfs], cache: [cache], memory: [] }[kind] ?? [];
  for (const open of candidates) {
    try {
      const store = await open();
      await store.put(PROBE, new Uint8Array([1]));
      const works = (await store.size(PROBE)) === 1;
      await store.remove(PROBE);
      if (works) return store;
    } catch {
      // Not here: the next one.
    }
  }
  return new MemoryStore();
}

/** Each tab has its own, so that two do not meet in one file. */
const PROBE = `probe-${Math.random().toString(36).slice(2)}`;
