// The package's face: a model that is loaded, and what can be asked of it.

import { Answer } from './answer.js';
import { adapterName, checkDevice, openAdapter, openDevice } from './device.js';
import { QwenError, asQwenError, throwIfAborted } from './errors.js';
import { sendable } from './images.js';
import { bundleUrl, fileUrl } from './loading.js';
import { readSampling, separate } from './messages.js';
import { fetchSmall } from './download.js';
import { Completions } from './openai.js';
import { connect } from './connect.js';
import { Shelf } from './store/shelf.js';
import { openStore } from './store/store.js';

/** @typedef {import('./messages.js').Message} Message @typedef {import('./messages.js').ImageSource} ImageSource */
/** @typedef {import('./messages.js').Sampling} Sampling @typedef {import('./loading.js').Progress} Progress */
/** @typedef {import('./answer.js').Result} Result */

/**
 * Something that a page may want to tell: `not-stored` (the disk is full, the model works all the same), `fallback` (the
 * GPU cannot be used, the CPU is), `device-lost` and `device-restored`, `progress` of loading again.
 * @typedef {{type: 'not-stored' | 'fallback' | 'device-lost' | 'device-restored' | 'progress', code?: string, message?: string,
 *   remedy?: string, [key: string]: unknown}} Notice
 */

/**
 * @typedef {object} LoadOptions
 * @property {AbortSignal} [signal] stops loading; what has arrived is kept
 * @property {(progress: Progress) => void} [onProgress]
 * @property {(notice: Notice) => void} [onNotice] also for what happens while loading; later notices are events of the model too
 * @property {'auto' | 'opfs' | 'cache' | 'memory'} [store] where files are kept between visits
 * @property {'auto' | 'gpu' | 'cpu'} [device] `auto` takes the GPU, and the CPU where there is none and the bundle has kernels for it
 * @property {boolean} [worker] `false` runs in place: for node, or inside a worker of your own
 * @property {GPU} [gpu] WebGPU from elsewhere, as in node; runs in place
 * @property {typeof fetch} [fetch] another way to get files; runs in place
 * @property {BufferSource | WebAssembly.Module} [wasm] the engine, where it is not beside the package's files; runs in place
 */

/**
 * Facts of a loaded model.
 * @typedef {ReturnType<import('./wasm.js').Model['info']> & {deviceKind: 'gpu' | 'cpu', store: 'opfs' | 'cache' | 'memory', offline: boolean}} Info
 */

/** @typedef {{messages: Message[], images?: ImageSource[], signal?: AbortSignal} & Sampling} Request */

/** An event of a model; `notice` says what happened. */
export class NoticeEvent extends Event {
  /** @param {Notice} notice */
  constructor(notice) {
    super(notice.type);
    this.notice = notice;
  }
}

/**
 * A model, ready to answer.
 *
 * ```js
 * const model = await Qwen.load('/models/qwen/', { onProgress: ({ phase, loaded, total }) => … });
 * for await (const text of model.generate({ messages: [{ role: 'user', content: 'Hello' }] })) show(text);
 * ```
 */
export class Qwen extends EventTarget {
  /** Use `Qwen.load`. @param {import('./rpc.js').Caller} caller @param {string} url @param {Info} info */
  constructor(caller, url, info) {
    super();
    this.caller = caller;
    /** Address of the bundle, with a slash at its end. */
    this.url = url;
    /** What the model is, and what it runs on. */
    this.info = info;
    /** The API of OpenAI's client: `model.chat.completions.create({messages, stream})`. */
    this.chat = { completions: new Completions(this) };
  }

  /**
   * Loads a bundle: the folder that `qwenc compile` wrote, at its address.
   * @param {string | URL} url
   * @param {LoadOptions} [options]
   * @returns {Promise<Qwen>}
   */
  static async load(url, options = {}) {
    const { signal, onProgress = () => {}, onNotice = () => {}, store = 'auto', device = 'auto' } = options;
    throwIfAborted(signal);
    const base = bundleUrl(url);
    const caller = await connect(options);
    try {
      caller.onNotice = onNotice;
      const info = await caller.call('load', { base, store, device }, { signal, onEvent: onProgress });
      const model = new Qwen(caller, base, info);
      caller.onNotice = (notice) => {
        if (notice.type === 'device-restored') model.info = { ...model.info, device: notice.device };
        onNotice(notice);
        model.dispatchEvent(new NoticeEvent(notice));
      };
      return model;
    } catch (error) {
      caller.close(new QwenError('closed', 'the model was not loaded'));
      throw error;
    }
  }

  /**
   * Whether models run here: asks for a GPU, runs a small kernel on it, and compares the numbers. With the address of a
   * bundle also whether the GPU has what that needs. Nothing is loaded; a `false` comes with the reason.
   * @param {{url?: string | URL, gpu?: GPU, fetch?: typeof fetch, signal?: AbortSignal}} [options]
   * @returns {Promise<{ok: boolean, device?: string, error?: QwenError}>}
   */
  static async canRun({ url, gpu = globalThis.navigator?.gpu, fetch: get, signal } = {}) {
    let device;
    try {
      const adapter = await openAdapter(gpu);
      const needed = url === undefined ? { limits: {}, features: [] } : await needs(bundleUrl(url), get, signal);
      device = await openDevice(/** @type {any} */ ({ requestAdapter: async () => adapter }), /** @type {any} */ ({ ...needed, optionalFeatures: [] }));
      await checkDevice(device);
      return { ok: true, device: adapterName(adapter) };
    } catch (error) {
      throwIfAborted(signal);
      return { ok: false, error: asQwenError(error) };
    } finally {
      device?.destroy();
    }
  }

