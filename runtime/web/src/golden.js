// The golden run of a bundle: tokens, and the logits that they must give. Without a browser, the crate in `golden/` does the same.
// The file is untrusted: everything is checked, and one that proves nothing is refused.

import { QwenError } from './errors.js';

/** Longest table, in bytes. */
const MAX_TABLE = 100 << 20;
const MIN_COSINE = 0.999;
const SIZES = { I64: 8, F32: 4, U8: 1, F64: 8, U64: 8, I32: 4, U32: 4, F16: 2, BF16: 2, I16: 2, U16: 2, I8: 1, BOOL: 1 };

/** @typedef {{dtype: string, shape: number[], data: Uint8Array}} Tensor */
/** @typedef {import('./core.js').GoldenPicture} Picture */

/** @param {string} message @returns {never} */
const refuse = (message) => {
  throw new QwenError('invalid-bundle', `golden.safetensors: ${message}`);
};

/** @param {any} value */
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;

/**
 * The tensors of a file, whose bytes lie side by side and are as many as types and shapes say.
 * @param {Uint8Array} file
 */
function readTensors(file) {
  const start = file.length < 8 ? Infinity : 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  if (start > Math.min(file.length, MAX_TABLE)) refuse('ends before its table does');
  let table;
  try {
    table = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(8, start)));
  } catch (error) {
    refuse(`its table: ${/** @type {Error} */ (error).message}`);
  }
  const { __metadata__: metadata = {}, ...entries } = table ?? {};
  let end = start;
  /** @type {Map<string, Tensor>} */
  const tensors = new Map();
  const ordered = Object.entries(entries).sort(([, a], [, b]) => a?.data_offsets?.[0] - b?.data_offsets?.[0] || a?.data_offsets?.[1] - b?.data_offsets?.[1]);
  for (const [name, entry] of ordered) {
    const { dtype, shape, data_offsets: range } = entry ?? {};
    const sizes = Array.isArray(shape) && shape.every(isSize) && Array.isArray(range) && range.length === 2 && range.every(isSize);
    const bytes = sizes ? shape.reduce((all, side) => all * side, Object.hasOwn(SIZES, dtype) ? SIZES[/** @type {'U8'} */ (dtype)] : NaN) : NaN;
    if (range?.[1] - range?.[0] !== bytes || range[0] + start !== end || end + bytes > file.length) {
      refuse(`tensor \`${name}\` has another type, shape or place than bytes`);
    }
    // At a place that any type may begin at.
    tensors.set(name, { dtype, shape, data: Uint8Array.prototype.slice.call(file, end, end += bytes) });
  }
  if (end !== file.length) refuse('its tensors do not lie side by side up to its end');
  return { metadata, tensors };
}

/**
 * A golden run.
 * @param {Uint8Array} file
 */
export function readGolden(file) {
  const { metadata, tensors } = readTensors(file);
  const tensor = (/** @type {string} */ name, /** @type {string} */ dtype, /** @type {number[]} */ ...shape) => {
    const found = tensors.get(name);
    if (found?.dtype !== dtype || found.shape.length !== shape.length || shape.some((side, at) => side >= 0 && side !== found.shape[at])) {
      return refuse(`has no tensor \`${name}\`, ${dtype} [${shape.map((side) => side < 0 ? 'n' : side).join(', ')}]`);
    }
    return found;
  };
  const numbers = (/** @type {Tensor} */ { data }, /** @type {(value: number) => boolean} */ good) => {
    const values = Array.from(new BigInt64Array(data.buffer), Number);
    if (!values.every(good)) refuse('has a number that is out of range');
    return values;
  };
  const ids = numbers(tensor('input_ids', 'I64', -1), (id) => id >= 0 && id < 2 ** 31);
  const splits = numbers(tensor('splits', 'I64', -1), (count) => count > 0);
  const positions = numbers(tensor('logit_positions', 'I64', -1), (at) => at >= 0 && at < ids.length);
  const { shape, data } = tensor('logits', 'F32', positions.length, -1);
  const vocabulary = shape[1];
  const logits = new Float32Array(data.buffer);
  if (!logits.every(Number.isFinite)) refuse('has a logit that is not a finite number');
  if (positions.length === 0 || vocabulary === 0) refuse('has no position to check, so it proves nothing');
  if (splits.reduce((sum, count) => sum + count, 0) !== ids.length) refuse('its splits feed another number of tokens than there are');
  const threshold = (/** @type {string} */ key, /** @type {number} */ most, /** @type {any} */ otherwise) => {
    const text = metadata[key];
    if (text === undefined) return otherwise;
    const value = typeof text === 'string' && /^\s*\d[-+.\deE]*\s*$/.test(text) ? Number(text) : NaN;
    if (!(value <= most)) refuse(`its metadata \`${key}\` is no such number`);
    return value;
  };
  return {
    ids, splits, vocabulary,
    rows: positions.map((position, at) => ({ position, logits: logits.subarray(at * vocabulary, (at + 1) * vocabulary) })),
    minCosine: /** @type {number} */ (threshold('min_cosine', 1, MIN_COSINE)),
    maxAbs: /** @type {number} */ (threshold('max_abs', Number.MAX_VALUE, Infinity)),
    source: typeof metadata.source === 'string' ? metadata.source : null,
    pictures: pictures(tensors, tensor, numbers),
  };
}

