// A bundle's folder behind `fetch`, for node: files in chunks as a network has them, from the byte that was asked for.

import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const CHUNK = 256 << 10;

/** @param {string | URL | Request} address @param {RequestInit} [init] */
export async function fetchFile(address, { headers = {} } = {}) {
  let file;
  try {
    file = await open(fileURLToPath(String(address)));
  } catch {
    return new Response(null, { status: 404 });
  }
  const { size } = await file.stat();
  let at = Number(/^bytes=(\d+)-$/.exec(/** @type {Record<string, string>} */ (headers).range ?? '')?.[1] ?? 0);
  const status = at > 0 ? 206 : 200;
  const range = at > 0 ? { 'content-range': `bytes ${at}-${size - 1}/${size}` } : undefined;
  const body = new ReadableStream({
    async pull(controller) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(CHUNK), 0, CHUNK, at);
      at += bytesRead;
      if (bytesRead > 0) controller.enqueue(buffer.subarray(0, bytesRead));
      if (bytesRead < CHUNK) {
        await file.close();
        controller.close();
      }
    },
    cancel: () => file.close(),
  }, { highWaterMark: 0 });
  return new Response(body, { status, headers: range });
}
