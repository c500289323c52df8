// A small stand-in for the WebAssembly engine, with the face of src/wasm.d.ts: it "answers" with a sentence that depends on
// seed and question, a token a letter, so that what JavaScript does around an engine can be tested without one.

import { createHash } from 'node:crypto';

import { MemoryStore } from '../src/store/memory.js';

const hash = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex');
const text = (/** @type {string} */ words) => new TextEncoder().encode(words);
const fail = (/** @type {string} */ code, /** @type {string} */ message) => Object.assign(new Error(message), { name: 'EngineError', code });

/** The files of a bundle. */
export function makeBundle() {
  /** @type {Map<string, Uint8Array>} */
  const files = new Map([
    ['golden.safetensors', text('golden')],
    ['model/tokenizer.bin', text('tokens')],
    ['schedule.json', text('{}')],
    ['weights/one.safetensors', Uint8Array.from({ length: 5000 }, (_, at) => at & 255)],
    ['weights/two.safetensors', Uint8Array.from({ length: 3000 }, (_, at) => (at * 3) & 255)],
  ]);
  const manifest = { format: 1, files: [...files].map(([path, bytes]) => ({ path, bytes: bytes.length, sha256: hash(bytes) })) };
  files.set('manifest.json', text(JSON.stringify(manifest)));
  return files;
}

/** A server of these files, which counts requests; `break` may change a response. @param {Map<string, Uint8Array>} files */
export function serveFiles(files) {
  /** @type {string[]} */
  const asked = [];
  const server = {
    asked,
    offline: false,
    /** @type {(path: string, bytes: Uint8Array, from: number) => Response | undefined} */ answer: () => undefined,
    fetch: /** @type {any} */ (async (/** @type {string} */ url, /** @type {any} */ { headers = {} } = {}) => {
      if (server.offline) throw new TypeError('fetch failed');
      const path = new URL(url).pathname.slice('/bundle/'.length);
      asked.push(path);
      const bytes = files.get(path);
      if (!bytes) return new Response('', { status: 404 });
      const from = Number(/bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0);
      const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
      return server.answer(path, bytes, from)
        ?? new Response(/** @type {any} */ (bytes.slice(from)), { status: from ? 206 : 200, headers: from ? range : {} });
    }),
  };
  return server;
}

/** A GPU whose devices can be lost. */
export function makeGpu() {
  const gpu = {
    /** @type {any[]} */ devices: [],
    missing: false,
    info: /** @type {Record<string, unknown>} */ ({ description: 'fake adapter' }),
    limits: /** @type {Record<string, number>} */ ({ maxBufferSize: 1000 }),
    requestAdapter: async () => gpu.missing ? null : {
      limits: gpu.limits,
      features: new Set(['timestamp-query']),
      info: gpu.info,
      requestDevice: async (/** @type {any} */ descriptor) => {
        /** @type {(info: any) => void} */ let lose = () => {};
        const lost = new Promise((resolve) => { lose = resolve; });
        const device = { descriptor, lost, isLost: false, adapterInfo: gpu.info, destroy() { device.isLost = true; lose({ reason: 'destroyed', message: 'gone' }); } };
        gpu.devices.push(device);
        return device;
      },
    },
  };
  return gpu;
}

