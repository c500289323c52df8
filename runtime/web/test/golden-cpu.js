/**
 * Holds a bundle on the CPU device to a golden file of text: `node golden-cpu.js BUNDLE GOLDEN`. Fails when a position's
 * logits are not those of the file, or its argmax is another.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CpuDevice } from '../src/cpu/device.js';
import { Replay, evaluate, readSafetensors } from './replay.js';

/** The dot product over both norms, below this in the golden files' own words. */
const MIN_COSINE = 0.9999;

const [folder, goldenFile] = process.argv.slice(2);
const device = await CpuDevice.create(readFileSync(join(folder, 'cpu/kernels.wasm')));
const replay = new Replay(folder, device);
const golden = readSafetensors(goldenFile);
/** @param {string} name @returns {Uint8Array<ArrayBuffer>} */
const bytes = (name) => new Uint8Array(/** @type {any} */ (golden.get(name)).bytes);
/** @param {string} name */
const numbers = (name) => Array.from(new BigInt64Array(bytes(name).buffer), Number);
const [ids, splits, positions] = [numbers('input_ids'), numbers('splits'), numbers('logit_positions')];
const logits = new Float32Array(bytes('logits').buffer);
const vocabulary = logits.length / positions.length;

/** @param {string} entry @param {number} past @param {number} tokens */
function feed(entry, past, tokens) {
  const places = replay.schedule.entries[entry].inputs.position_ids;
  replay.input(entry, 'input_ids', Int32Array.from(ids.slice(past, past + tokens)));
  // The same position on every axis; no token is a picture's.
  const count = places?.shape.reduce((/** @type {number} */ product, /** @type {any} */ dim) => product * evaluate(dim, { tokens, past }), 1);
  replay.input(entry, 'position_ids', Int32Array.from({ length: count ?? 0 }, (_, i) => past + (i % tokens)));
  replay.input(entry, 'image_rows', new Int32Array(tokens).fill(-1));
  replay.run(entry, { tokens, past });
}

let worst = 1;
let wrong = 0;
let checked = 0;
/** @param {number} position @param {() => Float32Array} compute */
function check(position, compute) {
  const row = positions.indexOf(position);
  if (row < 0) return;
  const got = compute();
  const want = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
  const dot = (/** @type {Float32Array} */ a, /** @type {Float32Array} */ b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const cosine = dot(got, want) / Math.sqrt(dot(got, got) * dot(want, want));
  // NaN is worse than anything.
  worst = cosine >= worst ? worst : cosine;
  if (got.indexOf(Math.max(...got)) !== want.indexOf(Math.max(...want))) wrong++;
  checked++;
}

let past = 0;
for (const tokens of splits) {
  if (tokens === 1 && past > 0) {
    feed('decode', past, 1);
    check(past, () => replay.output('decode', 'logits', vocabulary));
  } else {
    feed('prefill', past, tokens);
    for (let row = 0; row < tokens; row++) {
      check(past + row, () => {
        replay.run('head', { row, tokens });
        return replay.output('head', 'logits', vocabulary);
      });
    }
  }
  past += tokens;
}
console.log(`${checked} positions, worst cosine ${worst}, ${wrong} of another argmax`);
process.exitCode = checked > 0 && worst >= MIN_COSINE && wrong === 0 ? 0 : 1;
