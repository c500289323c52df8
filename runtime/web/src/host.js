// Where the model lives: in a worker, or in place. It loads a bundle, answers one request after the other, and when the
// GPU is lost gets another one, loads the model again from where it is stored, and goes on in the middle of the answer.

import { QwenError, asQwenError, throwIfAborted } from './errors.js';
import { decode } from './images.js';
import { adapterName, openDevice } from './device.js';
import { loadModel, readManifest, readWhole } from './loading.js';
import { sha256 } from './sha256.js';
import { Shelf } from './store/shelf.js';
import { openStore } from './store/store.js';
import { readToolCalls } from './tools.js';

/** @typedef {import('./wasm.js').Model} Model @typedef {import('./wasm.js').Loader} Loader */
/** @typedef {{init: () => Promise<unknown>, Loader: typeof import('./wasm.js').Loader}} Engine */
/** @typedef {import('./rpc.js').CallContext} CallContext */
/** @typedef {(base: string, files: import('./wasm.js').BundleFile[], read: (path: string) => Promise<Uint8Array>) => Promise<any>} OpenCpu */

/**
 * What the host needs of its surroundings.
 * @typedef {object} Surroundings
 * @property {() => Promise<Engine>} engine
 * @property {GPU} [gpu]
 * @property {typeof fetch} [fetch]
 * @property {OpenCpu} [openCpu] a device without a GPU; missing where there is none
 * @property {() => Promise<import('./store/store.js').Store>} [openStore] for tests
 */

/**
 * @typedef {object} Source
 * @property {Engine} engine
 * @property {string} base address of the bundle
 * @property {Shelf} shelf
 * @property {Uint8Array} manifest
 * @property {import('./wasm.js').BundleFile[]} files
 */

/** How often a lost GPU is replaced while one answer is made. */
const MAX_RECOVERIES = 2;
/** Milliseconds in which a browser tells that a device is lost, after an operation on it has failed. */
const LOST_WAIT = 2000;

export class Host {
  /** @param {Surroundings} surroundings @param {(notice: any) => void} notify */
  constructor(surroundings, notify) {
    this.surroundings = surroundings;
    this.notify = notify;
    /** What is loaded, and from where. @type {Source | undefined} */ this.source = undefined;
    /** @type {Model | undefined} */ this.model = undefined;
    /** @type {any} */ this.device = undefined;
    /** @type {'gpu' | 'cpu'} */ this.kind = 'gpu';
    /** @type {'auto' | 'gpu' | 'cpu'} */ this.wanted = 'auto';
    /** Fails when the device of the present model is lost. @type {Promise<never>} */ this.lost = new Promise(() => {});
    /** @type {Promise<unknown>} */ this.queue = Promise.resolve();
    this.closed = false;
  }

  /** What a caller may ask. @returns {Record<string, (params: any, context: CallContext) => unknown>} */
  methods() {
    const queued = (/** @type {(params: any, context: CallContext) => Promise<unknown>} */ method) =>
      (/** @type {any} */ params, /** @type {CallContext} */ context) => this.enqueue(() => method.call(this, params, context), context.signal);
    return {
      load: (params, context) => this.load(params, context),
      generate: queued(this.generate),
      countTokens: queued(this.countTokens),
      tokenize: queued(async ({ text }) => (await this.ready()).tokenize(text)),
      detokenize: queued(async ({ ids, special }) => (await this.ready()).detokenize(Uint32Array.from(ids), special)),
      selfTest: queued(this.selfTest),
      profile: queued(async ({ steps }) => {
        const model = await this.ready();
        return this.guarded(model, model.profile(steps));
      }),
      reset: queued(async () => (await this.ready()).reset()),
      forget: queued(async () => this.source?.shelf.forget(this.source.base)),
      // What a driver's crash does, for tests of it.
      loseDevice: () => this.device?.destroy?.(),
    };
  }

  /** One at a time: an engine has one conversation. @template T @param {() => Promise<T>} task @param {AbortSignal} signal @returns {Promise<T>} */
  enqueue(task, signal) {
    const run = this.queue.then(() => {
      throwIfAborted(signal);
      return task();
    });
    this.queue = run.catch(() => {});
    return run;
  }

  /**
   * @param {{base: string, store?: import('./store/store.js').StoreKind, device?: 'auto' | 'gpu' | 'cpu'}} params
   * @param {CallContext} context
   */
  async load({ base, store = 'auto', device = 'auto' }, { signal, emit }) {
    this.wanted = device;
    const open = this.surroundings.openStore ?? (() => openStore(store));
    const [engine, kept] = await Promise.all([this.startEngine(), open()]);
    const shelf = new Shelf(kept, { fetch: this.surroundings.fetch, onNotice: this.notify });
    const { bytes: manifest, offline } = await readManifest(base, shelf, { signal, fetch: this.surroundings.fetch });
    const loader = new engine.Loader(manifest);
    const files = loader.files();
    this.source = { engine, base, shelf, manifest, files };
    if (!offline) await shelf.adopt(base, { sha256: await sha256(manifest), bytes: manifest }, files);
    await this.place(this.source, loader, signal, emit);
    return { ...this.info(), offline, store: kept.kind };
  }

