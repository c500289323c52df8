// Calls through a real message channel.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { QwenError } from '../src/errors.js';
import { Caller, serve } from '../src/rpc.js';

/** @param {Record<string, any>} methods */
function connect(methods) {
  const { port1, port2 } = new MessageChannel();
  const server = serve(/** @type {any} */ (port2), methods);
  return { caller: new Caller(/** @type {any} */ (port1)), server };
}

test('values, events in order, and errors with their code and remedy', async () => {
  const { caller } = connect({
    count: async (/** @type {number} */ to, /** @type {any} */ { emit }) => {
      for (let at = 0; at < to; at++) emit(at);
      return 'done';
    },
    fail: () => { throw new QwenError('integrity', 'shard 3', { remedy: 'again' }); },
    break: () => { throw new TypeError('oops'); },
  });
  const events = /** @type {number[]} */ ([]);
  assert.equal(await caller.call('count', 3, { onEvent: (event) => events.push(event) }), 'done');
  assert.deepEqual(events, [0, 1, 2]);
  await assert.rejects(caller.call('fail'), { code: 'integrity', message: 'shard 3', remedy: 'again' });
  await assert.rejects(caller.call('break'), { code: 'internal', message: 'oops' });
  await assert.rejects(caller.call('toString'), { code: 'internal' });
  caller.close(new QwenError('closed', 'closed'));
  await assert.rejects(caller.call('count', 1), { code: 'closed' });
});

// An abort that is not forwarded leaves the call open: the time limit is what fails then.
test('an abort reaches the other side, and the caller gets the reason of its signal', { timeout: 5000 }, async () => {
  const { caller } = connect({
    wait: (/** @type {any} */ _, /** @type {any} */ { signal }) => new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    }),
    finish: (/** @type {any} */ _, /** @type {any} */ { signal }) => new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve('what there is'));
    }),
  });
  const reason = new Error('enough');
  for (const [method, check] of /** @type {[string, (call: Promise<any>) => Promise<void>][]} */ ([
    ['wait', (call) => assert.rejects(call, (error) => error === reason)],
    ['finish', async (call) => assert.equal(await call, 'what there is')],
  ])) {
    const controller = new AbortController();
    const call = caller.call(method, undefined, { signal: controller.signal });
    controller.abort(reason);
    await check(call);
  }
  await assert.rejects(caller.call('wait', 0, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
  caller.close(new QwenError('closed', 'closed'));
});

test('closing fails what is open', async () => {
  const { caller, server } = connect({ never: () => new Promise(() => {}) });
  const heard = new Promise((resolve) => { caller.onNotice = resolve; });
  server.notify({ type: 'device-lost' });
  assert.deepEqual(await heard, { type: 'device-lost' });
  const call = caller.call('never');
  caller.close(new QwenError('closed', 'the model was closed'));
  await assert.rejects(call, { code: 'closed' });
});
