// Loading, answering, stopping, losing the GPU: the package's face over a stand-in for the engine.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Qwen } from '../src/index.js';
import { makeWorld } from './fake-engine.js';

/** @param {string} content */
const ask = (content) => /** @type {any} */ ({ messages: [{ role: 'user', content }] });

test('a bundle loads, with progress that ends where it should', async () => {
  const world = makeWorld();
  /** @type {any[]} */ const seen = [];
  const model = await Qwen.load(`${world.url}manifest.json?x=1#y`, { ...world.load, onProgress: (/** @type {any} */ progress) => seen.push(progress) });
  assert.equal(model.url, 'http://host/bundle/?x=1');
  const fetched = seen.filter(({ phase }) => phase === 'fetch');
  assert.deepEqual([fetched[0].loaded, fetched.at(-1).loaded, fetched.at(-1).total], [0, 8008, 8008]);
  assert.deepEqual(fetched.at(-1).shard, { index: 1, count: 2, path: 'weights/two.safetensors' });
  assert.deepEqual(seen.at(-1), { phase: 'ready', loaded: 3, total: 3 });
  assert.deepEqual(world.gpu.devices[0].descriptor.requiredFeatures, ['timestamp-query']);
  assert.equal(model.info.device, 'fake adapter');
  assert.deepEqual([model.info.deviceKind, model.info.store, model.info.offline], ['gpu', 'memory', false]);
  // The golden run is fetched when it is asked for.
  assert.ok(!world.server.asked.includes('golden.safetensors'));
  assert.equal((await model.selfTest()).passed, true);
  assert.equal(await model.detokenize(await model.tokenize('abc')), 'abc');
  model.close();
  assert.equal(world.log.freed, 1);
  await assert.rejects(model.generate(ask('x')).result, { code: 'closed' });
});

test('a second visit needs no network', async () => {
  const world = makeWorld();
  (await Qwen.load(world.url, world.load)).close();
  world.server.offline = true;
  const model = await Qwen.load(world.url, world.load);
  assert.equal(model.info.offline, true);
  model.close();
  world.store.files.clear();
  await assert.rejects(Qwen.load(world.url, world.load), { code: 'network' });
});

test('kernels are tried once for a bundle on a device', async () => {
  const world = makeWorld();
  for (let visit = 0; visit < 2; visit++) (await Qwen.load(world.url, world.load)).close();
  assert.deepEqual(world.log.tunings, ['', 'shaders/a.wgsl narrow\n']);
  assert.deepEqual(world.log.tuningSeconds, [0.3, 0]);
  // Another device has other fastest kernels; those of a renderer on the CPU are not worth the time.
  world.gpu.info = { description: 'another adapter', isFallbackAdapter: true };
  (await Qwen.load(world.url, world.load)).close();
  assert.deepEqual([world.log.tunings.at(-1), world.log.tuningSeconds.at(-1)], ['', 0]);
});

test('a damaged shard is fetched once more, and refused when it stays damaged', async () => {
  const world = makeWorld();
  let damaged = 0;
  const damage = (/** @type {number} */ times) => (/** @type {string} */ path, /** @type {Uint8Array} */ bytes) => {
    if (path !== 'weights/one.safetensors' || damaged >= times) return undefined;
    damaged += 1;
    const other = bytes.slice();
    other[100] ^= 1;
    return new Response(other);
  };
  world.server.answer = damage(1);
  /** @type {any[]} */ const seen = [];
  (await Qwen.load(world.url, { ...world.load, onProgress: (/** @type {any} */ progress) => seen.push(progress) })).close();
  assert.equal(damaged, 1);
  assert.equal(seen.filter(({ phase }) => phase === 'fetch').at(-1).loaded, 8008);
  const again = makeWorld();
  damaged = 0;
  again.server.answer = damage(9);
  await assert.rejects(Qwen.load(again.url, again.load), (/** @type {any} */ error) => error.code === 'integrity' && /Upload/.test(error.remedy));
  assert.equal(damaged, 2);
  assert.equal(again.gpu.devices[0].isLost, true);
  assert.equal(await again.store.size(JSON.parse(Buffer.from(/** @type {any} */ (again.files.get('manifest.json'))).toString()).files[3].sha256), 0);
});

