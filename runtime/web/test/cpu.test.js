import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuDevice, canRunOnCpu } from '../src/cpu/device.js';

/**
 * A module as the compiler makes them, by hand: scratch of 300 bytes, and one kernel that stores x + 16 y + 256 z at its
 * binding's start, and the binding's bytes behind it.
 */
const KERNELS = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0,
  1, 9, 1, 96, 5, 127, 127, 127, 127, 127, 0,
  2, 15, 1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 0, 0,
  3, 2, 1, 0,
  6, 7, 1, 127, 0, 65, 172, 2, 11,
  7, 16, 2, 2, 107, 48, 0, 0, 7, 115, 99, 114, 97, 116, 99, 104, 3, 0,
  10, 30, 1, 28, 0,
  32, 3, 32, 0, 32, 1, 65, 4, 116, 106, 32, 2, 65, 8, 116, 106, 54, 2, 0,
  32, 3, 32, 4, 54, 2, 4, 11,
]);

const device = () => CpuDevice.create(KERNELS);
/** @param {CpuDevice} on @param {number} at @param {number} count */
const words = (on, at, count) => [...new Uint32Array(on.read(at, 4 * count).buffer)];

test('this engine runs kernels', () => assert.equal(canRunOnCpu(), true));

test('a dispatch reaches its binding', async () => {
  const cpu = await device();
  const at = cpu.createBuffer(20);
  assert.ok(at >= 300 && at % 256 === 0, `${at}`);
  cpu.dispatch(0, Uint32Array.of(at + 8), Uint32Array.of(12), 1, 2, 3);
  assert.deepEqual(words(cpu, at, 5), [0, 0, 1 + 32 + 768, 12, 0]);
});

test('kernels that are not there, or have other bindings', async () => {
  const cpu = await device();
  assert.deepEqual([cpu.hasPipeline(0), cpu.hasPipeline(1)], [true, false]);
  assert.throws(() => cpu.dispatch(1, [512], [4], 1, 1, 1), RangeError);
  assert.throws(() => cpu.dispatch(0, [512, 512], [4, 4], 1, 1, 1), RangeError);
});

test('buffers grow the memory, start as zeros, and are used again', async () => {
  const cpu = await device();
  const [a, b, c] = [1000, 200000, 10].map((bytes) => cpu.createBuffer(bytes));
  assert.ok(a < b && b + 200000 <= c);
  cpu.write(b, new Uint8Array(200000).fill(7));
  cpu.copy(b, a, 8);
  cpu.clear(a, 4);
  assert.deepEqual([...cpu.read(a, 9)], [0, 0, 0, 0, 7, 7, 7, 7, 0]);
  cpu.destroyBuffer(a);
  cpu.destroyBuffer(b);
  // The room of both, which lie side by side.
  const again = cpu.createBuffer(200900);
  assert.equal(again, a);
  assert.ok(cpu.read(again, 200900).every((byte) => byte === 0));
  cpu.destroyBuffer(12345);
});

test('memory has an end', async () => {
  const cpu = await CpuDevice.create(KERNELS, { maxBytes: 4 * 65536 });
  assert.ok(cpu.maxBytes <= 4 * 65536 - 300);
  assert.equal(cpu.createBuffer(5 * 65536), 0);
  const at = cpu.createBuffer(2 * 65536);
  assert.notEqual(at, 0);
  assert.equal(cpu.createBuffer(2 * 65536), 0);
  cpu.destroyBuffer(at);
  assert.equal(cpu.createBuffer(2 * 65536), at);
});

test('messages come in between', async () => {
  const cpu = await device();
  let heard = false;
  setImmediate(() => { heard = true; });
  await cpu.idle();
  await cpu.idle();
  assert.equal(heard, true);
});

test('a destroyed device runs nothing', async () => {
  const cpu = await device();
  const at = cpu.createBuffer(16);
  cpu.destroy();
  assert.throws(() => cpu.dispatch(0, [at], [16], 1, 1, 1), RangeError);
  cpu.destroyBuffer(at);
});

test('what is no module is refused', async () => {
  await assert.rejects(CpuDevice.create(new Uint8Array([1, 2, 3])), WebAssembly.CompileError);
});
