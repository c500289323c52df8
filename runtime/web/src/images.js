// Pictures as rows of pixels. The browser decodes them; what the model makes of the pixels is the engine's business.

import { QwenError, throwIfAborted } from './errors.js';

/** @typedef {import('./messages.js').ImageSource} ImageSource */
/** @typedef {{width: number, height: number, rgba: Uint8Array}} Pixels */

/** Bounds as the native program has them: 16 383 pixels on a side, 67 million in all, files of 256 MiB. */
const MAX_SIDE = 16_383;
const MAX_PIXELS = 1 << 26;
const MAX_FILE = 256 << 20;

/**
 * What a worker can be sent: elements of the page become bitmaps, addresses become absolute.
 * @param {ImageSource} source
 * @returns {Promise<Blob | ImageBitmap | ImageData | string | {data: Uint8Array | Uint8ClampedArray, width: number, height: number}>}
 */
export async function sendable(source) {
  if (typeof source === 'string' || source instanceof URL) {
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    try {
      return new URL(source, base).href;
    } catch {
      throw new QwenError('invalid-request', `${String(source).slice(0, 100)} is no address of a picture`);
    }
  }
  const is = (/** @type {string} */ name) => name in globalThis && source instanceof /** @type {any} */ (globalThis)[name];
  if (is('HTMLImageElement') || is('HTMLCanvasElement') || is('OffscreenCanvas') || is('HTMLVideoElement') || is('VideoFrame')) {
    try {
      return await createImageBitmap(/** @type {any} */ (source));
    } catch (error) {
      throw new QwenError('unsupported-image', `the element has no picture: ${/** @type {Error} */ (error).message}`, { cause: error });
    }
  }
  if (is('Blob') || is('ImageBitmap') || is('ImageData') || hasPixels(source)) return /** @type {any} */ (source);
  throw new QwenError('invalid-request', 'a picture must be a Blob, an ImageBitmap, ImageData, an address, or an element that shows one');
}

/** @param {any} source @returns {source is {data: Uint8Array | Uint8ClampedArray, width: number, height: number}} */
const hasPixels = (source) => ArrayBuffer.isView(source?.data) && Number.isInteger(source.width) && Number.isInteger(source.height);

/**
 * Decodes a picture: upright, over white where it is transparent.
 * @param {Awaited<ReturnType<typeof sendable>>} source
 * @param {{signal?: AbortSignal, fetch?: typeof fetch}} [options]
 * @returns {Promise<Pixels>}
 */
export async function decode(source, { signal, fetch: get = globalThis.fetch } = {}) {
  throwIfAborted(signal);
  if (hasPixels(source)) {
    const { width, height, data } = source;
    checkSize(width, height);
    if (data.byteLength !== width * height * 4) {
      throw new QwenError('invalid-request', `a picture of ${width} x ${height} has ${width * height * 4} bytes of RGBA, and ${data.byteLength} were given`);
    }
    return { width, height, rgba: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  }
  if (typeof globalThis.createImageBitmap !== 'function' || typeof globalThis.OffscreenCanvas !== 'function') {
    throw new QwenError('unsupported-image', 'pictures cannot be decoded here', { remedy: 'Give pixels: {data, width, height} with RGBA bytes.' });
  }
  const blob = typeof source === 'string' ? await fetchImage(source, signal, get) : source;
  if (blob instanceof Blob && blob.size > MAX_FILE) throw new QwenError('unsupported-image', `the file of the picture has more than ${MAX_FILE} bytes`);
  /** @type {ImageBitmap} */
  let bitmap;
  try {
    // No colour management: the model was trained on the numbers in the files.
    const options = /** @type {ImageBitmapOptions} */ ({ colorSpaceConversion: 'none', imageOrientation: 'from-image' });
    bitmap = blob instanceof Blob ? await createImageBitmap(blob, options) : /** @type {ImageBitmap} */ (blob);
  } catch (error) {
    throw new QwenError('unsupported-image', `the picture cannot be decoded: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
  throwIfAborted(signal);
  const { width, height } = bitmap;
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new QwenError('out-of-memory', 'there is no canvas to decode the picture on');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  if (blob instanceof Blob) bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, rgba: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** @param {number} width @param {number} height */
function checkSize(width, height) {
  if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS) {
    throw new QwenError('unsupported-image', `a picture of ${width} x ${height} pixels is too large, or empty`,
      { remedy: `Give one of at most ${MAX_SIDE} pixels on a side and ${MAX_PIXELS} in all.` });
  }
}

/** @param {string} url @param {AbortSignal | undefined} signal @param {typeof fetch} get @returns {Promise<Blob>} */
async function fetchImage(url, signal, get) {
  if (url.startsWith('data:')) return dataBlob(url);
  let response;
  try {
    response = await get(url, { signal });
  } catch (error) {
    throwIfAborted(signal);
    throw new QwenError('network', `the picture ${url.slice(0, 200)} cannot be fetched: ${/** @type {Error} */ (error).message}`,
      { cause: error, remedy: 'Check the address, and that its server lets this page read it (CORS).' });
  }
  if (!response.ok) throw new QwenError('network', `the picture ${url.slice(0, 200)}: the server answered ${response.status}`);
  return response.blob();
}

/** Read here and not by `fetch`, which a page's security policy often forbids for `data:`. @param {string} url */
function dataBlob(url) {
  const match = /^data:([^,]*?)(;base64)?,/s.exec(url);
  try {
    if (!match) throw new Error('it has no comma');
    const body = url.slice(match[0].length);
    const text = match[2] ? atob(body.trim()) : unescapeBytes(body);
    return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type: match[1].split(';')[0] });
  } catch (error) {
    throw new QwenError('unsupported-image', `the data: address of a picture cannot be read: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

/** Percent-decoding to bytes, one a letter. @param {string} text */
const unescapeBytes = (text) => text.replace(/%([0-9a-f]{2})/gi, (_, code) => String.fromCharCode(parseInt(code, 16)));