  /**
   * How much of a bundle is stored here: with all of it the model loads without a network.
   * @param {string | URL} url @param {{store?: 'auto' | 'opfs' | 'cache'}} [options]
   * @returns {Promise<{complete: boolean, bytes: number, total: number}>}
   */
  static async stored(url, { store = 'auto' } = {}) {
    const kept = await openStore(store);
    const manifest = await new Shelf(kept).manifest(bundleUrl(url));
    /** @type {{path: string, bytes: number, sha256: string}[]} */
    const files = manifest ? JSON.parse(new TextDecoder().decode(manifest)).files : [];
    const needed = files.filter(({ path }) => /^(schedule\.json$|shaders\/|model\/|weights\/)/.test(path));
    const sizes = await Promise.all(needed.map((file) => kept.size(file.sha256)));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const total = needed.reduce((sum, file) => sum + file.bytes, 0);
    return { complete: total > 0 && bytes === total, bytes, total };
  }

  /**
   * Answers a conversation. Requests run one after the other. A conversation that begins as the last one did is not
   * computed again from its beginning.
   * @param {Request} request
   * @returns {Answer}
   */
  generate({ messages, images, signal, ...sampling }) {
    const options = readSampling(sampling);
    const said = separate(messages, images);
    return new Answer(async (emit, stopped) => {
      const sources = await Promise.all(said.images.map(sendable));
      const result = await this.caller.call('generate', { messages: said.messages, images: sources, options }, { onEvent: emit, signal: stopped })
        .catch((error) => {
          // Stopped before the first token: an empty answer.
          if (stopped.aborted && !signal?.aborted) return nothing(options.seed);
          throw error;
        });
      return result;
    }, signal);
  }

  /** Positions that a conversation takes of the context. @param {Request} request @returns {Promise<number>} */
  async countTokens({ messages, images, signal, ...sampling }) {
    const options = readSampling(sampling);
    const said = separate(messages, images);
    const sources = await Promise.all(said.images.map(sendable));
    return this.caller.call('countTokens', { messages: said.messages, images: sources, options }, { signal });
  }

  /** Ids of a text. @param {string} text @returns {Promise<Uint32Array>} */
  tokenize(text) {
    return this.caller.call('tokenize', { text });
  }

  /** Text of ids. @param {Iterable<number>} ids @param {boolean} [special] with special tokens @returns {Promise<string>} */
  detokenize(ids, special = false) {
    return this.caller.call('detokenize', { ids: [...ids], special });
  }

  /**
   * Replays the bundle's golden run on this device, and compares with the numbers that it carries.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<import('./wasm.js').SelfTest>}
   */
  selfTest({ signal } = {}) {
    return this.caller.call('selfTest', undefined, { signal });
  }

  /** The time of every kernel of one token; needs `info.canProfile`. @param {number} [steps] @returns {Promise<import('./wasm.js').Profile>} */
  profile(steps = 8) {
    return this.caller.call('profile', { steps });
  }

  /** Forgets the conversation. The next one would not be mixed with it anyway: this is for privacy. @returns {Promise<void>} */
  reset() {
    return this.caller.call('reset');
  }

  /** Removes the bundle's files from where they are stored. The loaded model goes on. @returns {Promise<void>} */
  forget() {
    return this.caller.call('forget');
  }

  /** Gives GPU and memory back. Whatever runs fails with `closed`. */
  close() {
    this.caller.close(new QwenError('closed', 'the model was closed'));
  }
}

/** @param {unknown} seed */
const nothing = (seed) => ({
  text: '', reasoning: '', toolCalls: [], tokens: [], finishReason: 'abort', seed,
  usage: { promptTokens: 0, reusedTokens: 0, generatedTokens: 0, firstTokenSeconds: 0, seconds: 0, tokensPerSecond: 0 },
});

/** What a bundle needs of a device, from its manifest alone. @param {string} base @param {typeof fetch | undefined} get @param {AbortSignal} [signal] */
async function needs(base, get, signal) {
  const bytes = await fetchSmall(fileUrl(base, 'manifest.json'), { fetch: get, signal, limit: 16 << 20 });
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new QwenError('invalid-bundle', `${base}manifest.json is no JSON`, { cause: error });
  }
  const { requirements: needed, features = [] } = manifest ?? {};
  if (typeof needed !== 'object' || needed === null) throw new QwenError('invalid-bundle', `${base}manifest.json is no manifest of a bundle`);
  return {
    features,
    limits: {
      maxStorageBuffersPerShaderStage: needed.max_storage_buffers_per_stage,
      maxStorageBufferBindingSize: needed.max_storage_binding_bytes,
      maxBufferSize: needed.max_buffer_bytes,
      maxComputeWorkgroupStorageSize: needed.max_workgroup_bytes,
      maxComputeInvocationsPerWorkgroup: needed.max_invocations,
    },
  };
}
