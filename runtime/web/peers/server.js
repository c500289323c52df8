// What a good host does: brotli for everything but weights, long caching, and a count of what went over the wire.

import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.wasm': 'application/wasm',
};
/** Weights do not get smaller, and hosts do not try. */
const WEIGHTS = /\.(onnx_data|safetensors)$/;
const QUALITY = 9;

/** @param {Record<string, string>} folders by the first part of an address */
export async function startServer(folders) {
  const counts = { code: 0, model: 0 };
  /** @type {Map<string, Buffer>} What is compressed already. */ const files = new Map();

  /** @param {string} path */
  function find(path) {
    const [, first, ...rest] = normalize(path).split('/');
    const folder = folders[first];
    const name = folder && join(folder, ...rest);
    return name && statSync(name, { throwIfNoEntry: false })?.isFile() ? name : undefined;
  }

  /** @param {string} name */
  function compressed(name) {
    let body = files.get(name);
    if (!body) {
      const raw = readFileSync(name);
      body = brotliCompressSync(raw, { params: { [constants.BROTLI_PARAM_QUALITY]: QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: raw.length } });
      files.set(name, body);
    }
    return body;
  }

  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '').split('?')[0]);
    const name = find(path);
    if (!name) {
      response.writeHead(404, { 'cache-control': 'no-store' }).end();
      return;
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const brotli = !range && !WEIGHTS.test(name) && /\bbr\b/.test(request.headers['accept-encoding'] ?? '');
    let body = brotli ? compressed(name) : readFileSync(name);
    /** @type {Record<string, string>} */
    const headers = { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', 'cache-control': 'public, max-age=31536000, immutable', vary: 'accept-encoding' };
    if (brotli) headers['content-encoding'] = 'br';
    if (range) {
      const [from, to] = [Number(range[1]), range[2] === '' ? body.length - 1 : Math.min(Number(range[2]), body.length - 1)];
      headers['content-range'] = `bytes ${from}-${to}/${body.length}`;
      body = body.subarray(from, to + 1);
    }
    headers['content-length'] = String(body.length);
    if (request.method !== 'HEAD') counts[/^\/(model|bundle)\//.test(path) ? 'model' : 'code'] += body.length;
    response.writeHead(range ? 206 : 200, headers).end(request.method === 'HEAD' ? undefined : body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    origin: `http://localhost:${port}`,
    counts,
    close: () => { server.closeAllConnections(); server.close(); },
  };
}
