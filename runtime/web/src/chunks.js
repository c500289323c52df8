// Bytes of a response from the network, through one buffer: hundreds of megabytes go by here, and a new buffer for every piece of
// them would fill memory with garbage faster than it is collected. Not for files and for what a Cache has: Chromium (156 at least)
// now and then never fills a buffer that their streams were given.

/** Bytes of the buffer. */
const SIZE = 256 << 10;

/**
 * The bytes of a stream in pieces. A piece is valid until the next one is asked for.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {() => void} [check] throws to stop, after each wait
 * @returns {AsyncGenerator<Uint8Array, void, undefined>}
 */
export async function* chunks(stream, check = () => {}) {
  const reader = intoBuffers(stream);
  if (!reader) {
    yield* asTheyCome(stream.getReader(), check);
    return;
  }
  let buffer = new ArrayBuffer(SIZE);
  try {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      check();
      if (done) return;
      yield value;
      // It was taken from us, and is ours again.
      buffer = /** @type {ArrayBuffer} */ (value.buffer);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** A reader that fills our buffers, or none for streams that cannot. @param {ReadableStream<Uint8Array>} stream */
function intoBuffers(stream) {
  try {
    return stream.getReader({ mode: 'byob' });
  } catch {
    return undefined;
  }
}

/** @param {ReadableStreamDefaultReader<Uint8Array>} reader @param {() => void} check @returns {AsyncGenerator<Uint8Array, void, undefined>} */
async function* asTheyCome(reader, check) {
  try {
    for (;;) {
      const { done, value } = await reader.read();
      check();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
