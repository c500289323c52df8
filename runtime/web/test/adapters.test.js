// The shapes of other APIs: OpenAI's chat completions, the Prompt API, the AI SDK.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { qwenc } from '../src/ai-sdk.js';
import { Qwen } from '../src/index.js';
import { promptApi } from '../src/language-model.js';
import { readToolCalls } from '../src/tools.js';
import { makeWorld } from './fake-engine.js';

const user = (/** @type {string} */ content) => /** @type {any} */ ({ role: 'user', content });

/** @template T @param {AsyncIterable<T>} parts @returns {Promise<T[]>} */
async function all(parts) {
  const list = [];
  for await (const part of parts) list.push(part);
  return list;
}

test('OpenAI: a completion, and the same as chunks', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  const { create } = model.chat.completions;
  const ask = create.bind(model.chat.completions);
  const whole = await ask({ messages: [user('hi')], seed: 1, enable_thinking: true, max_completion_tokens: 50 });
  assert.equal(whole.object, 'chat.completion');
  const [{ message, finish_reason: reason }] = whole.choices;
  assert.deepEqual([message.content, message.reasoning_content, reason], ['seed 1 says "hi"', 'hmm', 'stop']);
  assert.deepEqual(whole.usage, { prompt_tokens: 10, completion_tokens: 16, total_tokens: 26, prompt_tokens_details: { cached_tokens: 4 } });
  assert.equal(world.log.prompts[0].options.maxNewTokens, 50);

  const chunks = await all(await ask({ messages: [user('hi')], seed: 1, stream: true, stream_options: { include_usage: true }, max_tokens: 6 }));
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), 'seed 1');
  assert.equal(chunks.at(-2)?.choices[0].finish_reason, 'length');
  assert.deepEqual([chunks.at(-1)?.choices.length, chunks.at(-1)?.usage?.completion_tokens], [0, 6]);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);

  const called = await ask({ messages: [user('call')], tools: [{ type: 'function', function: { name: 'add', parameters: { properties: { a: { type: 'number' } } } } }] });
  assert.equal(called.choices[0].finish_reason, 'tool_calls');
  assert.equal(called.choices[0].message.content, null);
  assert.deepEqual(called.choices[0].message.tool_calls?.[0].function, { name: 'add', arguments: '{"a":1}' });

  await assert.rejects(ask(/** @type {any} */ ({ messages: [user('hi')], n: 2 })), { code: 'invalid-request' });
  await assert.rejects(ask({ messages: [user('hi')] }, { signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
  const stream = await ask({ messages: [user('a long question')], stream: true });
  for await (const _ of stream) break;
  assert.equal((await stream.answer.result).finishReason, 'abort');
  model.close();
});

test('tool calls in both spellings; what is none is left out', () => {
  const call = (/** @type {string} */ body) => readToolCalls([`<tool_call>\n${body}\n</tool_call>`])[0]?.function;
  assert.deepEqual(call('<function=f>\n<parameter=a>\nx\ny\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>'), { name: 'f', arguments: '{"a":"x\\ny","b":"2"}' });
  assert.deepEqual(call('{"name": "f", "arguments": {"a": 1}}'), { name: 'f', arguments: '{"a":1}' });
  assert.equal(call('hello'), undefined);
});

test('Prompt API: sessions with their own histories over one model', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  const LanguageModel = promptApi(model);
  assert.equal(await LanguageModel.availability(), 'available');
  assert.equal(await LanguageModel.availability({ expectedInputs: [{ type: 'audio' }] }), 'unavailable');
  /** @type {number[]} */ const progress = [];
  const session = await LanguageModel.create({
    initialPrompts: [{ role: 'system', content: 'brief' }],
    temperature: 0,
    monitor: (monitor) => monitor.addEventListener('downloadprogress', (event) => progress.push(/** @type {any} */ (event).loaded)),
  });
  assert.deepEqual(progress, [1]);
  assert.match(await session.prompt('one'), /says "one"/);
  const copy = await session.clone();
  let streamed = '';
  for await (const piece of /** @type {any} */ (session.promptStreaming('two'))) streamed += piece;
  assert.match(streamed, /says "two"/);
  assert.deepEqual(world.log.prompts[1].messages.map((/** @type {any} */ message) => message.role), ['system', 'user', 'assistant', 'user']);
  assert.equal(world.log.prompts[1].options.temperature, 0);
  await copy.append([{ role: 'user', content: 'context' }]);
  await copy.prompt('three');
  assert.deepEqual(world.log.prompts[2].messages.map((/** @type {any} */ message) => message.content).slice(-2), ['context', 'three']);
  assert.equal(await session.measureInputUsage('12345'), 5);
  assert.ok(session.inputUsage > 0 && session.inputQuota === 100 && session.contextWindow === 100);

  // The context has 100: turns are forgotten, and that is told; what never fits is refused.
  let overflowed = 0;
  session.onquotaoverflow = () => { overflowed += 1; };
  await session.prompt('x'.repeat(80));
  assert.equal(overflowed, 1);
  assert.deepEqual(world.log.prompts.at(-1).messages.map((/** @type {any} */ message) => message.role), ['system', 'user']);
  await assert.rejects(session.prompt('x'.repeat(200)), { name: 'QuotaExceededError' });
  await assert.rejects(session.prompt('a', { responseConstraint: {} }), { name: 'NotSupportedError' });
  session.destroy();
  await assert.rejects(session.prompt('a'), { name: 'InvalidStateError' });
  await copy.prompt('still here').catch(assert.fail);
  model.close();
});

