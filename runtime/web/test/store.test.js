// The three stores behave alike, and the shelf above them keeps what bundles need.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { CacheStore } from '../src/store/cache.js';
import { MemoryStore } from '../src/store/memory.js';
import { OpfsStore } from '../src/store/opfs.js';
import { Shelf } from '../src/store/shelf.js';
import { openStore } from '../src/store/store.js';
import { FakeCache, FakeFolder } from './fakes.js';

const opfs = (quota = Infinity) => new OpfsStore(/** @type {any} */ (new FakeFolder(quota)));
const cache = () => new CacheStore(/** @type {any} */ (new FakeCache()), 7);

/** @param {AsyncIterable<Uint8Array>} parts */
async function joined(parts) {
  const chunks = [];
  for await (const part of parts) chunks.push(part.slice());
  return Buffer.concat(chunks).toString();
}
const text = (/** @type {string} */ words) => new TextEncoder().encode(words);

for (const [name, make] of /** @type {[string, () => any][]} */ ([['opfs', opfs], ['cache', cache], ['memory', () => new MemoryStore()]])) {
  test(`${name}: a file grows over several writers, and is read as written`, async () => {
    const store = make();
    assert.equal(await store.size('a'), 0);
    for (const words of ['one two three ', 'four five', ' six seven eight nine']) {
      const writer = await store.append('a');
      await writer.write(text(words));
      await writer.close();
    }
    assert.equal(await joined(store.read('a')), 'one two three four five six seven eight nine');
    assert.equal(await store.size('a'), 44);
    await store.put('b', text('other'));
    await store.put('b', text('new'));
    assert.equal(await joined(store.read('b')), 'new');
    assert.deepEqual((await store.keys()).sort(), ['a', 'b']);
    await store.remove('a');
    assert.equal(await store.size('a'), 0);
    assert.deepEqual(await store.keys(), ['b']);
  });
}

test('opfs: a file is read in place by several at a time, and past a writer; whoever stops lets go of it', async () => {
  const store = opfs();
  await store.put('a', new Uint8Array(3 << 20).map((_, at) => at >> 16));
  const [one, other] = [store.read('a'), store.read('a')];
  const first = (await one.next()).value;
  assert.equal(first?.length, 1 << 20);
  assert.equal((await other.next()).value?.[0], 0);
  assert.equal((await one.next()).value?.buffer, first?.buffer, 'one buffer');
  await assert.rejects(store.append('a'), { name: 'NoModificationAllowedError' });
  await one.return(undefined);
  await other.return(undefined);
  const writer = await store.append('a');
  await writer.write(text('!'));
  let bytes = 0;
  for await (const part of store.read('a')) bytes += part.length;
  assert.equal(bytes, (3 << 20) + 1);
  await writer.close();
  await store.remove('a');
});

test('the first store that works is taken, and memory when none does', async () => {
  const refuses = async () => { throw new DOMException('private window', 'SecurityError'); };
  assert.equal((await openStore('auto', { opfs: async () => opfs(), cache: async () => cache() })).kind, 'opfs');
  assert.equal((await openStore('auto', { opfs: refuses, cache: async () => cache() })).kind, 'cache');
  assert.equal((await openStore('auto', { opfs: async () => opfs(0), cache: refuses })).kind, 'memory');
  assert.equal((await openStore('memory', { opfs: async () => opfs() })).kind, 'memory');
});

/** @param {string} words */
const facts = (words) => ({ path: 'x', bytes: words.length, sha256: createHash('sha256').update(words).digest('hex') });

/** A server of one file, which counts what it sends. @param {string} words */
function server(words) {
  const sent = { bytes: 0, caches: /** @type {(string | undefined)[]} */ ([]) };
  const get = async (/** @type {any} */ _url, /** @type {any} */ { headers, cache: mode }) => {
    const from = Number(/bytes=(\d+)-/.exec(headers?.range ?? '')?.[1] ?? 0);
    const body = words.slice(from);
    sent.bytes += body.length;
    sent.caches.push(mode);
    const total = { 'content-range': `bytes ${from}-${words.length - 1}/${words.length}` };
    return new Response(body, { status: from ? 206 : 200, headers: from ? total : {} });
  };
  return { get: /** @type {any} */ (get), sent };
}