test('loading stops on request, and goes on where it was', async () => {
  const world = makeWorld();
  const controller = new AbortController();
  const reason = new Error('enough');
  world.server.answer = (path, bytes) => path !== 'weights/two.safetensors' ? undefined : new Response(new ReadableStream({
    start(stream) {
      stream.enqueue(bytes.slice(0, 1000));
      setTimeout(() => {
        controller.abort(reason);
        stream.error(reason);
      }, 20);
    },
  }));
  await assert.rejects(Qwen.load(world.url, { ...world.load, signal: controller.signal }), (error) => error === reason);
  world.server.answer = () => undefined;
  world.server.asked.length = 0;
  (await Qwen.load(world.url, world.load)).close();
  assert.deepEqual(world.server.asked, ['manifest.json', 'weights/two.safetensors']);
});

test('what is missing is told before weights are fetched', async () => {
  const world = makeWorld();
  world.gpu.limits.maxBufferSize = 100;
  await assert.rejects(Qwen.load(world.url, world.load), { code: 'missing-limit', message: /maxBufferSize = 500.* 100/ });
  world.gpu.missing = true;
  await assert.rejects(Qwen.load(world.url, world.load), { code: 'no-webgpu' });
  assert.ok(!world.server.asked.some((path) => path.startsWith('weights/')));
  await assert.rejects(Qwen.load(`${world.url}other/`, world.load), { code: 'not-found' });
  await assert.rejects(Qwen.load(world.url, { ...world.load, signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
});

test('an answer is text, pieces, a stream and a result at once', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  const answer = model.generate({ ...ask('hi'), seed: 7, thinking: true });
  let text = '';
  for await (const piece of answer) text += piece;
  assert.equal(text, 'seed 7 says "hi"');
  let streamed = '';
  for await (const piece of /** @type {any} */ (answer.readable)) streamed += piece;
  assert.equal(streamed, text);
  const kinds = [];
  for await (const { kind } of answer.pieces()) kinds.push(kind);
  assert.deepEqual(kinds.slice(0, 2), ['reasoning', 'answer']);
  const result = await answer.result;
  assert.deepEqual([result.text, result.finishReason, result.seed, answer.tokenCount], [text, 'stop', 7, 16]);
  // Without a seed every answer has one of its own, which gives it again.
  const one = await model.generate(ask('x')).result;
  const two = await model.generate(ask('x')).result;
  assert.notEqual(one.seed, two.seed);
  assert.equal(await model.generate({ ...ask('x'), seed: one.seed }).text(), one.text);
  assert.equal((await model.generate({ ...ask('long'), maxTokens: 3 }).result).finishReason, 'length');
  model.close();
});

test('requests run one after the other', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  await Promise.all(['a', 'b', 'c'].map((word) => model.generate(ask(word)).result));
  assert.equal(world.log.mostRunning, 1);
  assert.deepEqual(world.log.prompts.map(({ messages }) => messages[0].content), ['a', 'b', 'c']);
  model.close();
});

test('an answer ends on request: with an error by its signal, with what there is by stop and by leaving the loop', async () => {
  const world = makeWorld({ delay: 5 });
  const model = await Qwen.load(world.url, world.load);
  const controller = new AbortController();
  const reason = new Error('enough');
  const aborted = model.generate({ ...ask('a long one'), signal: controller.signal });
  let text = '';
  await assert.rejects(async () => {
    for await (const piece of aborted) {
      text += piece;
      if (text.length === 3) controller.abort(reason);
    }
  }, (error) => error === reason);
  assert.ok(text.length >= 3 && text.length < 10);
  const stopped = model.generate(ask('a long one'));
  for await (const _ of stopped) break;
  const result = await stopped.result;
  assert.equal(result.finishReason, 'abort');
  assert.ok(result.tokens.length >= 1 && result.tokens.length < 10);
  const never = model.generate(ask('never'));
  never.stop();
  assert.deepEqual([(await never.result).text, (await never.result).finishReason], ['', 'abort']);
  model.close();
});

test('a lost GPU is replaced, and the answer goes on where it was', async () => {
  const world = makeWorld({ delay: 5 });
  /** @type {string[]} */ const notices = [];
  const model = await Qwen.load(world.url, { ...world.load, onNotice: (/** @type {any} */ { type }) => notices.push(type) });
  let heard = 0;
  model.addEventListener('device-restored', () => { heard += 1; });
  const asked = world.server.asked.length;
  const answer = model.generate({ ...ask('what is it'), seed: 3 });
  let text = '';
  let tokens = 0;
  for await (const piece of answer) {
    text += piece;
    if (text.length === 6) world.gpu.devices[0].destroy();
    tokens += 1;
  }
  assert.equal(text, 'seed 3 says "what is it"');
  assert.equal(tokens, 24);
  assert.equal(answer.tokenCount, 24);
  assert.deepEqual([notices[0], notices.at(-1), heard], ['device-lost', 'device-restored', 1]);
  assert.deepEqual([world.log.models, world.log.freed], [2, 1]);
  assert.equal(world.server.asked.length, asked, 'from where it is stored');
  // While nothing runs too: the next request finds another device.
  world.gpu.devices[1].destroy();
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(await model.generate({ ...ask('b'), seed: 1 }).text(), 'seed 1 says "b"');
  assert.equal(world.log.models, 3);
  // And when there is none any more, that is an error.
  world.gpu.missing = true;
  world.gpu.devices[2].destroy();
  await new Promise((resolve) => setTimeout(resolve, 10));
  await assert.rejects(model.generate(ask('c')).result, { code: 'device-lost' });
  model.close();
});

test('pictures go beside messages, in the order of their places', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  const picture = (/** @type {number} */ value) => ({ width: 1, height: 1, data: Uint8Array.of(value, 0, 0, 255) });
  await model.generate({ messages: [{ role: 'user', content: 'what' }], images: [picture(1), picture(2)] }).result;
  await model.generate({
    messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image' }, { type: 'image_url', image_url: { url: /** @type {any} */ (picture(4)) } }] }],
    images: [picture(3)],
  }).result;
  const [first, second] = world.log.prompts;
  assert.deepEqual(first.messages[0].content, [{ type: 'image' }, { type: 'image' }, { type: 'text', text: 'what' }]);
  assert.deepEqual(first.images.map((/** @type {any} */ image) => image.rgba[0]), [1, 2]);
  assert.deepEqual(second.messages[0].content.map((/** @type {any} */ part) => part.type), ['text', 'image', 'image']);
  assert.deepEqual(second.images.map((/** @type {any} */ image) => image.rgba[0]), [3, 4]);
  model.close();
});

test('malformed requests are refused by name', async () => {
  const world = makeWorld();
  const model = await Qwen.load(world.url, world.load);
  for (const [request, words] of /** @type {[any, RegExp][]} */ ([
    [{}, /messages/],
    [{ messages: [{ role: 'robot', content: '' }] }, /messages\[0\]\.role/],
    [{ messages: [{ role: 'user', content: [{ type: 'audio' }] }] }, /content\[0\]\.type/],
    [{ messages: [{ role: 'user', content: [{ type: 'image' }] }] }, /has no picture/],
    [{ ...ask('a'), temperature: 'hot' }, /temperature/],
    [{ ...ask('a'), maxTokens: 0 }, /maxTokens/],
    [{ ...ask('a'), seed: -1 }, /seed/],
    [{ ...ask('a'), stop: '' }, /stop/],
  ])) assert.throws(() => model.generate(request), (/** @type {any} */ error) => error.code === 'invalid-request' && words.test(error.message));
  await assert.rejects(model.generate({ ...ask('a'), images: [/** @type {any} */ ({ width: 2, height: 2, data: new Uint8Array(3) })] }).result, { code: 'invalid-request' });
  model.close();
});