test('AI SDK: generate and stream, in versions 2 and 3', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  const prompt = [
    { role: 'system', content: 'brief' },
    { role: 'user', content: [{ type: 'text', text: 'hi' }, { type: 'file', mediaType: 'image/png', data: new URL('data:,') }] },
    { role: 'assistant', content: [{ type: 'reasoning', text: 'r' }, { type: 'text', text: 't' }, { type: 'tool-call', toolCallId: '1', toolName: 'f', input: { a: 1 } }] },
    { role: 'tool', content: [{ type: 'tool-result', toolCallId: '1', toolName: 'f', output: { type: 'json', value: 3 } }] },
  ];
  const provider = qwenc(model);
  assert.deepEqual([provider.specificationVersion, provider.provider, provider.modelId], ['v2', 'qwenc', 'fake']);
  await assert.rejects(provider.doGenerate({ prompt }), { code: 'unsupported-image' }, 'node decodes no pictures');
  prompt.splice(1, 1, { role: 'user', content: [{ type: 'text', text: 'hi' }] });
  const result = await provider.doGenerate({ prompt, seed: 1, maxOutputTokens: 6, frequencyPenalty: 1, providerOptions: { qwenc: { thinking: true } } });
  assert.deepEqual(result.content, [{ type: 'reasoning', text: 'hmm' }, { type: 'text', text: 'seed 1' }]);
  assert.deepEqual([result.finishReason, result.usage], ['length', { inputTokens: 10, outputTokens: 6, totalTokens: 16, cachedInputTokens: 4 }]);
  assert.equal(/** @type {any} */ (result.warnings[0]).setting, 'frequencyPenalty');
  const sent = world.log.prompts[0].messages;
  assert.deepEqual(sent[2].tool_calls[0], { id: '1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } });
  assert.deepEqual([sent[2].reasoning_content, sent[3].content, sent[3].tool_call_id], ['r', '3', '1']);

  const { stream } = await qwenc(async () => model, { version: 'v3' }).doStream({ prompt, seed: 1, maxOutputTokens: 2, providerOptions: { qwenc: { thinking: true } } });
  const parts = await all(/** @type {any} */ (stream));
  assert.deepEqual(parts.map((/** @type {any} */ part) => part.type),
    ['stream-start', 'reasoning-start', 'reasoning-delta', 'reasoning-end', 'text-start', 'text-delta', 'text-delta', 'text-end', 'finish']);
  assert.deepEqual(/** @type {any} */ (parts.at(-1)).finishReason, { unified: 'length', raw: 'length' });
  assert.equal(/** @type {any} */ (parts.at(-1)).usage.inputTokens.cacheRead, 4);
  model.close();
});
