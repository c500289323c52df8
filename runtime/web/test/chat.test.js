// From messages to tokens, and from text to what it is: the cases of `runtime/tests`, which Rust is held against, too.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { ChatFiles } from '../src/chat/files.js';
import { parse } from '../src/chat/json.js';
import { readOptions } from '../src/chat/options.js';
import { promptOf } from '../src/chat/prompt.js';
import { Splitter, StopStrings } from '../src/chat/split.js';
import { Writer } from '../src/chat/writer.js';

/** @param {string} path */
const text = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
/** @param {string} words */
const bytes = (words) => new TextEncoder().encode(words);
const table = Uint8Array.from(Buffer.from(JSON.parse(text('tests/tokenizer/cases.json'))['qwen3.5'].table, 'hex'));
const files = (/** @type {Record<string, Uint8Array>} */ more = {}) => new ChatFiles(new Map(Object.entries({
  'model/tokenizer.bin': table, 'model/chat_template.jinja': bytes(text('../models/qwen3_5_chat_template.jinja')), ...more,
})));
const texts = JSON.parse(text('tests/chat/texts.json'));

/** Text in pieces of each size. @param {string} whole @param {(pieces: string[]) => void} does */
function inPieces(whole, does) {
  const characters = [...whole];
  for (let size = 1; size <= Math.max(1, characters.length); size++) {
    does(Array.from({ length: Math.ceil(characters.length / size) }, (_, at) => characters.slice(at * size, (at + 1) * size).join('')));
  }
}

test('reasoning, answers and calls are told apart', () => {
  for (const [thinking, whole, reasoning, answer, call] of texts.split) {
    inPieces(whole, (pieces) => {
      const found = { reasoning: '', answer: '', tool_call: '' };
      const splitter = new Splitter(thinking, (kind, piece) => {
        assert.ok(piece !== '');
        found[kind] += piece;
      });
      for (const piece of pieces) splitter.push(piece);
      splitter.finish();
      assert.deepEqual(found, { reasoning, answer, tool_call: call }, whole);
    });
  }
});

test('stop strings are found across pieces', () => {
  for (const [whole, before, found] of texts.stop) {
    inPieces(whole, (pieces) => {
      const stop = new StopStrings(texts.stopStrings);
      let out = '';
      const hit = pieces.some((piece) => {
        const [certain, ended] = stop.push(piece);
        out += certain;
        return ended;
      });
      assert.deepEqual([out + stop.held, hit], [before, found]);
    });
  }
});

test('a writer makes text, reasoning and calls of tokens', () => {
  const { tokenizer } = files();
  /** @type {string[]} */
  const pieces = [];
  const writer = new Writer(tokenizer, { thinking: true, stop: ['STOP'] }, (kind, piece) => pieces.push(`${kind}:${piece}`));
  const ids = tokenizer.encode('why 😀\n</think>\n\nsee<tool_call>a</tool_call><tool_call>b</tool_call> so STOP it');
  assert.ok(ids.some((id) => writer.token(id)));
  writer.finish();
  assert.deepEqual([writer.text, writer.reasoning, writer.toolCalls],
    ['see<tool_call>a</tool_call><tool_call>b</tool_call> so ', 'why 😀', ['<tool_call>a</tool_call>', '<tool_call>b</tool_call>']]);
  assert.ok(pieces.length > 5 && pieces[0] === 'reasoning:w');
});

