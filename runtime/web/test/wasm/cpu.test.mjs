// The package from `Qwen.load` down on the CPU, under node: the engine, and a bundle's kernels in WebAssembly in place of a GPU. With
// the bundle and the native runtime's answer of engine.test.mjs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { fetchFile } from '../../bench/files.js';
import { Qwen } from '../../src/index.js';

const bundle = process.env.QWENC_BUNDLE;
assert.ok(bundle, 'run `cargo xtask web --test`');
const expected = JSON.parse(readFileSync(process.env.QWENC_EXPECTED, 'utf8'));
const request = { messages: [{ role: 'user', content: process.env.QWENC_PROMPT }], temperature: 0, maxTokens: Number(process.env.QWENC_TOKENS) };
const notices = [];
let model;

before(async () => {
  const wasm = await WebAssembly.compile(readFileSync(new URL('../../dist/qwenc_bg.wasm', import.meta.url)));
  model = await Qwen.load(pathToFileURL(`${bundle}/`), { wasm, fetch: fetchFile, store: 'memory', onNotice: (notice) => notices.push(notice) });
});
after(() => model?.close());

test('without a GPU it is the CPU, and that is told', () => {
  assert.equal(model.info.deviceKind, 'cpu');
  assert.equal(model.info.canProfile, false);
  assert.deepEqual(notices.map(({ type, code }) => [type, code]), [['fallback', 'no-webgpu']]);
});

test('the same tokens as the native runtime', async () => {
  const { tokens, text, finishReason } = await model.generate(request).result;
  assert.deepEqual(tokens, expected.tokens);
  assert.equal(text, expected.text);
  assert.equal(finishReason, expected.finish_reason);
});

test('it stops on request, and goes on after', async () => {
  const controller = new AbortController();
  const stopped = model.generate({ ...request, signal: controller.signal });
  await assert.rejects(async () => {
    for await (const _ of stopped) controller.abort();
    await stopped.result;
  }, { name: 'AbortError' });
  assert.deepEqual((await model.generate(request).result).tokens, expected.tokens);
});

test('the bundle\'s golden run agrees', async () => {
  const { passed, worstCosine, positions } = await model.selfTest();
  assert.ok(passed && positions.length > 0 && worstCosine > 0.9999, `${worstCosine}`);
});

test('who wants the GPU only gets none', async () => {
  const refused = Qwen.load(pathToFileURL(`${bundle}/`), { device: 'gpu', fetch: fetchFile, store: 'memory' });
  await assert.rejects(refused, { code: 'no-webgpu' });
});