/** @param {{delay?: number}} [options] milliseconds of a token */
export function makeEngine({ delay = 0 } = {}) {
  const log = { models: 0, freed: 0, prompts: /** @type {any[]} */ ([]), running: 0, mostRunning: 0, tunings: /** @type {string[]} */ ([]), tuningSeconds: /** @type {number[]} */ ([]) };

  class Model {
    /** @param {any} device */
    constructor(device) {
      this.device = device;
      this.freed = false;
      log.models += 1;
    }
    info() {
      return { name: 'fake', licence: null, maxContext: 100, hasVision: true, device: 'engine', canProfile: false };
    }
    async generate(/** @type {string} */ messagesJson, /** @type {any[]} */ images, /** @type {string} */ optionsJson, /** @type {(e: any) => void} */ onEvent, /** @type {any} */ signal) {
      log.running += 1;
      log.mostRunning = Math.max(log.mostRunning, log.running);
      try {
        const messages = JSON.parse(messagesJson);
        const options = JSON.parse(optionsJson);
        log.prompts.push({ messages, images, options });
        const words = messages.at(-1).content === 'call' ? '<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>'
          : `seed ${options.seed} says ${JSON.stringify(messages.at(-1).content)}`;
        onEvent({ type: 'prompt', tokens: messagesJson.length, reused: 0 });
        if (options.thinking) onEvent({ type: 'piece', kind: 'reasoning', text: 'hmm' });
        const tokens = [];
        let said = '';
        for (const letter of words) {
          await new Promise((resolve) => setTimeout(resolve, delay));
          if (this.freed) throw fail('closed', 'freed');
          // As engines often do: what failed, and not why.
          if (this.device.isLost) throw fail('internal', 'a buffer was unmapped');
          if (signal.aborted) {
            if (tokens.length === 0) throw fail('aborted', 'stopped');
            break;
          }
          tokens.push(letter.codePointAt(0) ?? 0);
          said += letter;
          onEvent({ type: 'token', id: tokens.at(-1) });
          onEvent({ type: 'piece', kind: words.startsWith('<tool') ? 'tool_call' : 'answer', text: letter });
          if (tokens.length === options.maxNewTokens) break;
        }
        const finishReason = signal.aborted ? 'cancelled' : tokens.length === options.maxNewTokens ? 'length' : 'stop';
        return {
          text: said, reasoning: options.thinking ? 'hmm' : '', toolCalls: words.startsWith('<tool') ? [words] : [], tokens, finishReason, seed: options.seed,
          usage: { promptTokens: 10, reusedTokens: 4, generatedTokens: tokens.length, firstTokenSeconds: 0.1, seconds: 1, tokensPerSecond: 2, batches: 1 },
        };
      } finally {
        log.running -= 1;
      }
    }
    countTokens(/** @type {string} */ messagesJson) {
      return JSON.parse(messagesJson).reduce((/** @type {number} */ sum, /** @type {any} */ message) => sum + message.content.length, 0);
    }
    tokenize(/** @type {string} */ words) {
      return Uint32Array.from(words, (letter) => letter.codePointAt(0) ?? 0);
    }
    detokenize(/** @type {Uint32Array} */ ids) {
      return String.fromCodePoint(...ids);
    }
    async selfTest(/** @type {Uint8Array} */ golden) {
      return { passed: new TextDecoder().decode(golden) === 'golden' };
    }
    free() {
      this.freed = true;
      log.freed += 1;
    }
  }

  class Loader {
    constructor(/** @type {Uint8Array} */ manifest) {
      this.manifest = JSON.parse(new TextDecoder().decode(manifest));
      if (this.manifest.format !== 1) throw fail('invalid-bundle', 'format');
      /** @type {Set<string>} */ this.have = new Set();
      /** @type {{path: string, parts: Uint8Array[]} | undefined} */ this.shard = undefined;
    }
    files() {
      const kind = (/** @type {string} */ path) => path.startsWith('weights/') ? 'weights' : path.startsWith('golden') ? 'golden' : path.startsWith('cpu/') ? 'other' : 'small';
      return this.manifest.files.map((/** @type {any} */ file) => ({ ...file, kind: kind(file.path) }));
    }
    requirements() {
      return { limits: { maxBufferSize: 500 }, features: [], optionalFeatures: ['timestamp-query', 'subgroups'], gpuBytes: 8000 };
    }
    check(/** @type {string} */ path, /** @type {Uint8Array} */ bytes) {
      const facts = this.manifest.files.find((/** @type {any} */ file) => file.path === path);
      if (hash(bytes) !== facts.sha256) throw fail('integrity', `${path} has another hash`);
      this.have.add(path);
    }
    put(/** @type {string} */ path, /** @type {Uint8Array} */ bytes) {
      this.check(path, bytes);
    }
    async prepare(/** @type {any} */ device, /** @type {string} */ tuning) {
      log.tunings.push(tuning);
      for (const path of ['schedule.json', 'model/tokenizer.bin']) if (!this.have.has(path)) throw fail('internal', `${path} was not put`);
      this.device = device;
    }
    shardBegin(/** @type {string} */ path) {
      this.shard = { path, parts: [] };
    }
    async shardWrite(/** @type {Uint8Array} */ chunk) {
      this.shard?.parts.push(chunk.slice());
    }
    async shardEnd() {
      const { path, parts } = /** @type {{path: string, parts: Uint8Array[]}} */ (this.shard);
      this.check(path, Buffer.concat(parts));
    }
    pipelines() {
      return { done: 3, total: 3 };
    }
    async finish(/** @type {number} */ tuningSeconds) {
      log.tuningSeconds.push(tuningSeconds);
      this.tuned = tuningSeconds > 0 ? 'shaders/a.wgsl narrow\n' : '';
      const files = this.files().filter((/** @type {any} */ file) => file.kind === 'weights');
      for (const { path } of files) if (!this.have.has(path)) throw fail('invalid-bundle', `${path} is missing`);
      return Object.assign(new Model(this.device), { tuning: () => this.tuned });
    }
    free() {}
  }
  return { log, engine: async () => ({ init: async () => {}, Loader }) };
}

/** Everything that `Qwen.load` needs to run in node without an engine. @param {{delay?: number}} [options] */
export function makeWorld(options) {
  const files = makeBundle();
  const server = serveFiles(files);
  const gpu = makeGpu();
  const { log, engine } = makeEngine(options);
  const store = new MemoryStore();
  const load = { gpu, fetch: server.fetch, engine, openStore: async () => store };
  return { files, server, gpu, log, store, load: /** @type {any} */ (load), url: 'http://host/bundle/' };
}
