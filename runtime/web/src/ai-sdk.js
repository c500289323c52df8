// A language model for the Vercel AI SDK: the shape of its provider specification, versions 2 (AI SDK 5) and 3 (AI SDK 6).
// No part of the SDK is needed.
//
//   import { streamText } from 'ai';
//   import { qwenc } from 'qwenc/ai-sdk';
//   const { textStream } = streamText({ model: qwenc(await Qwen.load('/model/')), prompt: 'Hello' });

import { toStream } from './answer.js';
import { Qwen } from './qwen.js';

/** @typedef {import('./messages.js').Message} Message @typedef {import('./messages.js').Part} Part @typedef {import('./answer.js').Result} Result */

/**
 * A call, as far as it is read here; the SDK gives it.
 * @typedef {object} CallOptions
 * @property {any[]} prompt
 * @property {number} [maxOutputTokens]
 * @property {number} [temperature]
 * @property {number} [topP]
 * @property {number} [topK]
 * @property {number} [presencePenalty]
 * @property {number} [frequencyPenalty]
 * @property {string[]} [stopSequences]
 * @property {number} [seed]
 * @property {any[]} [tools]
 * @property {{type: string}} [toolChoice]
 * @property {{type: string}} [responseFormat]
 * @property {AbortSignal} [abortSignal]
 * @property {Record<string, any>} [providerOptions] `qwenc`: `thinking`, `minP`, `repetitionPenalty`
 */

/**
 * @param {Qwen | (() => Promise<Qwen>)} model loaded, or a function that loads it at the first call
 * @param {{version?: 'v2' | 'v3', modelId?: string}} [options] of the specification; version 3 is what AI SDK 6 asks for
 */
