// The WebAssembly engine, from beside this file. A module of its own, so that only who runs it loads it. (Imported plainly: many
// bundlers put no parts that are loaded later into workers.)

// Built by `cargo xtask web`; its types are those of ./core.d.ts.
import initialise from '../dist/qwenc.js';

import { QwenError } from './errors.js';
import { Loader } from './model.js';

/** @typedef {import('./host.js').Engine} Engine */

/** @type {Promise<Engine> | undefined} */
let loading;

/**
 * @param {BufferSource | WebAssembly.Module | URL | string} [wasm] the module, where it is not beside this file
 * @returns {Promise<Engine>}
 */
export function loadEngine(wasm) {
  loading ??= load(wasm).catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** @param {BufferSource | WebAssembly.Module | URL | string} [wasm] @returns {Promise<Engine>} */
async function load(wasm = new URL('../dist/qwenc_bg.wasm', import.meta.url)) {
  const module = wasm instanceof URL || typeof wasm === 'string' ? await compile(wasm) : wasm;
  await initialise({ module_or_path: module });
  return { init: async () => {}, Loader };
}

/** @param {URL | string} url @returns {Promise<WebAssembly.Module>} */
async function compile(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new QwenError('network', `${url} cannot be fetched: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
  if (!response.ok) {
    throw new QwenError(response.status === 404 ? 'not-found' : 'network', `${url}: the server answered ${response.status}`,
      { remedy: 'Put qwenc_bg.wasm where the package\'s JavaScript expects it, or let your bundler copy it.' });
  }
  try {
    // Compiled from the whole: servers that give WebAssembly another type than application/wasm are common.
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    throw new QwenError('internal', `${url} cannot be compiled: ${/** @type {Error} */ (error).message}`, {
      cause: error,
      remedy: 'Where the page has a Content-Security-Policy, add \'wasm-unsafe-eval\' to script-src.',
    });
  }
}
