// One file over HTTP, as chunks. A connection that is cut is taken up again where it ended, with a Range request; the
// server's ETag says whether it still has the same file. What arrives is checked by size here, by hash by whoever reads it.

import { chunks } from './chunks.js';
import { QwenError, throwIfAborted } from './errors.js';

/** Attempts without a single new byte before it is given up. */
const MAX_ATTEMPTS = 5;
/** The first wait, in milliseconds; each next one is twice as long. */
const FIRST_WAIT = 250;

/**
 * @typedef {object} DownloadOptions
 * @property {number} bytes what the file has in all
 * @property {number} [from] bytes that are there already
 * @property {string} [etag] of the response that these bytes are from
 * @property {AbortSignal} [signal]
 * @property {typeof fetch} [fetch]
 * @property {RequestCache} [cache]
 * @property {number} [firstWait] for tests
 * @property {(etag: string) => void} [onEtag] told as soon as it is known
 */

/**
 * The bytes of a file from `from` on, in order, each once. A chunk is valid until the next one is asked for.
 * @param {string} url
 * @param {DownloadOptions} options
 * @returns {AsyncGenerator<Uint8Array, void, undefined>}
 */
export async function* download(url, options) {
  const { bytes, signal, firstWait = FIRST_WAIT } = options;
  let at = options.from ?? 0;
  let etag = options.etag;
  let attempts = 0;
  while (at < bytes) {
    throwIfAborted(signal);
    /** @type {Response} */
    let response;
    try {
      response = await request(url, at, etag, options);
    } catch (error) {
      throwIfAborted(signal);
      if (error instanceof QwenError) throw error;
      await retry(++attempts, firstWait, url, error, signal);
      continue;
    }
    if (response.status >= 500 || response.status === 429) {
      await response.body?.cancel();
      await retry(++attempts, firstWait, url, `the server answered ${response.status}`, signal);
      continue;
    }
    const begins = start(response, url, at, bytes);
    const tag = response.headers.get('etag') ?? undefined;
    if (tag !== undefined && tag !== etag) options.onEtag?.(tag);
    etag = tag;
    // A server that ignores Range sends everything again.
    let skip = at - begins;
    try {
      for await (const chunk of body(response, signal)) {
        const fresh = skip > 0 ? chunk.subarray(Math.min(skip, chunk.length)) : chunk;
        skip -= chunk.length - fresh.length;
        if (fresh.length === 0) continue;
        at += fresh.length;
        if (at > bytes) throw new QwenError('integrity', `${url} is longer than the ${bytes} bytes of the manifest`);
        attempts = 0;
        yield fresh;
      }
    } catch (error) {
      throwIfAborted(signal);
      if (error instanceof QwenError) throw error;
      await retry(++attempts, firstWait, url, error, signal);
      continue;
    }
    if (at < bytes) {
      // A clean end too early: the whole file is shorter, or the connection was cut behind a proxy.
      await retry(++attempts, firstWait, url, `it ended after ${at} of ${bytes} bytes`, signal);
    }
  }
}

/**
 * @param {string} url @param {number} at @param {string | undefined} etag @param {DownloadOptions} options
 * @returns {Promise<Response>}
 */
function request(url, at, etag, { signal, cache, fetch: get = globalThis.fetch }) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (at > 0) {
    headers.range = `bytes=${at}-`;
    // A weak tag does not promise equal bytes, and If-Range takes none.
    if (etag && !etag.startsWith('W/')) headers['if-range'] = etag;
  }
  return get(url, { headers, signal, cache: at > 0 ? 'no-store' : cache });
}

/**
 * Where a response begins in the file.
 * @param {Response} response @param {string} url @param {number} at @param {number} bytes
 */
function start(response, url, at, bytes) {
  if (response.status === 404 || response.status === 410) throw new QwenError('not-found', `${url} does not exist`);
  if (response.status === 416) throw new QwenError('integrity', `${url} is not ${bytes} bytes long: the server has no byte ${at}`);
  if (!response.ok) throw new QwenError('network', `${url}: the server answered ${response.status}`);
  if (response.status !== 206) return 0;
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  if (!range || Number(range[1]) > at) throw new QwenError('network', `${url}: the server sent another part than asked for`);
  if (range[2] !== '*' && Number(range[2]) !== bytes) {
    throw new QwenError('integrity', `${url} has ${range[2]} bytes, and the manifest says ${bytes}`);
  }
  return Number(range[1]);
}

/** @param {Response} response @param {AbortSignal | undefined} signal @returns {AsyncGenerator<Uint8Array>} */
async function* body(response, signal) {
  if (response.body) yield* chunks(response.body, () => throwIfAborted(signal));
}

/**
 * Waits before the next attempt, or gives up.
 * @param {number} attempts @param {number} firstWait @param {string} url @param {unknown} why @param {AbortSignal} [signal]
 */
async function retry(attempts, firstWait, url, why, signal) {
  if (attempts >= MAX_ATTEMPTS) {
    const reason = why instanceof Error ? why.message : String(why);
    throw new QwenError('network', `${url} cannot be fetched: ${reason}`, { cause: why });
  }
  await new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve(undefined);
    }, firstWait * 2 ** (attempts - 1));
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/**
 * A small file at once.
 * @param {string} url
 * @param {{signal?: AbortSignal, fetch?: typeof fetch, cache?: RequestCache, limit: number}} options
 * @returns {Promise<Uint8Array>}
 */
export async function fetchSmall(url, { signal, fetch: get = globalThis.fetch, cache, limit }) {
  /** @type {Response} */
  let response;
  try {
    response = await get(url, { signal, cache });
  } catch (error) {
    throwIfAborted(signal);
    throw new QwenError('network', `${url} cannot be fetched: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  if (response.status === 404 || response.status === 410) throw new QwenError('not-found', `${url} does not exist`);
  if (!response.ok) throw new QwenError('network', `${url}: the server answered ${response.status}`);
  /** @type {Uint8Array[]} */
  const parts = [];
  let length = 0;
  for await (const chunk of body(response, signal)) {
    length += chunk.length;
    if (length > limit) throw new QwenError('invalid-bundle', `${url} is larger than ${limit} bytes`);
    parts.push(chunk.slice());
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