/** @param {AsyncGenerator<{chunk: Uint8Array, stored: boolean}>} parts */
async function read(parts) {
  let words = '';
  const origins = new Set();
  for await (const { chunk, stored } of parts) {
    words += Buffer.from(chunk).toString();
    origins.add(stored);
  }
  return { words, origins: [...origins] };
}

test('a second visit reads what the first one stored', async () => {
  const store = opfs();
  const { get, sent } = server('weights of a shard');
  const file = facts('weights of a shard');
  assert.deepEqual(await read(new Shelf(store, { fetch: get }).read('u', file)), { words: 'weights of a shard', origins: [false] });
  assert.deepEqual(await read(new Shelf(store, { fetch: get }).read('u', file)), { words: 'weights of a shard', origins: [true] });
  assert.equal(sent.bytes, file.bytes);
});

test('only what is missing of a file is fetched', async () => {
  const store = opfs();
  const { get, sent } = server('weights of a shard');
  const file = facts('weights of a shard');
  await store.put(file.sha256, text('weights'));
  assert.equal((await read(new Shelf(store, { fetch: get }).read('u', file))).words, 'weights of a shard');
  assert.equal(sent.bytes, file.bytes - 7);
  assert.equal(await joined(store.read(file.sha256)), 'weights of a shard');
});

test('a rejected file is fetched anew, around the browser cache', async () => {
  const store = opfs();
  const { get, sent } = server('right');
  const file = facts('right');
  await store.put(file.sha256, text('wrong'));
  const shelf = new Shelf(store, { fetch: get });
  assert.equal((await read(shelf.read('u', file))).words, 'wrong');
  await shelf.reject(file);
  assert.equal((await read(shelf.read('u', file, { fresh: true }))).words, 'right');
  assert.deepEqual(sent.caches, ['reload']);
});

test('a full disk is told, gives back what was taken, and the bytes come all the same', async () => {
  const store = opfs(10);
  const notices = /** @type {any[]} */ ([]);
  const shelf = new Shelf(store, { fetch: server('weights of a shard').get, onNotice: (notice) => notices.push(notice) });
  const file = facts('weights of a shard');
  assert.equal((await read(shelf.read('u', file))).words, 'weights of a shard');
  assert.deepEqual(notices.map((notice) => [notice.type, notice.code, notice.bytes]), [['not-stored', 'quota-exceeded', file.bytes]]);
  assert.equal(await store.size(file.sha256), 0);
  assert.equal((await read(shelf.read('u', file))).words, 'weights of a shard');
  assert.equal(notices.length, 1);
});

test('a reader that stops keeps what has arrived', async () => {
  const store = opfs();
  const { get } = server('weights of a shard');
  const file = facts('weights of a shard');
  for await (const _ of new Shelf(store, { fetch: get }).read('u', file)) break;
  assert.ok((await store.size(file.sha256)) > 0);
});

test('what no bundle refers to any more is removed, and what two share is kept', async () => {
  const store = opfs();
  const shelf = new Shelf(store);
  const [shared, old, next] = ['shared', 'old', 'next'].map(facts);
  for (const words of ['shared', 'old', 'next']) await store.put(facts(words).sha256, text(words));
  await store.put('stray', text('of a lost index'));
  const manifest = (/** @type {string} */ words) => ({ sha256: facts(words).sha256, bytes: text(words) });
  await shelf.adopt('one', manifest('m1'), [shared, old]);
  await shelf.adopt('two', manifest('m2'), [shared]);
  await shelf.adopt('one', manifest('m3'), [shared, next]);
  const wanted = ['index.json', ...['m2', 'm3', 'shared'].map((words) => facts(words).sha256)];
  assert.deepEqual((await store.keys()).sort(), wanted.sort());
  assert.equal(Buffer.from((await shelf.manifest('one')) ?? []).toString(), 'm3');
  await shelf.forget('one');
  assert.equal(await shelf.manifest('one'), undefined);
  assert.equal(await store.size(shared.sha256), 6);
});
