// The Prompt API's shape (https://webmachinelearning.github.io/prompt-api) over a bundle: code written for the browser's
// own `LanguageModel` runs with this one.

import { QwenError } from './errors.js';
import { toStream } from './answer.js';
import { Qwen } from './qwen.js';

/** @typedef {import('./messages.js').Message} Message @typedef {import('./qwen.js').LoadOptions} LoadOptions */
/** @typedef {{type: 'text', value: string} | {type: 'image', value: import('./messages.js').ImageSource | ArrayBuffer | ArrayBufferView}} PromptPart */
/** @typedef {{role: 'system' | 'user' | 'assistant', content: string | PromptPart[], prefix?: boolean}} PromptMessage */
/** @typedef {string | PromptMessage[]} Input */
/** @typedef {'unavailable' | 'downloadable' | 'downloading' | 'available'} Availability */

/**
 * @typedef {object} CreateOptions
 * @property {PromptMessage[]} [initialPrompts]
 * @property {AbortSignal} [signal]
 * @property {(monitor: EventTarget) => void} [monitor] its `downloadprogress` events have `loaded` from 0 to 1
 * @property {number} [temperature]
 * @property {number} [topK]
 * @property {{type: string, languages?: string[]}[]} [expectedInputs]
 * @property {{type: string, languages?: string[]}[]} [expectedOutputs]
 */

/** @typedef {{signal?: AbortSignal, responseConstraint?: unknown}} PromptOptions */

/** As the API's event of downloading. */
class DownloadProgress extends Event {
  /** @param {number} loaded */
  constructor(loaded) {
    super('downloadprogress');
    this.lengthComputable = true;
    this.loaded = loaded;
    this.total = 1;
  }
}

/** @param {string} name @param {string} message */
const refuse = (name, message) => new DOMException(message, name);

/**
 * `LanguageModel` for a bundle. The model is loaded by the first `create`, and shared by all sessions.
 *
 * ```js
 * const LanguageModel = promptApi('/models/qwen/');
 * const session = await LanguageModel.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
 * ```
 * @param {string | URL | Qwen} bundle its address, or a model that is loaded
 * @param {LoadOptions} [options]
 */
