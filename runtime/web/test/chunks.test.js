import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chunks } from '../src/chunks.js';

const BODY = Uint8Array.from({ length: 1_000_000 }, (_, at) => at * 7);

/** @param {ReadableStream<Uint8Array>} stream */
async function joined(stream) {
  const parts = [];
  for await (const chunk of chunks(stream)) parts.push(chunk.slice());
  return Buffer.concat(parts);
}

/** A stream in pieces of an odd size. @param {object} more */
const pieces = (more = {}) => {
  let at = 0;
  return new ReadableStream(/** @type {any} */ ({
    pull(/** @type {any} */ controller) {
      if (at >= BODY.length) {
        controller.close();
        controller.byobRequest?.respond(0);
        return;
      }
      controller.enqueue(BODY.slice(at, at + 12_345));
      at += 12_345;
    },
    ...more,
  }));
};

test('a stream that fills buffers goes through one', async () => {
  assert.ok((await joined(pieces({ type: 'bytes' }))).equals(BODY));
  const buffers = new Set();
  for await (const chunk of chunks(pieces({ type: 'bytes' }))) buffers.add(chunk.buffer.byteLength);
  assert.deepEqual([...buffers], [256 << 10], 'no buffer but ours');
});

test('other streams give what they have', async () => assert.ok((await joined(pieces())).equals(BODY)));

for (const type of ['bytes', undefined]) {
  test(`whoever stops cancels the stream (${type ?? 'plain'})`, async () => {
    let cancelled = false;
    for await (const _ of chunks(pieces({ type, cancel: () => { cancelled = true; } }))) break;
    assert.equal(cancelled, true);
    const stop = new Error('stop');
    await assert.rejects(async () => {
      for await (const _ of chunks(pieces({ type }), () => { throw stop; }));
    }, stop);
  });
}
