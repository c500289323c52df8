// The engine's WebAssembly module on Dawn, Chromium's WebGPU: `cargo xtask web --test` builds it, compiles a bundle, and says
// by environment variables where both are and what the native runtime answered. Without these the tests fail: nothing is
// skipped.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { create } from '../../../../xtask/tint/node_modules/webgpu/index.js';
import { loadEngine } from '../../src/engine.js';
import { Loader } from '../../src/model.js';

const bundle = process.env.QWENC_BUNDLE;
assert.ok(bundle, 'run `cargo xtask web --test`');
const expected = JSON.parse(readFileSync(process.env.QWENC_EXPECTED, 'utf8'));
const maxNewTokens = Number(process.env.QWENC_TOKENS);
const messages = JSON.stringify([{ role: 'user', content: process.env.QWENC_PROMPT }]);
const greedy = (more = {}) => JSON.stringify({ maxNewTokens, temperature: 0, ...more });

const file = (path) => readFileSync(join(bundle, path));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Kept for the whole run: the addon crashes when the collector takes the instance before its devices are done. */
const gpu = create(['adapter=SwiftShader']);
let adapter;
let device;
let model;
let loader;

/** A loader that has everything but weights. */
function prepared() {
  const fresh = new Loader(file('manifest.json'));
  for (const { path, kind } of fresh.files()) if (kind === 'small') fresh.put(path, file(path));
  return fresh;
}

async function upload(to, path, content, piece) {
  to.shardBegin(path);
  for (let at = 0; at < content.length; at += piece) await to.shardWrite(content.subarray(at, at + piece));
  await to.shardEnd();
}

before(async () => {
  await loadEngine(readFileSync(new URL('../../dist/qwenc_bg.wasm', import.meta.url)));
  adapter = await gpu.requestAdapter();
  loader = prepared();
  const { optionalFeatures } = loader.requirements();
  const requiredFeatures = optionalFeatures.filter((name) => adapter.features.has(name));
  device = await adapter.requestDevice({ requiredFeatures });
  await loader.prepare(device, '');
  // SwiftShader compiles under one lock; uploading meanwhile would wait for it, and node with it.
  while (loader.pipelines().done < loader.pipelines().total) await sleep(200);

  const shards = loader.files().filter(({ kind }) => kind === 'weights');
  assert.ok(shards.length > 0);
  await assert.rejects(loader.finish(0), { code: 'invalid-bundle' }, 'no shard has come');
  for (const { path } of shards) {
    const damaged = Uint8Array.from(file(path));
    damaged[damaged.length >> 1] ^= 1;
    await assert.rejects(upload(loader, path, damaged, 5000), { code: 'integrity', name: 'EngineError' });
    await assert.rejects(upload(loader, path, damaged.subarray(0, 100), 7), { code: 'integrity' });
    // Another try, in pieces that end nowhere in particular.
    await upload(loader, path, file(path), 1001);
  }
  model = await loader.finish(0);
}, { timeout: 1_800_000 });

after(() => {
  model?.free();
  device?.destroy();
  // Dawn keeps node alive otherwise.
  setTimeout(() => process.exit(process.exitCode ?? 0), 1000).unref();
});

test('the same tokens as the native runtime', async () => {
  const events = [];
  const result = await model.generate(messages, [], greedy(), (event) => events.push(event), undefined);
  assert.deepEqual(result.tokens, expected.tokens);
  assert.equal(result.text, expected.text);
  assert.equal(result.finishReason, expected.finish_reason);
  assert.equal(events[0].type, 'prompt');
  assert.deepEqual(events.filter(({ type }) => type === 'token').map(({ id }) => id), expected.tokens);
  assert.equal(result.usage.promptTokens, expected.usage.prompt_tokens);
  assert.ok(result.usage.seconds > 0);
});

test('a prompt that goes on where the last one ended need not be computed again', async () => {
  const raw = (text) => model.generate('[]', [], JSON.stringify({ raw: text, maxNewTokens: 0 }), () => {}, undefined);
  const first = await raw('<|im_start|>user');
  const longer = await raw('<|im_start|>user<|im_end|>\n');
  assert.ok(longer.usage.promptTokens > first.usage.promptTokens);
  assert.equal(longer.usage.reusedTokens, first.usage.promptTokens);
  model.reset();
  assert.equal((await raw('<|im_start|>user<|im_end|>\n')).usage.reusedTokens, 0);
  const after = await model.generate(messages, [], greedy(), () => {}, undefined);
  assert.deepEqual(after.tokens, expected.tokens);
});

