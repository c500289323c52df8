// The engine as the package has it, `wasm.d.ts`: text, around the WebAssembly module, which knows only tokens (`core.d.ts`).

import { Loader as Core } from '../dist/qwenc.js';

import { ChatFiles } from './chat/files.js';
import { readOptions } from './chat/options.js';
import { promptOf } from './chat/prompt.js';
import { Writer } from './chat/writer.js';
import { QwenError } from './errors.js';
import { selfTest } from './golden.js';
import { sha256 } from './sha256.js';

/** @typedef {import('./wasm.js').Pixels} Pixels */

/** Takes a bundle onto a device. */
export class Loader extends Core {
  /** Small files that talking needs. @type {Map<string, Uint8Array>} */
  kept = new Map();
  /** @type {ChatFiles | undefined} */
  chat;

  /** @override @param {string} path @param {Uint8Array} bytes */
  put(path, bytes) {
    super.put(path, bytes);
    if (path.startsWith('model/')) this.kept.set(path, bytes);
  }

  /** @override @param {GPUDevice | import('./wasm.js').CpuDevice} device @param {string} tuning */
  async prepare(device, tuning) {
    this.chat = new ChatFiles(this.kept);
    this.kept.clear();
    await super.prepare(device, tuning);
  }

  /** @override @param {number} tuningSeconds @returns {Promise<any>} */
  async finish(tuningSeconds) {
    const golden = this.files().find(({ kind }) => kind === 'golden');
    return new Model(await super.finish(tuningSeconds), /** @type {ChatFiles} */ (this.chat), golden);
  }
}

/** @typedef {import('./wasm.js').Model} Talking */

/** A model on a device. @implements {Talking} */
export class Model {
  /** @param {import('./core.js').Model} core @param {ChatFiles} chat @param {import('./wasm.js').BundleFile} [golden] */
  constructor(core, chat, golden) {
    this.core = core;
    this.chat = chat;
    this.golden = golden;
  }

  tuning() {
    return this.core.tuning();
  }

  info() {
    return this.core.info();
  }

  /**
   * @param {string} messagesJson @param {Pixels[]} images @param {string} optionsJson
   * @param {(event: import('./wasm.js').GenerateEvent) => void} onEvent @param {{readonly aborted: boolean}} [signal]
   * @returns {Promise<import('./wasm.js').GenerateResult>}
   */
  async generate(messagesJson, images, optionsJson, onEvent, signal) {
    const { chat } = this;
    const { prompt, stop, request } = readOptions(optionsJson, chat);
    const { ids, stable, thinking } = promptOf(chat, messagesJson, prompt);
    const writer = new Writer(chat.tokenizer, { thinking, stop }, (kind, text) => onEvent({ type: 'piece', kind, text }));
    const turn = await this.core.generate(Uint32Array.from(ids), stable, images, request, (step) => {
      onEvent(step);
      return step.type === 'token' && writer.token(step.id);
    }, signal);
    writer.finish();
    const { text, reasoning, toolCalls } = writer;
    return { text, reasoning, toolCalls, ...turn, seed: request.seed };
  }

  /** @param {string} messagesJson @param {Pixels[]} images @param {string} optionsJson */
  countTokens(messagesJson, images, optionsJson) {
    const { ids } = promptOf(this.chat, messagesJson, readOptions(optionsJson, this.chat).prompt);
    return this.core.promptLength(Uint32Array.from(ids), images);
  }

  /** @param {string} text */
  tokenize(text) {
    return Uint32Array.from(this.chat.tokenizer.encode(text));
  }

  /** @param {Uint32Array} ids @param {boolean} [special] */
  detokenize(ids, special = false) {
    return this.chat.tokenizer.decode(ids, !special);
  }

  reset() {
    this.core.reset();
  }

  /** @param {Uint8Array} golden */
  async selfTest(golden) {
    if (await sha256(golden) !== this.golden?.sha256) throw new QwenError('integrity', 'golden.safetensors: is not the file that the manifest lists');
    return selfTest(this.core, golden);
  }

  /** @param {number} steps */
  profile(steps) {
    return this.core.profile(steps);
  }

  free() {
    this.core.free();
  }
}
