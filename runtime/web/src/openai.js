// The shape of OpenAI's chat completions, over a model in this page.

import { QwenError } from './errors.js';
import { toStream } from './answer.js';

/** @typedef {import('./qwen.js').Qwen} Qwen @typedef {import('./answer.js').Answer} Answer @typedef {import('./answer.js').Result} Result */
/** @typedef {import('./messages.js').Message} Message @typedef {import('./tools.js').ToolCall} ToolCall */

/**
 * What `create` takes: OpenAI's names, and `top_k`, `min_p`, `repetition_penalty`, `enable_thinking` beside them.
 * @typedef {object} CreateParams
 * @property {Message[]} messages
 * @property {string} [model] ignored: there is one
 * @property {boolean} [stream]
 * @property {{include_usage?: boolean}} [stream_options]
 * @property {number | null} [max_tokens]
 * @property {number | null} [max_completion_tokens]
 * @property {number | null} [temperature]
 * @property {number | null} [top_p]
 * @property {number | null} [presence_penalty]
 * @property {number | null} [seed]
 * @property {string | string[] | null} [stop]
 * @property {object[]} [tools]
 * @property {'none' | 'auto' | object} [tool_choice] `none` and `auto`
 * @property {number} [top_k]
 * @property {number} [min_p]
 * @property {number} [repetition_penalty]
 * @property {boolean} [enable_thinking]
 */

/** @typedef {'stop' | 'length' | 'tool_calls' | 'abort'} FinishReason */

/**
 * @typedef {object} CompletionUsage
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} total_tokens
 * @property {{cached_tokens: number}} prompt_tokens_details
 */

/**
 * @typedef {object} ChatCompletion
 * @property {string} id
 * @property {'chat.completion'} object
 * @property {number} created
 * @property {string} model
 * @property {{index: 0, finish_reason: FinishReason, logprobs: null, message: {role: 'assistant', content: string | null, refusal: null,
 *   reasoning_content?: string, tool_calls?: ToolCall[]}}[]} choices
 * @property {CompletionUsage} usage
 */

/**
 * @typedef {object} ChatCompletionChunk
 * @property {string} id
 * @property {'chat.completion.chunk'} object
 * @property {number} created
 * @property {string} model
 * @property {{index: 0, finish_reason: FinishReason | null, logprobs: null, delta: {role?: 'assistant', content?: string, reasoning_content?: string,
 *   tool_calls?: (ToolCall & {index: number})[]}}[]} choices
 * @property {CompletionUsage | null} [usage]
 */

/** What cannot be done, and would change the answer silently: it is refused. */
const REFUSED = /** @type {[string, (value: any) => boolean][]} */ ([
  ['n', (value) => value !== 1],
  ['logprobs', (value) => value !== false],
  ['logit_bias', (value) => Object.keys(value).length > 0],
  ['frequency_penalty', (value) => value !== 0],
  ['response_format', (value) => value?.type !== 'text'],
  ['tool_choice', (value) => value !== 'auto' && value !== 'none'],
  ['audio', () => true],
]);

/** Chunks as they come; leaving the loop, or `controller.abort()`, ends the answer. @implements {AsyncIterable<ChatCompletionChunk>} */
export class CompletionStream {
  /** @param {Answer} answer @param {AsyncGenerator<ChatCompletionChunk, void, undefined>} chunks @param {AbortController} controller */
  constructor(answer, chunks, controller) {
    this.answer = answer;
    this.chunks = chunks;
    this.controller = controller;
  }

  [Symbol.asyncIterator]() {
    return this.chunks;
  }

  /** @returns {ReadableStream<ChatCompletionChunk>} */
  toReadableStream() {
    return toStream(this.chunks);
  }
}

export class Completions {
  /** @param {Qwen} model */
  constructor(model) {
    this.model = model;
  }

