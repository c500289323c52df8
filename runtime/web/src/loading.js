// From an address to a model on a device: small files first, then the shards one by one, while shaders compile.

import { fetchSmall } from './download.js';
import { QwenError, asQwenError, throwIfAborted } from './errors.js';

/** @typedef {import('./wasm.js').Loader} Loader @typedef {import('./wasm.js').Model} Model @typedef {import('./wasm.js').BundleFile} BundleFile */
/** @typedef {import('./store/shelf.js').Shelf} Shelf */

/**
 * How far loading is.
 * @typedef {object} Progress
 * @property {'fetch' | 'compile' | 'ready'} phase `fetch`: bytes of files are fetched, or read from where they are stored, checked, and brought to
 *   the device; `compile`: what is left of the shaders
 * @property {number} loaded bytes, or pipelines
 * @property {number} total bytes, or pipelines
 * @property {number} [stored] of the loaded bytes, those that needed no network
 * @property {{index: number, count: number, path: string}} [shard] the file of weights that is on its way
 */

/** Small files that are fetched side by side: browsers open six connections. */
const PARALLEL = 6;
/** Milliseconds between two events of progress. */
const INTERVAL = 60;
const MAX_MANIFEST = 16 << 20;

/** The folder of a bundle as an address that files are resolved against. @param {string | URL} url */
export function bundleUrl(url) {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  let address;
  try {
    address = new URL(url, base);
  } catch {
    throw new QwenError('invalid-request', `${String(url).slice(0, 200)} is no address of a bundle`);
  }
  address.hash = '';
  address.pathname = address.pathname.replace(/manifest\.json$/, '').replace(/\/?$/, '/');
  return address.href;
}

/** The address of a bundle's file. @param {string} base @param {string} path */
export function fileUrl(base, path) {
  const url = new URL(base);
  const { search } = url;
  url.search = '';
  return new URL(path.split('/').map(encodeURIComponent).join('/'), url).href + search;
}

/**
 * The manifest from the network, or without one as it was at the last visit.
 * @param {string} base @param {Shelf} shelf @param {{signal?: AbortSignal, fetch?: typeof fetch}} options
 */
export async function readManifest(base, shelf, { signal, fetch: get }) {
  const url = fileUrl(base, 'manifest.json');
  try {
    const bytes = await fetchSmall(url, { signal, fetch: get, cache: 'no-cache', limit: MAX_MANIFEST });
    return { bytes, offline: false };
  } catch (error) {
    throwIfAborted(signal);
    const stored = error instanceof QwenError && error.code === 'network' ? await shelf.manifest(base) : undefined;
    if (!stored) throw error;
    return { bytes: stored, offline: true };
  }
}

/** Counts what has arrived, and says so now and then. */
export class Meter {
  /** @param {number} total @param {(progress: Progress) => void} emit */
  constructor(total, emit) {
    this.total = total;
    this.emit = emit;
    this.loaded = 0;
    this.stored = 0;
    this.last = -Infinity;
    /** @type {Progress['shard']} */
    this.shard = undefined;
  }

  /** @param {number} bytes @param {boolean} stored whether they needed no network */
  add(bytes, stored) {
    this.loaded += bytes;
    if (stored) this.stored += bytes;
    const now = performance.now();
    if (now - this.last < INTERVAL && this.loaded < this.total) return;
    this.last = now;
    this.tell();
  }

  tell() {
    const { loaded, total, stored, shard } = this;
    this.emit({ phase: 'fetch', loaded, total, stored, ...(shard ? { shard } : {}) });
  }
}

/**
 * Brings everything that the engine needs to the device.
 * @param {Loader} loader
 * @param {() => Promise<any>} openDevice asked for once the bundle is known to be whole in its small files
 * @param {{base: string, shelf: Shelf, signal?: AbortSignal, emit: (progress: Progress) => void, tunings: Tunings}} context
 * @returns {Promise<{model: Model, device: any}>}
 */
