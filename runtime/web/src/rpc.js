// Calls over a message port: the page on one side, the worker on the other. A call may report events while it runs, and
// may be aborted. The worker's side keeps no call that it has answered.

import { QwenError, packError, unpackError } from './errors.js';

/**
 * What both `Worker` and `MessagePort` have.
 * @typedef {object} Port
 * @property {(message: unknown, transfer?: Transferable[]) => void} postMessage
 * @property {(type: 'message', listener: (event: MessageEvent) => void) => void} addEventListener
 * @property {() => void} [start]
 * @property {() => void} [terminate]
 * @property {() => void} [close]
 */

/** @typedef {{signal?: AbortSignal, onEvent?: (event: any) => void, transfer?: Transferable[]}} CallOptions */

/** The calling side. */
export class Caller {
  /** @param {Port} port */
  constructor(port) {
    this.port = port;
    this.next = 1;
    /** @type {QwenError | undefined} */
    this.closed = undefined;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: unknown) => void, onEvent?: (event: any) => void}>} */
    this.calls = new Map();
    /** Events that belong to no call. @type {(event: any) => void} */
    this.onNotice = () => {};
    port.addEventListener('message', (event) => this.receive(event.data));
    port.start?.();
  }

  /**
   * Calls a method of the other side. When `signal` fires, the other side is told, and its answer decides: a call that
   * ends well in spite of it is a success.
   * @param {string} method
   * @param {unknown} [params]
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  call(method, params, { signal, onEvent, transfer = [] } = {}) {
    if (this.closed) return Promise.reject(this.closed);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.next++;
    return new Promise((resolve, reject) => {
      const abort = () => this.port.postMessage({ abort: id });
      const settle = (/** @type {(value: any) => void} */ end) => (/** @type {any} */ value) => {
        signal?.removeEventListener('abort', abort);
        end(value);
      };
      const failed = (/** @type {unknown} */ error) => {
        const stopped = error instanceof QwenError && error.code === 'aborted' && signal?.aborted;
        reject(stopped ? signal.reason : error);
      };
      signal?.addEventListener('abort', abort);
      this.calls.set(id, { resolve: settle(resolve), reject: settle(failed), onEvent });
      this.port.postMessage({ call: id, method, params }, transfer);
    });
  }

  /** @param {any} message */
  receive(message) {
    if (message.notice !== undefined) {
      this.onNotice(message.notice);
      return;
    }
    const call = this.calls.get(message.id);
    if (!call) return;
    if ('event' in message) {
      call.onEvent?.(message.event);
      return;
    }
    this.calls.delete(message.id);
    if ('error' in message) call.reject(unpackError(message.error));
    else call.resolve(message.value);
  }

  /** Ends it: open and later calls fail with the error. @param {QwenError} error */
  close(error) {
    if (this.closed) return;
    this.closed = error;
    for (const call of this.calls.values()) call.reject(error);
    this.calls.clear();
    this.port.terminate?.();
    this.port.close?.();
  }
}

/** @typedef {{signal: AbortSignal, emit: (event: any) => void}} CallContext */

/**
 * The answering side: serves the methods over the port.
 * @param {Port} port
 * @param {Record<string, (params: any, context: CallContext) => unknown>} methods
 * @returns {{notify: (event: unknown) => void}}
 */
export function serve(port, methods) {
  /** @type {Map<number, AbortController>} */
  const running = new Map();
  port.addEventListener('message', async ({ data }) => {
    if (data.abort !== undefined) {
      running.get(data.abort)?.abort();
      return;
    }
    const id = data.call;
    const controller = new AbortController();
    running.set(id, controller);
    try {
      if (!Object.hasOwn(methods, data.method)) throw new QwenError('internal', `there is no method ${data.method}`);
      const emit = (/** @type {any} */ event) => port.postMessage({ id, event });
      port.postMessage({ id, value: await methods[data.method](data.params, { signal: controller.signal, emit }) });
    } catch (error) {
      port.postMessage({ id, error: packError(error) });
    } finally {
      running.delete(id);
    }
  });
  port.start?.();
  return { notify: (event) => port.postMessage({ notice: event }) };
}