export function qwenc(model, { version = 'v2', modelId = model instanceof Qwen ? model.info.name : 'qwenc' } = {}) {
  /** @type {Promise<Qwen> | undefined} */
  let loading;
  const load = () => {
    if (model instanceof Qwen) return model;
    loading ??= model().catch((error) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
  const start = async (/** @type {CallOptions} */ options) => {
    const { request, warnings } = readCall(options, version);
    return { answer: (await load()).generate(request), warnings };
  };
  return {
    specificationVersion: version,
    provider: 'qwenc',
    modelId,
    /** Pictures are read from their addresses here, not by the SDK. */
    supportedUrls: { 'image/*': [/^https?:\/\//, /^data:/, /^blob:/] },

    /** @param {CallOptions} options */
    async doGenerate(options) {
      const { answer, warnings } = await start(options);
      const result = await answer.result;
      const text = answer.log.filter((piece) => piece.kind === 'answer').map((piece) => piece.text).join('');
      return {
        content: [
          ...(result.reasoning ? [{ type: 'reasoning', text: result.reasoning }] : []),
          ...(text ? [{ type: 'text', text }] : []),
          ...result.toolCalls.map(toolCall),
        ],
        finishReason: reason(result, version),
        usage: usage(result, version),
        warnings,
      };
    },

    /** @param {CallOptions} options */
    async doStream(options) {
      const { answer, warnings } = await start(options);
      return { stream: toStream(parts(answer, warnings, version)) };
    },
  };
}

/** @param {import('./answer.js').Answer} answer @param {object[]} warnings @param {'v2' | 'v3'} version @returns {AsyncGenerator<any, void, undefined>} */
async function* parts(answer, warnings, version) {
  let ended = false;
  try {
    yield { type: 'stream-start', warnings };
    /** @type {'reasoning' | 'text' | undefined} */ let open;
    let id = 0;
    for await (const { kind, text } of answer.pieces()) {
      if (kind === 'tool_call') continue;
      const type = kind === 'reasoning' ? 'reasoning' : 'text';
      if (open !== type) {
        if (open) yield { type: `${open}-end`, id: String(id++) };
        open = type;
        yield { type: `${type}-start`, id: String(id) };
      }
      yield { type: `${type}-delta`, id: String(id), delta: text };
    }
    if (open) yield { type: `${open}-end`, id: String(id) };
    const result = await answer.result;
    ended = true;
    yield* result.toolCalls.map(toolCall);
    yield { type: 'finish', finishReason: reason(result, version), usage: usage(result, version) };
  } finally {
    if (!ended) answer.stop();
  }
}

/** @param {import('./tools.js').ToolCall} call */
const toolCall = ({ id, function: { name, arguments: input } }) => ({ type: 'tool-call', toolCallId: id, toolName: name, input });

/** @param {Result} result @param {'v2' | 'v3'} version */
function reason({ finishReason, toolCalls }, version) {
  const unified = finishReason === 'abort' ? 'other' : finishReason === 'stop' && toolCalls.length > 0 ? 'tool-calls' : finishReason;
  return version === 'v3' ? { unified, raw: finishReason } : unified;
}

/** @param {Result} result @param {'v2' | 'v3'} version */
function usage({ usage: { promptTokens, reusedTokens, generatedTokens } }, version) {
  if (version === 'v3') {
    return {
      inputTokens: { total: promptTokens, noCache: promptTokens - reusedTokens, cacheRead: reusedTokens, cacheWrite: undefined },
      outputTokens: { total: generatedTokens, text: undefined, reasoning: undefined },
    };
  }
  return { inputTokens: promptTokens, outputTokens: generatedTokens, totalTokens: promptTokens + generatedTokens, cachedInputTokens: reusedTokens };
}

/** @param {CallOptions} options @param {'v2' | 'v3'} version */
function readCall(options, version) {
  /** @type {object[]} */
  const warnings = [];
  const unsupported = (/** @type {string} */ setting, /** @type {string} */ details) => {
    warnings.push(version === 'v3' ? { type: 'unsupported', feature: setting, details } : { type: 'unsupported-setting', setting, details });
  };
  if (options.frequencyPenalty) unsupported('frequencyPenalty', 'it is left out');
  if (options.responseFormat && options.responseFormat.type !== 'text') unsupported('responseFormat', 'the answer is plain text');
  if (options.toolChoice && !['auto', 'none'].includes(options.toolChoice.type)) unsupported('toolChoice', 'the model chooses');
  const tools = options.toolChoice?.type === 'none' ? [] : (options.tools ?? []).filter((tool) => {
    if (tool.type !== 'function') unsupported('tools', `${tool.id ?? tool.name} is no function`);
    return tool.type === 'function';
  });
  const { thinking, minP, repetitionPenalty } = options.providerOptions?.qwenc ?? {};
  return {
    warnings,
    request: {
      messages: options.prompt.flatMap(readMessage),
      signal: options.abortSignal,
      maxTokens: options.maxOutputTokens,
      temperature: options.temperature,
      topP: options.topP,
      topK: options.topK,
      minP,
      repetitionPenalty,
      presencePenalty: options.presencePenalty,
      seed: options.seed,
      stop: options.stopSequences,
      thinking,
      tools: tools.length > 0
        ? tools.map(({ name, description, inputSchema }) => ({ type: 'function', function: { name, description, parameters: inputSchema } }))
        : undefined,
    },
  };
}

/** @param {any} message @returns {Message[]} */
function readMessage({ role, content }) {
  switch (role) {
    case 'system':
      return [{ role, content }];
    case 'user':
      return [{ role, content: content.map(readPart) }];
    case 'assistant': {
      const of = (/** @type {string} */ type) => content.filter((/** @type {any} */ part) => part.type === type);
      const joined = (/** @type {any[]} */ list) => list.map((part) => part.text).join('');
      const calls = of('tool-call').map((/** @type {any} */ { toolCallId, toolName, input }) => ({
        id: toolCallId, type: 'function', function: { name: toolName, arguments: typeof input === 'string' ? input : JSON.stringify(input) },
      }));
      const reasoning = joined(of('reasoning'));
      return [{
        role,
        content: joined(of('text')),
        ...(reasoning ? { reasoning_content: reasoning } : {}),
        ...(calls.length > 0 ? { tool_calls: calls } : {}),
      }];
    }
    case 'tool':
      return content.filter((/** @type {any} */ part) => part.type === 'tool-result').map((/** @type {any} */ { toolCallId, toolName, output }) => ({
        role, tool_call_id: toolCallId, name: toolName, content: resultText(output),
      }));
    default:
      return [{ role, content }];
  }
}

/** @param {any} output */
function resultText(output) {
  if (typeof output?.value === 'string') return output.value;
  return JSON.stringify(output?.value ?? output ?? null);
}

/** @param {any} part @returns {Part} */
function readPart(part) {
  if (part.type !== 'file') return part;
  const { data, mediaType } = part;
  // Base64 as text, or bytes, or an address.
  if (data instanceof URL) return { type: 'image', image: data };
  const image = typeof data === 'string' ? `data:${mediaType};base64,${data}` : new Blob([data], { type: mediaType });
  return { type: 'image', image };
}