export async function loadModel(loader, openDevice, { base, shelf, signal, emit, tunings }) {
  const files = loader.files();
  const small = files.filter((file) => file.kind === 'small');
  const shards = files.filter((file) => file.kind === 'weights');
  const meter = new Meter([...small, ...shards].reduce((sum, file) => sum + file.bytes, 0), emit);
  meter.tell();
  const context = { base, shelf, signal, meter };
  // The device is asked for meanwhile: what is missing there is told before any weight is fetched.
  const [device] = await Promise.all([openDevice(), putAll(loader, small, context)]);
  const tuning = await tunings.recall(device);
  const start = performance.now();
  await loader.prepare(device, tuning ?? '');
  for (const [index, shard] of shards.entries()) {
    meter.shard = { index, count: shards.length, path: shard.path };
    await twice(shard, context, async (fresh, count) => {
      loader.shardBegin(shard.path);
      for await (const { chunk, stored } of shelf.read(fileUrl(base, shard.path), shard, { signal, fresh })) {
        await loader.shardWrite(chunk);
        throwIfAborted(signal);
        count(chunk.length, stored);
      }
      await loader.shardEnd();
    });
  }
  let { done, total } = loader.pipelines();
  emit({ phase: 'compile', loaded: done, total });
  const watch = setInterval(() => {
    const now = loader.pipelines();
    // None any more, once the model has them.
    if (now.total === 0 || now.done === done) return;
    ({ done, total } = now);
    emit({ phase: 'compile', loaded: done, total });
  }, 250);
  try {
    const model = await loader.finish(tuning === undefined ? tuningSeconds(device, loader, start) : 0);
    throwIfAborted(signal);
    await tunings.remember(device, model.tuning());
    emit({ phase: 'ready', loaded: total, total });
    return { model, device };
  } finally {
    clearInterval(watch);
  }
}

/** Seconds for which variants of kernels are tried, once for a bundle on a device. */
const TUNING_SECONDS = 0.3;

/**
 * None where trying would take longer than it is worth: on the CPU, and where shaders compile slowly. So far those of the model
 * have compiled since `start`.
 * @param {any} device @param {Loader} loader @param {number} start
 */
function tuningSeconds(device, loader, start) {
  const { done, total } = loader.pipelines();
  const each = (performance.now() - start) / 1000 / Math.max(done, 1);
  const isGpu = device.adapterInfo && !device.adapterInfo.isFallbackAdapter;
  return isGpu && done === total && each < TUNING_SECONDS / 10 ? TUNING_SECONDS : 0;
}

/** @typedef {{base: string, shelf: Shelf, signal?: AbortSignal, meter: Meter}} Context */
/** @typedef {{recall: (device: any) => Promise<string | undefined>, remember: (device: any, tuning: string) => Promise<void>}} Tunings */

/** @param {Loader} loader @param {BundleFile[]} files @param {Context} context */
async function putAll(loader, files, context) {
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const one = file;
      await twice(one, context, async (fresh, count) => loader.put(one.path, await readWhole(one, context, { fresh, count })));
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/**
 * A whole file from the shelf.
 * @param {BundleFile} file @param {{base: string, shelf: Shelf, signal?: AbortSignal}} context
 * @param {{fresh?: boolean, count?: (bytes: number, stored: boolean) => void}} [options]
 */
export async function readWhole(file, { base, shelf, signal }, { fresh = false, count } = {}) {
  const bytes = new Uint8Array(file.bytes);
  let at = 0;
  for await (const { chunk, stored } of shelf.read(fileUrl(base, file.path), file, { signal, fresh })) {
    bytes.set(chunk, at);
    at += chunk.length;
    count?.(chunk.length, stored);
  }
  return bytes;
}

/**
 * Reads a file, and when its content is wrong once more, from the server and around every cache.
 * @param {BundleFile} file @param {{shelf: Shelf, meter: Meter}} context
 * @param {(fresh: boolean, count: (bytes: number, stored: boolean) => void) => Promise<void>} read
 */
async function twice(file, { shelf, meter }, read) {
  for (const fresh of [false, true]) {
    const counted = { all: 0, stored: 0 };
    const count = (/** @type {number} */ bytes, /** @type {boolean} */ stored) => {
      counted.all += bytes;
      if (stored) counted.stored += bytes;
      meter.add(bytes, stored);
    };
    try {
      return await read(fresh, count);
    } catch (error) {
      const known = asQwenError(error);
      if (known.code !== 'integrity') throw error;
      await shelf.reject(file);
      if (fresh) throw known;
      meter.loaded -= counted.all;
      meter.stored -= counted.stored;
    }
  }
}