  async startEngine() {
    const engine = await this.surroundings.engine();
    await engine.init();
    return engine;
  }

  /** Brings the model to a device. @param {Source} source @param {Loader} loader @param {AbortSignal | undefined} signal @param {(progress: any) => void} emit */
  async place(source, loader, signal, emit) {
    const { base, shelf } = source;
    let done = false;
    try {
      const tunings = tuningsOf(shelf, await sha256(source.manifest));
      const { model, device } = await loadModel(loader, () => this.openDevice(source, loader, signal), { base, shelf, signal, emit, tunings });
      done = true;
      if (this.closed) throw new QwenError('closed', 'the model was closed while it was loading');
      this.model = model;
      this.watch(device, model);
    } catch (error) {
      this.device?.destroy?.();
      throw error;
    } finally {
      if (!done) loader.free();
    }
  }

  /** @param {Source} source @param {Loader} loader @param {AbortSignal | undefined} signal */
  async openDevice({ base, shelf, files }, loader, signal) {
    this.device = undefined;
    const { openCpu } = this.surroundings;
    const canUseCpu = openCpu !== undefined && files.some((file) => file.path === CPU_KERNELS);
    if (this.wanted !== 'cpu') {
      try {
        this.device = await openDevice(this.surroundings.gpu, loader.requirements());
        this.kind = 'gpu';
        return this.device;
      } catch (error) {
        const { code, message, remedy } = asQwenError(error);
        if (this.wanted === 'gpu' || !canUseCpu) throw error;
        this.notify({ type: 'fallback', code, message, remedy });
      }
    }
    if (!canUseCpu) {
      throw new QwenError('no-webgpu', 'this bundle has no kernels for the CPU, or this package cannot run them here');
    }
    const read = async (/** @type {string} */ path) => {
      const file = files.find((one) => one.path === path);
      if (!file) throw new QwenError('invalid-bundle', `the bundle has no ${path}`);
      const bytes = await readWhole(file, { base, shelf, signal });
      if (await sha256(bytes) !== file.sha256) {
        await shelf.reject(file);
        throw new QwenError('integrity', `${path} is not what the manifest says`);
      }
      return bytes;
    };
    this.kind = 'cpu';
    return openCpu(base, files, read);
  }

  /** @param {any} device @param {Model} model */
  watch(device, model) {
    this.lost = new Promise((_, reject) => {
      device.lost?.then((/** @type {GPUDeviceLostInfo} */ info) => {
        const message = `the GPU was lost${info.message ? `: ${info.message}` : ''}`;
        this.drop(model, message);
        reject(new QwenError('device-lost', message));
      });
    });
    this.lost.catch(() => {});
  }

  /** The model's device is gone: ends what runs on it, and tells. @param {Model} model @param {string} message */
  drop(model, message) {
    if (this.closed || this.model !== model) return;
    this.model = undefined;
    model.free();
    this.notify({ type: 'device-lost', code: 'device-lost', message });
  }

  /** The model; loaded again where its device was lost. @returns {Promise<Model>} */
  async ready() {
    if (this.closed) throw new QwenError('closed', 'the model was closed');
    if (this.model) return this.model;
    const { source } = this;
    if (!source) throw new QwenError('invalid-request', 'no model is loaded');
    try {
      const emit = (/** @type {any} */ progress) => this.notify({ type: 'progress', ...progress });
      await this.place(source, new source.engine.Loader(source.manifest), undefined, emit);
    } catch (error) {
      const { message } = asQwenError(error);
      throw new QwenError('device-lost', `the GPU was lost, and the model could not be loaded again: ${message}`, { cause: error });
    }
    this.notify({ type: 'device-restored', device: this.info().device });
    return /** @type {Model} */ (/** @type {unknown} */ (this.model));
  }

  info() {
    const info = /** @type {Model} */ (this.model).info();
    const device = this.kind === 'gpu' && this.device ? adapterName(/** @type {any} */ ({ info: this.device.adapterInfo })) : info.device;
    return { ...info, device: device === 'GPU' ? info.device : device, deviceKind: this.kind };
  }

