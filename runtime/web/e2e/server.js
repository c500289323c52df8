// A static server for tests, with the faults that networks and servers have. Everything lies under a sub-path, because a
// bundle must not care.

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

export const SUB_PATH = '/some/where/';

/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml', '.png': 'image/png', '.webmanifest': 'application/manifest+json',
};

/**
 * What is wrong with a file. `cut`: the connection ends after so many bytes, `times` times. `flip`: this byte is another one.
 * @typedef {{match: RegExp, cut?: number, flip?: number, times: number}} Fault
 */

/** @param {string} folder */
export async function startServer(folder) {
  const state = {
    /** @type {Fault[]} */ faults: [],
    /** @type {{path: string, range?: string}[]} */ seen: [],
    down: false,
    /** Milliseconds before each answer. */ delay: 0,
    origin: '',
    url: '',
    close: () => { server.closeAllConnections(); server.close(); },
  };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent((request.url ?? '').split('?')[0]);
    if (state.down) {
      request.socket.destroy();
      return;
    }
    if (!path.startsWith(SUB_PATH) || normalize(path) !== path) {
      response.writeHead(404).end();
      return;
    }
    const name = path.slice(SUB_PATH.length) || 'index.html';
    const { range } = request.headers;
    state.seen.push({ path: name, range });
    if (state.delay > 0) await new Promise((resolve) => setTimeout(resolve, state.delay));
    const file = join(folder, name);
    let size;
    try {
      const facts = statSync(file);
      if (!facts.isFile()) throw new Error('no file');
      ({ size } = facts);
    } catch {
      response.writeHead(404).end();
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    const headers = {
      'content-type': TYPES[extname(name)] ?? 'application/octet-stream', 'cache-control': 'no-cache', 'content-length': size - from, etag: `"${size}"`,
      ...(range ? { 'content-range': `bytes ${from}-${size - 1}/${size}` } : {}),
    };
    response.writeHead(range ? 206 : 200, headers);
    const fault = state.faults.find((one) => one.times > 0 && one.match.test(name));
    if (fault) fault.times -= 1;
    let at = from;
    const stream = createReadStream(file, { start: from });
    stream.on('data', (/** @type {any} */ chunk) => {
      const { flip, cut } = fault ?? {};
      if (flip !== undefined && flip >= at && flip < at + chunk.length) chunk[flip - at] ^= 1;
      const left = cut === undefined ? Infinity : cut - (at - from);
      at += chunk.length;
      if (chunk.length < left) {
        response.write(chunk);
        return;
      }
      stream.destroy();
      // What was written goes out before the connection ends.
      response.write(chunk.subarray(0, left), () => setTimeout(() => response.destroy(), 50));
    });
    stream.on('end', () => response.end());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  state.origin = `http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  state.url = state.origin + SUB_PATH;
  return state;
}
