// The way to the host: a worker where there are workers, a message channel in place otherwise.

import { QwenError } from './errors.js';
import { Caller, serve } from './rpc.js';

/**
 * @param {import('./qwen.js').LoadOptions} options
 * @returns {Promise<Caller>}
 */
export async function connect({ worker, gpu, fetch: get, wasm, ...rest }) {
  const inPlace = worker === false || gpu !== undefined || get !== undefined || wasm !== undefined || typeof Worker === 'undefined';
  if (!inPlace) {
    try {
      return overWorker(new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'qwenc' }));
    } catch (error) {
      // Of another origin: a worker's script has to come from the page's own.
      if (/** @type {Error} */ (error).name !== 'SecurityError') throw error;
    }
  }
  // Loaded only here, so that a page that has a worker does not have it twice.
  const [{ Host }, { openCpu }] = await Promise.all([import('./host.js'), import('./cpu/open.js')]);
  const { port1, port2 } = new MessageChannel();
  const { engine = async () => (await import('./engine.js')).loadEngine(wasm), openStore } = /** @type {any} */ (rest);
  const surroundings = { engine, gpu: gpu ?? globalThis.navigator?.gpu, fetch: get, openStore, openCpu };
  const host = new Host(surroundings, (notice) => server.notify(notice));
  const server = serve(/** @type {any} */ (port2), host.methods());
  return new Caller({
    postMessage: (message, transfer) => port1.postMessage(message, transfer ?? []),
    addEventListener: (type, listener) => port1.addEventListener(type, /** @type {any} */ (listener)),
    start: () => port1.start(),
    // A worker's end gives back what it has; here the host has to.
    terminate: () => {
      host.close();
      port1.close();
    },
  });
}

/** @param {Worker} worker */
function overWorker(worker) {
  const caller = new Caller(/** @type {any} */ (worker));
  worker.addEventListener('error', (event) => {
    // A worker that cannot start says nothing else.
    event.preventDefault?.();
    caller.close(new QwenError('internal', `the worker failed: ${event.message || 'its script cannot be loaded'}`,
      { remedy: 'Check that the package\'s worker.js is served, from the page\'s own origin, and that a Content-Security-Policy allows it (worker-src).' }));
  });
  return caller;
}