/**
 * @param {Map<string, Tensor>} tensors
 * @param {(name: string, dtype: string, ...shape: number[]) => Tensor} tensor
 * @param {(of: Tensor, good: (value: number) => boolean) => number[]} numbers
 */
function pictures(tensors, tensor, numbers) {
  // `image_grid_thw` is no picture: pictures are numbered.
  const names = [...tensors.keys()].filter((name) => /^image_\d+$/.test(name)).sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  /** @type {Picture[]} */
  const out = names.map((name) => {
    const { shape: [height, width], data } = tensor(name, 'U8', -1, -1, 3);
    return { width, height, rgb: data };
  });
  if (!tensors.has('pixel_values') && !tensors.has('image_grid_thw')) return out;
  const { shape: [patches, width], data } = tensor('pixel_values', 'F32', -1, -1);
  const grids = numbers(tensor('image_grid_thw', 'I64', -1, 3), (side) => side > 0 && side < 2 ** 32);
  let at = 0;
  for (let of = 0; of < grids.length; of += 3) {
    const [t, h, w] = grids.slice(of, of + 3);
    const count = t * h * w;
    if (at + count > patches) break;
    out.push({ t, h, w, values: new Float32Array(data.buffer, at * width * 4, count * width) });
    at += count;
  }
  if (at !== patches || out.length !== names.length + grids.length / 3) refuse(`its grids do not describe ${patches} patches`);
  return out;
}

/**
 * How a row differs from the expected one. NaN is never good.
 * @param {Float32Array} found @param {Float32Array} expected
 */
export function compare(found, expected) {
  let dot = 0, ours = 0, theirs = 0, maxAbs = 0, best = 0;
  for (let at = 0; at < expected.length; at++) {
    const a = found[at], b = expected[at];
    dot += a * b;
    ours += a * a;
    theirs += b * b;
    maxAbs = Math.max(maxAbs, Math.abs(a - b));
    if (a > found[best]) best = at;
  }
  if (found.length !== expected.length) maxAbs = NaN;
  const cosine = Number.isNaN(maxAbs) ? NaN : dot / (Math.sqrt(ours) * Math.sqrt(theirs));
  // The expected row may have several largest logits.
  const argmaxAgrees = !Number.isNaN(maxAbs) && expected.every((value) => value <= expected[best]);
  return { cosine, maxAbs, argmaxAgrees };
}

/**
 * Feeds a golden run call by call, and compares every row of logits that it has.
 * @param {import('./core.js').Model} core @param {Uint8Array} file
 * @returns {Promise<import('./wasm.js').SelfTest>}
 */
export async function selfTest(core, file) {
  const { ids, splits, vocabulary, rows, minCosine, maxAbs, source, pictures } = readGolden(file);
  if (core.info().vocabSize !== vocabulary) refuse(`has rows of ${vocabulary} logits, the model has others`);
  let start = 0, seen = 0;
  /** @type {Map<number, Float32Array>} */
  const found = new Map();
  for (const count of splits) {
    const end = start + count;
    const wanted = [...new Set(rows.map(({ position }) => position).filter((at) => at >= start && at < end))].sort((a, b) => a - b);
    const fed = await core.feed(Uint32Array.from(ids.slice(start, end)), pictures.slice(seen), Uint32Array.from(wanted, (at) => at - start), start === 0);
    wanted.forEach((at, row) => found.set(at, fed.logits[row]));
    seen += fed.pictures;
    start = end;
  }
  if (seen < pictures.length) refuse(`${pictures.length - seen} of its pictures have no image tokens in the run`);
  const positions = rows.map(({ position, logits }) => {
    const difference = compare(/** @type {Float32Array} */ (found.get(position)), logits);
    const passed = difference.cosine >= minCosine && difference.maxAbs <= maxAbs && difference.argmaxAgrees;
    return { position, ...difference, passed };
  });
  return { positions, worstCosine: Math.min(...positions.map(({ cosine }) => cosine)), minCosine, source, passed: positions.every(({ passed }) => passed) };
}