  /**
   * @param {{messages: object[], images: any[], options: Record<string, unknown>}} params
   * @param {CallContext} context
   */
  async generate({ messages, images, options }, { signal, emit }) {
    const text = JSON.stringify(messages);
    const pixels = await this.pixels(images, signal);
    const delivery = new Delivery(emit);
    for (let attempt = 0; ; attempt++) {
      const model = await this.ready();
      try {
        const result = await this.guarded(model, model.generate(text, pixels, JSON.stringify(options), delivery.receiver(), signal));
        const finishReason = result.finishReason === 'cancelled' ? 'abort' : result.finishReason;
        return { ...result, finishReason, toolCalls: readToolCalls(result.toolCalls, /** @type {any} */ (options.tools)) };
      } catch (error) {
        if (signal.aborted || attempt >= MAX_RECOVERIES || this.closed || asQwenError(error).code !== 'device-lost') throw error;
      }
    }
  }

  /**
   * What runs on the model's device. Whatever fails because the device was lost fails with `device-lost`, and the model is
   * dropped then: an operation often fails before the browser tells why.
   * @template T @param {Model} model @param {Promise<T>} running @returns {Promise<T>}
   */
  async guarded(model, running) {
    const { lost } = this;
    try {
      return await Promise.race([running, lost]);
    } catch (error) {
      const known = asQwenError(error);
      if (this.model === model && ['device-lost', 'internal', 'out-of-memory'].includes(known.code)) {
        const wait = known.code === 'device-lost' ? LOST_WAIT : LOST_WAIT / 8;
        await Promise.race([lost.catch(() => {}), new Promise((resolve) => setTimeout(resolve, wait))]);
        if (known.code === 'device-lost') this.drop(model, known.message);
      }
      if (this.model === model || this.closed || known.code === 'device-lost') throw error;
      throw new QwenError('device-lost', `the GPU was lost: ${known.message}`, { cause: error });
    }
  }

  /** @param {{messages: object[], images: any[], options: object}} params @param {CallContext} context */
  async countTokens({ messages, images, options }, { signal }) {
    const pixels = await this.pixels(images, signal);
    return (await this.ready()).countTokens(JSON.stringify(messages), pixels, JSON.stringify(options));
  }

  /** @param {any[]} images @param {AbortSignal} signal */
  pixels(images, signal) {
    return Promise.all(images.map((image) => decode(image, { signal, fetch: this.surroundings.fetch })));
  }

  /** @param {unknown} _ @param {CallContext} context */
  async selfTest(_, { signal }) {
    const model = await this.ready();
    const { base, shelf, files } = /** @type {Source} */ (this.source);
    const golden = files.find((file) => file.kind === 'golden');
    if (!golden) {
      throw new QwenError('not-found', 'this bundle carries no golden run', { remedy: 'Compile the model with --golden.' });
    }
    const bytes = await readWhole(golden, { base, shelf, signal });
    return this.guarded(model, model.selfTest(bytes));
  }

  close() {
    this.closed = true;
    this.model?.free();
    this.model = undefined;
    this.device?.destroy?.();
  }
}

/** Where the compiler puts what runs without a GPU. */
const CPU_KERNELS = 'cpu/kernels.wasm';

/** Passes events on; of an answer that is made again only what is new. The seed is the same, so the text is too. */
class Delivery {
  /** @param {(event: any) => void} emit */
  constructor(emit) {
    this.emit = emit;
    this.prompted = false;
    this.tokens = 0;
    this.letters = 0;
  }

  /** For one more attempt. @returns {(event: import('./wasm.js').GenerateEvent) => void} */
  receiver() {
    let tokens = 0;
    let letters = 0;
    return (event) => {
      if (event.type === 'prompt') {
        if (!this.prompted) this.emit(event);
        this.prompted = true;
      } else if (event.type === 'token') {
        if (++tokens > this.tokens) {
          this.tokens = tokens;
          this.emit(event);
        }
      } else {
        // Pieces may be cut otherwise the second time.
        const known = Math.max(0, Math.min(event.text.length, this.letters - letters));
        letters += event.text.length;
        if (known === event.text.length) return;
        this.letters = letters;
        this.emit(known === 0 ? event : { ...event, text: event.text.slice(known) });
      }
    };
  }
}

/**
 * What tuning found for a bundle, kept beside its files under the names of the bundle and the device. Without it the kernels
 * are tried again.
 * @param {Shelf} shelf @param {string} bundle
 * @returns {import('./loading.js').Tunings}
 */
function tuningsOf(shelf, bundle) {
  const keyOf = async (/** @type {any} */ device) => {
    const name = adapterName({ info: device.adapterInfo });
    return `tuning-${bundle.slice(0, 16)}-${(await sha256(new TextEncoder().encode(name))).slice(0, 16)}`;
  };
  return {
    recall: async (device) => {
      const bytes = await shelf.whole(await keyOf(device), MAX_TUNING).catch(() => undefined);
      return bytes && new TextDecoder().decode(bytes);
    },
    remember: async (device, tuning) => {
      if (tuning) await shelf.store.put(await keyOf(device), new TextEncoder().encode(tuning)).catch(() => {});
    },
  };
}

/** Bytes of the longest tuning. */
const MAX_TUNING = 1 << 16;
