// Golden runs: the files that the crate in `golden/` reads, and files that are wrong.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { compare, readGolden, selfTest } from '../src/golden.js';

const folder = new URL('../../../golden/tiny/', import.meta.url);
/** One file has tensors of the vision encoder alone, and is no run. */
const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors') && name !== 'vision.safetensors');
const file = (/** @type {string} */ name) => Uint8Array.from(readFileSync(new URL(name, folder)));

/** A safetensors file. @param {Record<string, [string, number[], ArrayBufferView]>} tensors @param {object} [metadata] */
function make(tensors, metadata) {
  let end = 0;
  /** @type {Record<string, object>} */
  const table = metadata ? { __metadata__: metadata } : {};
  for (const [name, [dtype, shape, { byteLength }]] of Object.entries(tensors)) {
    table[name] = { dtype, shape, data_offsets: [end, end += byteLength] };
  }
  return assemble(JSON.stringify(table), ...Object.values(tensors).map(([, , { buffer }]) => new Uint8Array(/** @type {ArrayBuffer} */ (buffer))));
}

/** @param {string} table @param {Uint8Array[]} data */
const assemble = (table, ...data) =>
  Uint8Array.from(Buffer.concat([new Uint8Array(BigUint64Array.of(BigInt(Buffer.byteLength(table))).buffer), Buffer.from(table), ...data]));

const i64 = (/** @type {number[]} */ ...values) => BigInt64Array.from(values, BigInt);
/** @returns {Record<string, [string, number[], ArrayBufferView]>} */
const small = () => ({
  input_ids: ['I64', [3], i64(1, 2, 3)],
  splits: ['I64', [2], i64(2, 1)],
  logit_positions: ['I64', [2], i64(2, 0)],
  logits: ['F32', [2, 2], Float32Array.of(1, 2, 3, 4)],
});

/** A model that gives what is expected, changed. @param {Uint8Array} golden @param {(row: Float32Array) => Float32Array} [change] */
function model(golden, change = (row) => row) {
  const { rows, vocabulary, ids } = readGolden(golden);
  /** @type {number[]} */
  const fed = [];
  const core = {
    fed,
    info: () => ({ vocabSize: vocabulary }),
    feed: async (/** @type {Uint32Array} */ of, /** @type {any[]} */ pictures, /** @type {Uint32Array} */ wanted, /** @type {boolean} */ first) => {
      assert.equal(first, fed.length === 0);
      const start = fed.length;
      fed.push(...of);
      assert.deepEqual(fed, ids.slice(0, fed.length));
      const logits = Array.from(wanted, (at) => change(/** @type {any} */ (rows.find(({ position }) => position === start + at)).logits));
      return { logits, pictures: pictures.length };
    },
  };
  return /** @type {any} */ (core);
}

test('the repository\'s runs are read and pass with their own logits', async () => {
  assert.ok(names.length >= 5);
  let pictures = 0;
  for (const name of names) {
    const golden = file(name);
    pictures += readGolden(golden).pictures.length;
    const report = await selfTest(model(golden), golden);
    assert.ok(report.passed && report.positions.length > 0 && report.worstCosine > 0.999999, name);
    assert.ok(report.source, name);
    const wrong = await selfTest(model(golden, (row) => row.map((value, at) => at % 2 ? value : -value)), golden);
    assert.ok(!wrong.passed && wrong.worstCosine < 0.999, name);
    assert.equal((await selfTest(model(golden, (row) => row.map(() => NaN)), golden)).passed, false, name);
  }
  assert.ok(pictures > 3);
});

test('positions come in the order of the file, with its thresholds', async () => {
  const golden = make(small(), { min_cosine: '0.5', max_abs: ' 0.25 ', source: 'here' });
  const near = await selfTest(model(golden, (row) => row.map((value) => value + 0.25)), golden);
  assert.deepEqual(near.positions.map(({ position, maxAbs, passed }) => [position, maxAbs, passed]), [[2, 0.25, true], [0, 0.25, true]]);
  assert.deepEqual([near.passed, near.minCosine, near.source], [true, 0.5, 'here']);
  assert.equal((await selfTest(model(golden, (row) => row.map((value) => value + 0.3)), golden)).passed, false);
  await assert.rejects(selfTest({ ...model(golden), info: () => ({ vocabSize: 3 }) }, golden), { code: 'invalid-bundle' });
});

