// Errors that a program can tell apart: one class, a code for each thing that a caller does something different about.

/**
 * What went wrong, for programs.
 *
 * | code | meaning |
 * |---|---|
 * | `no-webgpu` | The browser has no WebGPU, or no adapter |
 * | `missing-limit` | The GPU has less than the bundle needs |
 * | `missing-feature` | The GPU lacks an optional feature that the bundle needs |
 * | `out-of-memory` | The GPU or the tab has not enough memory |
 * | `device-lost` | The GPU was lost, and could not be had again |
 * | `wrong-result` | The GPU computes something else than it should |
 * | `network` | A file cannot be fetched |
 * | `not-found` | The server has no such file |
 * | `integrity` | A file is not what the manifest says |
 * | `invalid-bundle` | The manifest or the schedule breaks the format's rules |
 * | `quota-exceeded` | The browser gives no more storage; loading goes on without |
 * | `invalid-request` | The request is malformed: roles, images, options |
 * | `context-full` | The conversation does not fit the model's context |
 * | `unsupported-image` | A picture cannot be decoded |
 * | `aborted` | The caller stopped it |
 * | `closed` | The model was closed |
 * | `internal` | A bug |
 * @typedef {'no-webgpu'|'missing-limit'|'missing-feature'|'out-of-memory'|'device-lost'|'wrong-result'|'network'
 *   |'not-found'|'integrity'|'invalid-bundle'|'quota-exceeded'|'invalid-request'|'context-full'|'unsupported-image'
 *   |'aborted'|'closed'|'internal'} ErrorCode
 */

/** @type {Record<ErrorCode, string>} */
const REMEDIES = {
  'no-webgpu': 'Use a browser with WebGPU (Chrome or Edge 113, Safari 26, Firefox 141, or newer) on https or localhost, ' +
    'with hardware acceleration on.',
  'missing-limit': 'Use a smaller model, or compile it with a smaller --max-context.',
  'missing-feature': 'Compile the bundle without the optional feature.',
  'out-of-memory': 'Close other tabs, or use a smaller model or a smaller --max-context.',
  'device-lost': 'Load the model again. If it happens again, update the GPU driver or close other tabs that use the GPU.',
  'wrong-result': 'Update the browser and the GPU driver; another browser may work.',
  'network': 'Check the connection, and load again: what has arrived is kept.',
  'not-found': 'Check that the whole bundle is on the server, and the address.',
  'integrity': 'Upload the bundle again, all its files from one compilation, and check that nothing between changes them.',
  'invalid-bundle': 'Compile the model again with a qwenc of the same version as this package.',
  'quota-exceeded': 'Free disk space, or allow the site to store data. The model works without, and is fetched anew next time.',
  'invalid-request': 'Correct the request.',
  'context-full': 'Start a new conversation, shorten it, or compile the model with a larger --max-context.',
  'unsupported-image': 'Give a PNG, JPEG or WebP picture.',
  'aborted': 'Nothing: it was stopped on request.',
  'closed': 'Load the model again.',
  'internal': 'Please report it, with the message.',
};

/** An error of this package. `code` is for programs, `message` for people, `remedy` says what to do. */
export class QwenError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {{cause?: unknown, remedy?: string}} [more]
   */
  constructor(code, message, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'QwenError';
    /** @type {ErrorCode} */
    this.code = code;
    /** What to do about it. */
    this.remedy = more.remedy ?? REMEDIES[code] ?? REMEDIES.internal;
  }
}

/** @param {unknown} value @returns {value is ErrorCode} */
const isCode = (value) => typeof value === 'string' && Object.hasOwn(REMEDIES, value);

/**
 * Any thrown value as a `QwenError`. Errors of the engine carry `code` and perhaps `remedy`; an abort is `aborted`.
 * @param {unknown} thrown
 * @param {ErrorCode} [otherwise] the code of what has none
 * @returns {QwenError}
 */
export function asQwenError(thrown, otherwise = 'internal') {
  if (thrown instanceof QwenError) return thrown;
  const error = /** @type {{name?: unknown, code?: unknown, message?: unknown, remedy?: unknown}} */ (
    typeof thrown === 'object' && thrown !== null ? thrown : { message: thrown });
  const message = typeof error.message === 'string' && error.message !== '' ? error.message : String(thrown);
  const remedy = typeof error.remedy === 'string' ? error.remedy : undefined;
  if (isCode(error.code)) return new QwenError(error.code, message, { cause: thrown, remedy });
  if (error.name === 'AbortError') return new QwenError('aborted', message, { cause: thrown });
  if (error.name === 'QuotaExceededError') return new QwenError('quota-exceeded', message, { cause: thrown });
  return new QwenError(otherwise, message, { cause: thrown });
}

/** An error as plain data, to go through `postMessage`. @param {unknown} thrown */
export function packError(thrown) {
  const { code, message, remedy } = asQwenError(thrown);
  return { code, message, remedy };
}

/** @param {{code: string, message: string, remedy?: string}} data @returns {QwenError} */
export const unpackError = (data) => asQwenError(data);

/**
 * What an `AbortSignal` that has fired throws: its own reason when that is an error of the caller's, else `AbortError`.
 * Web APIs throw the reason; so does everything here.
 * @param {AbortSignal | undefined} signal
 */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw signal.reason;
}
