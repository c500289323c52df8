// Downloads against a real server that cuts connections, ignores ranges, or lies.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';

import { download, fetchSmall } from '../src/download.js';

const BODY = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 7 + (index >> 8)) & 255);
/** @type {import('node:http').Server} */ let server;
let address = '';
/** @type {{path: string, range?: string, ifRange?: string}[]} */ let seen = [];

before(async () => {
  server = createServer((request, response) => {
    const range = request.headers.range;
    seen.push({ path: request.url ?? '', range, ifRange: /** @type {string | undefined} */ (request.headers['if-range']) });
    const from = Number(/bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
    const part = BODY.subarray(from);
    const ranged = { etag: '"one"', 'content-range': `bytes ${from}-${BODY.length - 1}/${BODY.length}` };
    switch (request.url) {
      case '/cut': // 30 000 bytes a connection
        response.writeHead(range ? 206 : 200, { ...(range ? ranged : { etag: '"one"' }), 'content-length': part.length });
        response.write(part.subarray(0, 30_000), () => {
          if (part.length > 30_000) response.destroy();
          else response.end();
        });
        return;
      case '/no-range': // cut once, then everything again
        response.writeHead(200, { 'content-length': BODY.length });
        if (seen.length === 1) response.write(BODY.subarray(0, 30_000), () => response.destroy());
        else response.end(BODY);
        return;
      case '/other-size':
        response.writeHead(206, { 'content-range': `bytes ${from}-4999/5000` });
        response.end(BODY.subarray(from, 5000));
        return;
      case '/long':
        response.end(Buffer.concat([BODY, BODY]));
        return;
      case '/busy':
        response.writeHead(503);
        response.end();
        return;
      case '/slow':
        response.writeHead(200, { 'content-length': BODY.length });
        response.write(BODY.subarray(0, 1000));
        return;
      default:
        response.writeHead(404);
        response.end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  address = `http://127.0.0.1:${/** @type {any} */ (server.address()).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => { seen = []; });

/** @param {string} path @param {object} [options] */
async function all(path, options = {}) {
  const chunks = [];
  for await (const chunk of download(address + path, { bytes: BODY.length, firstWait: 1, ...options })) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

test('a cut connection is taken up where it ended, of the same file', async () => {
  assert.ok((await all('/cut')).equals(BODY));
  assert.deepEqual(seen.map((request) => request.range), [undefined, 'bytes=30000-', 'bytes=60000-', 'bytes=90000-']);
  assert.deepEqual(seen.map((request) => request.ifRange), [undefined, '"one"', '"one"', '"one"']);
});

test('what is there already is not fetched', async () => {
  assert.ok((await all('/cut', { from: 75_000 })).equals(BODY.subarray(75_000)));
  assert.equal(seen[0].range, 'bytes=75000-');
});

test('a server without ranges sends everything again, and no byte comes twice', async () => {
  assert.ok((await all('/no-range')).equals(BODY));
  assert.equal(seen.length, 2);
});

test('a file of another size is refused', async () => {
  await assert.rejects(all('/other-size', { from: 1000 }), { code: 'integrity' });
  await assert.rejects(all('/long'), { code: 'integrity' });
});

test('a missing file is told at once, a busy server after five attempts', async () => {
  await assert.rejects(all('/missing'), { code: 'not-found' });
  assert.equal(seen.length, 1);
  seen = [];
  await assert.rejects(all('/busy'), { code: 'network' });
  assert.equal(seen.length, 5);
});

test('an abort ends it with the reason of the signal', async () => {
  const reason = new Error('the user left');
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  await assert.rejects(all('/slow', { signal: controller.signal }), (error) => error === reason);
});

test('small files have a limit', async () => {
  await assert.rejects(fetchSmall(`${address}/long`, { limit: 1000 }), { code: 'invalid-bundle' });
  await assert.rejects(fetchSmall(`${address}/missing`, { limit: 1000 }), { code: 'not-found' });
  assert.equal((await fetchSmall(`${address}/long`, { limit: 200_000 })).length, 200_000);
});