export function promptApi(bundle, options = {}) {
  /** @type {Promise<Qwen> | undefined} */
  let loading = bundle instanceof Qwen ? Promise.resolve(bundle) : undefined;
  let loaded = bundle instanceof Qwen;
  /** @type {Set<EventTarget>} */
  const monitors = new Set();
  const load = () => {
    loading ??= Qwen.load(/** @type {string | URL} */ (bundle), {
      ...options,
      onProgress: (progress) => {
        options.onProgress?.(progress);
        if (progress.phase !== 'fetch') return;
        for (const monitor of monitors) monitor.dispatchEvent(new DownloadProgress(progress.total > 0 ? progress.loaded / progress.total : 0));
      },
    }).then((model) => {
      loaded = true;
      return model;
    }, (error) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
  return {
    /** @param {CreateOptions} [asked] @returns {Promise<Availability>} */
    async availability(asked = {}) {
      if ([...(asked.expectedInputs ?? []), ...(asked.expectedOutputs ?? [])].some(({ type }) => type === 'audio')) return 'unavailable';
      if (loaded) return 'available';
      if (loading) return 'downloading';
      const { ok } = options.device === 'cpu' ? { ok: true } : await Qwen.canRun({ url: /** @type {string} */ (bundle), gpu: options.gpu, fetch: options.fetch });
      if (!ok) return 'unavailable';
      return (await Qwen.stored(/** @type {string} */ (bundle))).complete ? 'available' : 'downloadable';
    },

    /** @param {CreateOptions} [asked] @returns {Promise<LanguageModelSession>} */
    async create(asked = {}) {
      const { signal, monitor, initialPrompts = [] } = asked;
      if (signal?.aborted) throw signal.reason;
      const target = new EventTarget();
      monitor?.(target);
      monitors.add(target);
      try {
        // Stopping one session does not stop the loading that others wait for.
        const model = await untilAborted(load(), signal);
        target.dispatchEvent(new DownloadProgress(1));
        const session = new LanguageModelSession(model, readInput(initialPrompts), asked);
        session.inputUsage = await session.count([]);
        if (session.inputUsage > session.inputQuota) throw refuse('QuotaExceededError', 'the initial prompts do not fit the context');
        signal?.addEventListener('abort', () => session.destroy(signal.reason), { once: true });
        return session;
      } finally {
        monitors.delete(target);
      }
    },
  };
}

/** A conversation. */
export class LanguageModelSession extends EventTarget {
  /** @param {Qwen} model @param {Message[]} messages @param {Pick<CreateOptions, 'temperature' | 'topK'>} sampling */
  constructor(model, messages, { temperature, topK }) {
    super();
    this.model = model;
    this.messages = messages;
    this.temperature = temperature;
    this.topK = topK;
    /** Tokens of the context that are taken, and how many there are. */
    this.inputUsage = 0;
    this.inputQuota = model.info.maxContext;
    /** @type {((event: Event) => void) | null} */ this.onquotaoverflow = null;
    /** @type {((event: Event) => void) | null} */ this.oncontextoverflow = null;
    this.ended = new AbortController();
    /** @type {Promise<unknown>} */ this.turn = Promise.resolve();
  }

  /** The newer names of the same. */
  get contextUsage() {
    return this.inputUsage;
  }

  get contextWindow() {
    return this.inputQuota;
  }

  /** @param {Input} input @param {PromptOptions} [options] @returns {Promise<string>} */
  async prompt(input, options = {}) {
    let text = '';
    for await (const piece of this.run(input, options)) text += piece;
    return text;
  }

  /** @param {Input} input @param {PromptOptions} [options] @returns {ReadableStream<string>} */
  promptStreaming(input, options = {}) {
    return toStream(this.run(input, options));
  }

  /** Takes messages into the conversation without answering. @param {Input} input @param {PromptOptions} [options] @returns {Promise<void>} */
  async append(input, { signal } = {}) {
    this.check({ signal });
    await this.exclusively(async () => {
      this.messages = await this.fit(readInput(input));
    });
  }

  /** Tokens that an input would take. @param {Input} input @param {PromptOptions} [options] @returns {Promise<number>} */
  async measureInputUsage(input, options = {}) {
    this.check(options);
    const added = readInput(input);
    return Math.max(0, await this.count(added) - await this.count([]));
  }

  /** @param {Input} input @param {PromptOptions} [options] */
  measureContextUsage(input, options) {
    return this.measureInputUsage(input, options);
  }

  /** Another session with the same conversation, which then goes its own way. @param {{signal?: AbortSignal}} [options] @returns {Promise<LanguageModelSession>} */
  async clone(options = {}) {
    this.check(options);
    const copy = new LanguageModelSession(this.model, [...this.messages], this);
    copy.inputUsage = this.inputUsage;
    return copy;
  }

  /** @param {unknown} [reason] */
  destroy(reason = refuse('InvalidStateError', 'the session was destroyed')) {
    this.ended.abort(reason);
  }

  /** @param {Input} input @param {PromptOptions} options @returns {AsyncGenerator<string, void, undefined>} */
  async *run(input, options) {
    this.check(options);
    if (options.responseConstraint !== undefined) throw refuse('NotSupportedError', 'answers cannot be constrained');
    const { release, turn } = this.take();
    try {
      await turn;
      const messages = await this.fit(readInput(input));
      const controller = new AbortController();
      const { signal } = options;
      const abort = () => controller.abort(signal?.aborted ? signal.reason : this.ended.signal.reason);
      this.ended.signal.addEventListener('abort', abort);
      signal?.addEventListener('abort', abort);
      try {
        const answer = this.model.generate({ messages, signal: controller.signal, temperature: this.temperature, topK: this.topK });
        for await (const text of answer) yield text;
        const { text } = await answer.result;
        /** @type {Message} */
        const reply = { role: 'assistant', content: text };
        this.messages = [...messages, reply];
        this.inputUsage = await this.count([]);
      } catch (error) {
        throw asDomException(error);
      } finally {
        this.ended.signal.removeEventListener('abort', abort);
        signal?.removeEventListener('abort', abort);
      }
    } finally {
      release();
    }
  }

  /** The conversation with new messages; the oldest turns are left out where it does not fit. @param {Message[]} added */
  async fit(added) {
    const first = this.messages.findIndex((message) => message.role !== 'system');
    const system = first < 0 ? this.messages : this.messages.slice(0, first);
    let rest = first < 0 ? [] : this.messages.slice(first);
    let overflowed = false;
    for (;;) {
      const messages = [...system, ...rest, ...added];
      const used = await this.countAll(messages);
      if (used < this.inputQuota) {
        this.inputUsage = used;
        if (overflowed) this.overflow();
        return messages;
      }
      if (rest.length === 0) throw refuse('QuotaExceededError', `the input takes ${used} tokens, and the context has ${this.inputQuota}`);
      const next = rest.findIndex((message, index) => index > 0 && message.role === 'user');
      rest = next < 0 ? [] : rest.slice(next);
      overflowed = true;
    }
  }

  overflow() {
    for (const name of /** @type {const} */ (['quotaoverflow', 'contextoverflow'])) {
      const event = new Event(name);
      this.dispatchEvent(event);
      this[`on${name}`]?.(event);
    }
  }

  /** @param {Message[]} added */
  count(added) {
    return this.countAll([...this.messages, ...added]);
  }

  /** @param {Message[]} messages */
  async countAll(messages) {
    if (messages.length === 0) return 0;
    // Templates refuse a conversation in which nobody asks anything.
    const asks = messages.some((message) => message.role === 'user');
    /** @type {Message} */
    const question = { role: 'user', content: '' };
    return this.model.countTokens({ messages: asks ? messages : [...messages, question] });
  }

  /** @param {{signal?: AbortSignal}} options */
  check({ signal }) {
    if (this.ended.signal.aborted) throw this.ended.signal.reason;
    if (signal?.aborted) throw signal.reason;
  }

  /** One prompt after the other. */
  take() {
    const { turn } = this;
    /** @type {() => void} */ let release = () => {};
    this.turn = new Promise((resolve) => { release = () => resolve(undefined); });
    return { turn, release };
  }

  /** @template T @param {() => Promise<T>} task */
  async exclusively(task) {
    const { turn, release } = this.take();
    try {
      await turn;
      return await task();
    } finally {
      release();
    }
  }
}

/** @param {Input} input @returns {Message[]} */
function readInput(input) {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  if (!Array.isArray(input)) throw new TypeError('a prompt is a text, or a list of messages');
  return input.map(({ role, content, prefix }) => {
    if (prefix) throw refuse('NotSupportedError', 'a beginning of the answer cannot be given');
    if (typeof content === 'string') return { role, content };
    const parts = content.map((part) => {
      if (part.type === 'text') return /** @type {const} */ ({ type: 'text', text: part.value });
      if (part.type !== 'image') throw refuse('NotSupportedError', `input of type ${/** @type {any} */ (part).type} cannot be read`);
      const { value } = part;
      const bytes = value instanceof ArrayBuffer || (ArrayBuffer.isView(value) && !('width' in value));
      const image = /** @type {import('./messages.js').ImageSource} */ (bytes ? new Blob([/** @type {any} */ (value)]) : value);
      return /** @type {const} */ ({ type: 'image', image });
    });
    return { role, content: parts };
  });
}

/** Errors under the names that the API has for them. @param {unknown} error */
function asDomException(error) {
  if (!(error instanceof QwenError)) return error;
  if (error.code === 'context-full') return refuse('QuotaExceededError', error.message);
  if (error.code === 'invalid-request') return new TypeError(error.message, { cause: error });
  return error;
}

/** @template T @param {Promise<T>} promise @param {AbortSignal | undefined} signal @returns {Promise<T>} */
function untilAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