test('several tokens at a time are the same tokens', async () => {
  const ignoreEos = true;
  const one = await model.generate(messages, [], greedy({ ignoreEos, maxBatch: 1 }), () => {}, undefined);
  assert.equal(one.usage.batches, maxNewTokens);
  const several = await model.generate(messages, [], greedy({ ignoreEos, minBatch: 5, maxBatch: 5 }), () => {}, undefined);
  assert.deepEqual(several.tokens, one.tokens);
  assert.equal(several.usage.batches, Math.ceil(maxNewTokens / 5));
  const after = await model.generate(messages, [], greedy({ minBatch: 4 }), () => {}, undefined);
  assert.deepEqual(after.tokens, expected.tokens);
});

test('every dispatch of a token is timed', async () => {
  const { canProfile, dispatchesPerToken } = model.info();
  assert.equal(canProfile, device.features.has('timestamp-query'));
  const profile = await model.profile(2);
  assert.equal(profile.entry, 'decode');
  assert.ok(profile.kernels.length > 0 && profile.kernels.length <= dispatchesPerToken);
  for (const kernel of profile.kernels) {
    assert.ok(kernel.label !== '' && kernel.shader.endsWith('.wgsl') && kernel.microseconds >= 0);
    assert.ok(kernel.workgroups.every((count) => count > 0));
  }
  assert.ok(profile.microseconds > 0);
  const after = await model.generate(messages, [], greedy(), () => {}, undefined);
  assert.deepEqual(after.tokens, expected.tokens);
});

test('a signal stops it', async () => {
  const signal = { aborted: true };
  await assert.rejects(model.generate(messages, [], greedy(), () => {}, signal), { code: 'aborted' });
  signal.aborted = false;
  const stop = (event) => (signal.aborted ||= event.type === 'token');
  const result = await model.generate(messages, [], greedy({ ignoreEos: true }), stop, signal);
  assert.equal(result.finishReason, 'cancelled');
  assert.ok(result.tokens.length >= 1 && result.tokens.length <= 16, `${result.tokens.length} tokens`);
});

test('the bundle\'s golden run agrees', async () => {
  const report = await model.selfTest(file('golden.safetensors'));
  assert.equal(report.passed, true);
  assert.ok(report.positions.length > 0 && report.worstCosine > 0.999);
  await assert.rejects(model.selfTest(new Uint8Array(10)), { code: 'integrity' });
});

test('requests that cannot be met have codes', async () => {
  const ask = (text, options) => model.generate(text, [], options, () => {}, undefined);
  await assert.rejects(ask('no json', greedy()), { code: 'invalid-request' });
  await assert.rejects(ask(messages, greedy({ unknown: 1 })), { code: 'invalid-request' });
  await assert.rejects(ask(messages, greedy({ temperature: -1 })), { code: 'invalid-request' });
  await assert.rejects(ask('[]', greedy({ raw: 'x'.repeat(100_000) })), { code: 'context-full' });
  await assert.rejects(ask('[{}]', greedy()), { code: 'invalid-request' });
  await assert.rejects(ask(messages, greedy({ stop: [''] })), { code: 'invalid-request' });
  const image = { width: 2, height: 2, rgba: new Uint8Array(3) };
  await assert.rejects(model.generate(messages, [image], greedy(), () => {}, undefined), { code: 'invalid-request' });
  const running = ask(messages, greedy());
  await assert.rejects(ask(messages, greedy()), { code: 'invalid-request' });
  await running;
});

test('text to ids and back', () => {
  const ids = model.tokenize('Hello, world');
  assert.equal(model.detokenize(ids), 'Hello, world');
  assert.equal(model.countTokens(messages, [], '{}'), expected.usage.prompt_tokens);
  assert.equal(model.info().vocabSize, loader.facts().vocabSize);
});

test('what is not a bundle is refused', () => {
  assert.throws(() => new Loader(new TextEncoder().encode('{}')), { code: 'invalid-bundle' });
  const fresh = new Loader(file('manifest.json'));
  const damaged = Uint8Array.from(file('schedule.json'));
  damaged[10] ^= 1;
  assert.throws(() => fresh.put('schedule.json', damaged), { code: 'integrity' });
  fresh.put('schedule.json', file('schedule.json'));
  fresh.free();
});

test('a lost device is told as such', async () => {
  const running = model.generate(messages, [], greedy({ ignoreEos: true }), () => {}, undefined);
  device.destroy();
  await assert.rejects(running, { code: 'device-lost' });
  await assert.rejects(model.generate(messages, [], greedy(), () => {}, undefined), { code: 'device-lost' });
});
