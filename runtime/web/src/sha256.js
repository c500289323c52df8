// The hash of bytes that are in memory anyway. Large files are hashed by the engine, as they arrive.

/** @param {Uint8Array} bytes @returns {Promise<string>} 64 hexadecimal digits */
export async function sha256(bytes) {
  // A page over plain http has no Web Cryptography; it still runs models on the CPU.
  const { subtle } = globalThis.crypto ?? {};
  const hash = subtle ? new Uint8Array(await subtle.digest('SHA-256', /** @type {any} */ (bytes))) : digest(bytes);
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** SHA-256 of FIPS 180-4, as written there. @param {Uint8Array} bytes @returns {Uint8Array} */
export function digest(bytes) {
  const { roots: k, start: h } = constants();
  const padded = new Uint8Array(((bytes.length + 8) >> 6 << 6) + 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  const w = new Int32Array(64);
  const turn = (/** @type {number} */ x, /** @type {number} */ by) => (x >>> by) | (x << (32 - by));
  for (let block = 0; block < padded.length; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = view.getInt32(block + t * 4);
    for (let t = 16; t < 64; t++) {
      const [a, b] = [w[t - 15], w[t - 2]];
      w[t] = w[t - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[t - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, last] = h;
    for (let t = 0; t < 64; t++) {
      const one = (last + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [last, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, last].forEach((value, at) => { h[at] += value; });
  }
  const out = new DataView(new ArrayBuffer(32));
  h.forEach((value, at) => out.setInt32(at * 4, value));
  return new Uint8Array(out.buffer);
}

/** The first bits of the fractions of roots of primes: square roots to start with, cube roots for the rounds. */
function constants() {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  const bits = (/** @type {number} */ root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  return { roots: Int32Array.from(primes, (prime) => bits(Math.cbrt(prime))), start: Int32Array.from(primes.slice(0, 8), (prime) => bits(Math.sqrt(prime))) };
}