  /**
   * Answers a conversation; with `stream: true` chunk by chunk.
   * @overload
   * @param {CreateParams & {stream: true}} params
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<CompletionStream>}
   */
  /**
   * @overload
   * @param {CreateParams & {stream?: false}} params
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<ChatCompletion>}
   */
  /**
   * @param {CreateParams} params
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<ChatCompletion | CompletionStream>}
   */
  async create(params, { signal } = {}) {
    for (const [name, refused] of REFUSED) {
      const value = /** @type {any} */ (params)[name];
      if (value !== undefined && value !== null && refused(value)) {
        throw new QwenError('invalid-request', `${name} = ${JSON.stringify(value)} cannot be done by this model's runtime`);
      }
    }
    const controller = new AbortController();
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', () => controller.abort(signal.reason), { once: true });
    const given = (/** @type {any} */ value) => value ?? undefined;
    const answer = this.model.generate({
      messages: params.messages,
      signal: controller.signal,
      maxTokens: given(params.max_completion_tokens ?? params.max_tokens),
      temperature: given(params.temperature),
      topP: given(params.top_p),
      topK: given(params.top_k),
      minP: given(params.min_p),
      repetitionPenalty: given(params.repetition_penalty),
      presencePenalty: given(params.presence_penalty),
      seed: given(params.seed),
      stop: given(params.stop),
      thinking: params.enable_thinking,
      tools: params.tool_choice === 'none' ? undefined : params.tools,
    });
    const head = { id: `chatcmpl-${crypto.randomUUID?.() ?? Math.random().toString(36).slice(2)}`, created: Math.floor(Date.now() / 1000), model: this.model.info.name };
    if (params.stream) return new CompletionStream(answer, chunks(answer, head, params.stream_options?.include_usage === true), controller);
    const result = await answer.result;
    const content = textOf(answer);
    return {
      ...head,
      object: 'chat.completion',
      choices: [{
        index: 0,
        finish_reason: reasonOf(result),
        logprobs: null,
        message: {
          role: 'assistant',
          content: content === '' && result.toolCalls.length > 0 ? null : content,
          refusal: null,
          ...(result.reasoning ? { reasoning_content: result.reasoning } : {}),
          ...(result.toolCalls.length > 0 ? { tool_calls: result.toolCalls } : {}),
        },
      }],
      usage: usageOf(result),
    };
  }
}

/** @param {Answer} answer @param {{id: string, created: number, model: string}} head @param {boolean} withUsage @returns {AsyncGenerator<ChatCompletionChunk, void, undefined>} */
async function* chunks(answer, head, withUsage) {
  const chunk = (/** @type {ChatCompletionChunk['choices'][0]['delta']} */ delta, /** @type {FinishReason | null} */ reason = null) =>
    /** @type {ChatCompletionChunk} */ ({
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, finish_reason: reason, logprobs: null }],
      ...(withUsage ? { usage: null } : {}),
    });
  let ended = false;
  try {
    yield chunk({ role: 'assistant', content: '' });
    for await (const { kind, text } of answer.pieces()) {
      // Calls are given whole, once they can be read.
      if (kind === 'answer') yield chunk({ content: text });
      else if (kind === 'reasoning') yield chunk({ reasoning_content: text });
    }
    const result = await answer.result;
    ended = true;
    if (result.toolCalls.length > 0) yield chunk({ tool_calls: result.toolCalls.map((call, index) => ({ index, ...call })) });
    yield chunk({}, reasonOf(result));
    if (withUsage) yield { ...head, object: 'chat.completion.chunk', choices: [], usage: usageOf(result) };
  } finally {
    if (!ended) answer.stop();
  }
}

/** The text without calls of tools. @param {Answer} answer */
const textOf = (answer) => answer.log.filter((piece) => piece.kind === 'answer').map((piece) => piece.text).join('');

/** @param {Result} result @returns {FinishReason} */
const reasonOf = ({ finishReason, toolCalls }) => (finishReason === 'stop' && toolCalls.length > 0 ? 'tool_calls' : finishReason);

/** @param {Result} result @returns {CompletionUsage} */
const usageOf = ({ usage }) => ({
  prompt_tokens: usage.promptTokens,
  completion_tokens: usage.generatedTokens,
  total_tokens: usage.promptTokens + usage.generatedTokens,
  prompt_tokens_details: { cached_tokens: usage.reusedTokens },
});