/** What `parse` has read, as text again. @param {any} value @returns {string} */
function written(value) {
  if (typeof value === 'string') return value[0] === 's' ? JSON.stringify(value.slice(1)) : value.slice(1);
  if (Array.isArray(value)) return `[${value.map(written)}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  return `{${Object.entries(value).map(([key, of]) => `${JSON.stringify(key.slice(1))}:${written(of)}`)}}`;
}

test('conversations are prompts as by transformers', () => {
  const chat = files();
  let compared = 0, refused = 0;
  for (const { sname, smessages, stools, sarguments, stext } of parse(text('tests/chat_template/cases.json')).sconversations) {
    const { sadd_generation_prompt: opening, senable_thinking: thinking, ...variables } = sarguments;
    // As the engine asks: with the opening of the answer, and saying whether to reason.
    if (!opening || thinking === undefined) continue;
    const ask = () => promptOf(chat, written(smessages), { thinking, tools: stools, variables });
    if (stext === undefined) {
      assert.throws(ask, { code: 'invalid-request' }, sname);
      refused++;
      continue;
    }
    const prompt = ask();
    assert.deepEqual(prompt.ids, chat.tokenizer.encode(stext.slice(1)), sname);
    assert.equal(prompt.thinking, thinking, sname);
    assert.ok(prompt.stable > 0 && prompt.stable < prompt.ids.length);
    compared++;
  }
  assert.ok(compared > 10, `${compared}, ${refused}`);
});

test('numbers, order and arguments of calls stay what they are', () => {
  const chat = files({ 'model/chat_template.jinja': bytes('{{ messages | tojson }}{{ x | tojson }}') });
  const call = { id: 'i', type: 'function', function: { name: 'f', arguments: '{"2": 1.0, "1": 12345678901234567, "n1": "s\\"2"}' } };
  const json = `[{"name":"n","role":"a","content":null,"more":1,"tool_calls":[${JSON.stringify(call)}]}]`;
  const variables = parse('{"x": {"b": 1e2, "a": [1, -0.5, true, "1"]}}');
  const { ids } = promptOf(chat, json, { variables, tools: undefined });
  assert.equal(chat.tokenizer.decode(ids, false), '[{"role": "a", "content": null, "tool_calls": [{"id": "i", "type": "function", "function": '
    + '{"name": "f", "arguments": {"2": 1.0, "1": 12345678901234567, "n1": "s\\"2"}}}], "name": "n"}]{"b": 100.0, "a": [1, -0.5, true, "1"]}');
  for (const wrong of ['', '{}', '[1]', '[{}]', '[{"role":1}]', '[{"role":"a","content":1}]', '[{"role":"a","name":1}]', '[{"role":"a","tool_calls":{}}]',
    '[{"role":"a","tool_calls":[{"function":{"name":"f"}}]}]', '[{"role":"a","content":"\\x"}]']) {
    assert.throws(() => promptOf(chat, wrong, { variables: undefined, tools: undefined }), { code: 'invalid-request' }, wrong);
  }
});

test('what a model\'s files say, and what is asked for over it', () => {
  const config = { do_sample: true, temperature: 0.6, top_p: 0.95, eos_token_id: [5, 7, 'x'], max_new_tokens: 9 };
  const settings = { eos_token: { content: '<|im_end|>' }, bos_token: null, chat_template: 'x{{ eos_token }}' };
  const own = files({
    'model/generation_config.json': bytes(JSON.stringify(config)), 'model/tokenizer_config.json': bytes(JSON.stringify(settings)),
  });
  const [end] = own.tokenizer.encode('<|im_end|>');
  const { request, stop } = readOptions('{"topP": 0.5, "seed": 3, "minP": null, "stop": ["a"]}', own);
  assert.deepEqual({ ...request }, { temperature: 0.6, topK: 50, topP: 0.5, minP: 0, repetitionPenalty: 1, presencePenalty: 0, seed: 3, maxNewTokens: 9,
    stopTokens: [5, 7, end], minBatch: 1, maxBatch: 16 });
  assert.deepEqual(stop, ['a']);
  // Who narrows the choice of a greedy model, or gives a seed, wants one.
  const greedy = files({ 'model/generation_config.json': bytes('{}') });
  const temperature = (/** @type {string} */ json) => readOptions(json, greedy).request.temperature;
  assert.deepEqual(['{}', '{"topP":0.5}', '{"seed":3}', '{"seed":3,"temperature":0}'].map(temperature), [0, 1, 1, 0]);
  assert.equal(readOptions('{}', greedy).request.topK, 50);
  assert.equal(readOptions('{}', files()).request.topK, 0);
  const seeds = [1, 2].map(() => readOptions('{}', greedy).request.seed);
  assert.ok(seeds[0] !== seeds[1] && seeds.every(Number.isSafeInteger));
  for (const wrong of ['', '[]', '{"more":1}', '{"topK":-1}', '{"topK":0.5}', '{"temperature":"1"}', '{"seed":-1}', '{"stop":[""]}', '{"stop":"a"}', '{"raw":1}',
    '{"thinking":1}', '{"maxNewTokens":1e99}', `{"stop":["${'x'.repeat(5000)}"]}`]) {
    assert.throws(() => readOptions(wrong, own), { code: 'invalid-request' }, wrong);
  }
  for (const [path, content] of [['generation_config', '{'], ['generation_config', '[]'], ['generation_config', '{"top_p":"x"}'], ['tokenizer_config', 'null']]) {
    assert.throws(() => files({ [`model/${path}.json`]: bytes(content) }), { code: 'invalid-bundle' }, content);
  }
  assert.throws(() => files({ 'model/chat_template.jinja': bytes('{% if %}') }), /line 1: the chat template does not compile/);
  assert.throws(() => files({ 'model/chat_template.jinja': Uint8Array.of(0xff) }), { code: 'invalid-bundle' });
  assert.throws(() => files({ 'model/tokenizer.bin': bytes('QWTK') }), /tokenizer.bin: /);
  assert.throws(() => new ChatFiles(new Map()), /has no tokenizer/);
  const old = new ChatFiles(new Map([['model/tokenizer.bin', table], ['model/tokenizer_config.json', bytes(JSON.stringify(settings))]]));
  assert.equal(old.tokenizer.decode(promptOf(old, '[]', { variables: undefined, tools: undefined }).ids, false), 'x<|im_end|>');
  const none = new ChatFiles(new Map([['model/tokenizer.bin', table]]));
  assert.throws(() => promptOf(none, '[]', { variables: undefined, tools: undefined }), /no chat template/);
  assert.deepEqual(promptOf(none, '', { raw: 'a<|im_end|>', variables: undefined, tools: undefined }).ids, [...none.tokenizer.encode('a'), end]);
});