test('rows are compared', () => {
  const of = (/** @type {number[]} */ a, /** @type {number[]} */ b) => compare(Float32Array.from(a), Float32Array.from(b));
  const same = of([1, -2, 3.5], [1, -2, 3.5]);
  assert.ok(Math.abs(same.cosine - 1) < 1e-12 && same.maxAbs === 0 && same.argmaxAgrees);
  assert.deepEqual(of([3, 0, 0.5], [0, 3, 0]), { cosine: 0, maxAbs: 3, argmaxAgrees: false });
  assert.ok(of([1, 2], [2, 2]).argmaxAgrees, 'a tie agrees with both');
  for (const row of [[NaN, 1], [1, NaN], [1]]) {
    const { cosine, maxAbs, argmaxAgrees } = of(row, [0, 1]);
    assert.ok(Number.isNaN(cosine) && Number.isNaN(maxAbs) && !argmaxAgrees);
  }
  assert.ok(Number.isNaN(of([0, 0], [1, 0]).cosine), 'a row of zeros has no direction');
  assert.equal(of([Infinity, 1], [0, 1]).maxAbs, Infinity);
});

test('what proves nothing, or is no golden run, is refused', () => {
  readGolden(make(small()));
  const refused = (/** @type {Uint8Array} */ bytes, /** @type {RegExp} */ words) => assert.throws(() => readGolden(bytes), (/** @type {any} */ error) => {
    assert.match(error.message, words);
    return error.code === 'invalid-bundle';
  });
  const changed = (/** @type {Record<string, any>} */ more, /** @type {object} */ metadata = {}) => make({ ...small(), ...more }, metadata);
  refused(new Uint8Array(), /before its table/);
  refused(assemble('{}').subarray(0, 9), /before its table/);
  refused(assemble('{'), /its table/);
  for (const table of ['null', '[]', '{}', '{"a":null}', '{"a":1}']) refused(assemble(table), /tensor|null/);
  refused(assemble('{"a":{"dtype":"constructor","shape":[],"data_offsets":[0,0]}}'), /another type/);
  refused(assemble('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}'), /another type/);
  refused(assemble('{"a":{"dtype":"U8","shape":[9007199254740992],"data_offsets":[0,9007199254740992]}}'), /another type/);
  const bytes = make(small());
  refused(Uint8Array.of(...bytes, 0), /side by side/);
  refused(bytes.subarray(0, bytes.length - 1), /another type/);
  for (const name of Object.keys(small())) {
    const rest = small();
    delete rest[name];
    refused(make(rest), new RegExp(`no tensor \`${name}\``));
  }
  refused(changed({ logits: ['F32', [1, 4], Float32Array.of(1, 2, 3, 4)] }), /no tensor `logits`/);
  refused(changed({ logits: ['F32', [2, 2], Float32Array.of(1, 2, NaN, 4)] }), /finite/);
  refused(changed({ logits: ['F32', [2, 0], new Float32Array()] }), /proves nothing/);
  refused(changed({ logit_positions: ['I64', [0], i64()], logits: ['F32', [0, 2], new Float32Array()] }), /proves nothing/);
  refused(changed({ logit_positions: ['I64', [2], i64(0, 3)] }), /out of range/);
  refused(changed({ input_ids: ['I64', [3], i64(1, -2, 3)] }), /out of range/);
  refused(changed({ splits: ['I64', [2], i64(1, 1)] }), /splits/);
  refused(changed({ splits: ['I64', [3], i64(0, 2, 1)] }), /out of range/);
  for (const wrong of ['', 'x', '-1', '1.5', 'NaN', '1e', 7]) refused(changed({}, { min_cosine: wrong }), /min_cosine/);
  for (const wrong of ['Infinity', '1e999', '-0.5', '0x10']) refused(changed({}, { max_abs: wrong }), /max_abs/);
  refused(changed({ image_0: ['U8', [1, 1, 4], new Uint8Array(4)] }), /image_0/);
  refused(changed({ pixel_values: ['F32', [1, 1], new Float32Array(1)] }), /image_grid_thw/);
  const patches = (/** @type {number[]} */ ...grid) => changed({ pixel_values: ['F32', [4, 2], new Float32Array(8)], image_grid_thw: ['I64', [grid.length / 3, 3], i64(...grid)] });
  assert.deepEqual(readGolden(patches(1, 1, 2, 1, 2, 1)).pictures.map((picture) => 'values' in picture && picture.values.length), [4, 4]);
  for (const grid of [[1, 2, 3], [1, 1, 2], [1, 2, 2, 1, 1, 1], []]) refused(patches(...grid), /grids/);
  refused(patches(1, -2, -2), /out of range/);
});

test('damaged files are refused or other runs, and nothing worse', () => {
  const good = make({ ...small(), image_0: ['U8', [1, 1, 3], new Uint8Array(3)] }, { source: 'x', min_cosine: '0.9' });
  let refused = 0;
  for (let at = 0; at < good.length; at++) {
    for (const change of [1, 2, 16, 0x80]) {
      const bytes = Uint8Array.from(good);
      bytes[at] ^= change;
      try {
        readGolden(bytes);
      } catch (error) {
        assert.equal(/** @type {any} */ (error).code, 'invalid-bundle', String(error));
        refused++;
      }
    }
  }
  assert.ok(refused > good.length);
});
